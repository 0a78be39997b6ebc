// What a stock socket.io-client sees of `python_socketio_app`, on one transport after the other, as one JSON line each.
import { createRequire } from "node:module";
import { say } from "./json_lines.mjs";

const require = createRequire(new URL("../../../web/package.json", import.meta.url));
const { io } = require("socket.io-client");
const url = process.argv[2];

const ask = (socket, ...args) => new Promise((resolve) => socket.emit(...args, (...answer) => resolve(answer)));
const next = (socket, event) => new Promise((resolve) => socket.once(event, (...args) => resolve(args)));

async function scenario(transports) {
  const options = { transports, forceNew: true, reconnection: false, query: { room: "demo" }, extraHeaders: { "X-Name": "ann" } };
  const opened = [];
  const open = (namespace, more) => {
    const socket = io(url + namespace, { ...options, ...more });
    opened.push(socket);
    return socket;
  };
  const seen = {};

  const chat = open("/");
  [seen.greeting] = await next(chat, "my_response");
  const other = open("/");
  await next(other, "my_response");
  seen.rooms = [await ask(chat, "join", { room: "a" }), await ask(other, "join", { room: "a" })];
  let told = next(other, "my_response");
  chat.emit("my_room_event", { room: "a", data: "to a" });
  [seen.room] = await told;
  const all = [next(chat, "my_response"), next(other, "my_response")];
  chat.emit("my_broadcast_event", { data: "to all" });
  seen.all = (await Promise.all(all)).flat();
  const closing = next(other, "my_response");
  chat.emit("close_room", { room: "a" });
  [seen.closing] = await closing;
  seen.after = await ask(other, "leave", { room: "a" });
  const messages = [];
  const counted = new Promise((resolve) => chat.on("message", (step) => messages.push(step) === 3 && resolve()));
  chat.emit("count", 3);
  await counted;
  seen.messages = messages;

  const fiddle = open("/fiddle", { auth: { token: "yes" } });
  seen.hello = await next(fiddle, "hello");
  const refused = open("/fiddle", { auth: { token: "no" } });
  const [refusal] = await next(refused, "connect_error");
  seen.refused = refusal.message;
  const why = open("/fiddle", { auth: { token: "why" } });
  const [reason] = await next(why, "connect_error");
  seen.why = [reason.message, reason.data];

  const asking = open("/asking");
  asking.on("question", (question, answer) => answer("no", question));
  seen.called = await ask(asking, "ask_me", { really: true });
  seen.binary = await ask(asking, "ask_me", Buffer.from([1, 2, 3]));
  const answered = next(asking, "answered");
  asking.emit("callback_me");
  seen.answered = await answered;
  seen.bytes = await ask(asking, "bytes", [Buffer.from("x"), { deep: Buffer.from("y") }]);

  const any = open("/any");
  seen.any = await ask(any, "whatever", 1, "two");
  const accounts = open("/accounts");
  seen.whoami = [await ask(accounts, "whoami"), await ask(accounts, "whoami")];
  const latency = open("/latency");
  const pong = next(latency, "pong_from_client");
  latency.emit("ping_from_client");
  seen.pong = await pong;

  const kicked = next(other, "disconnect");
  other.emit("disconnect_request");
  [seen.kicked] = await kicked;
  seen.transport = chat.io.engine.transport.name;
  for (const socket of opened) socket.disconnect();
  return seen;
}

for (const transports of [["polling"], ["polling", "websocket"]]) say(await scenario(transports));
setTimeout(() => process.exit(0), 50);
