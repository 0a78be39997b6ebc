import { createRequire } from "node:module";
const require = createRequire("/tmp/clone/web/package.json");
const { io } = require("socket.io-client");
const url = "http://127.0.0.1:8123", headers = { "content-type": "application/json" };
const body = JSON.stringify({ username: "js_" + Date.now(), password: "correct-horse-battery" });
const { user_id, access_token } = await (await fetch(url + "/auth/register", { method: "POST", headers, body })).json();
for (const transports of [["websocket"],["polling"],["polling","websocket"]]) {
const socket = io(url + "/chat", { transports, forceNew: true, auth: { token: access_token } });
socket.onAny((name, e) => console.log(name, e.data ?? e));
const { room } = await socket.emitWithAck("room.create", { id: crypto.randomUUID(), name: "Lobby" });
console.log(transports.join(), socket.io.engine.transport.name, await socket.emitWithAck("message.send", { id: crypto.randomUUID(), room: room.id, body: "Hello" }));
socket.disconnect(); }
process.exit(0)
