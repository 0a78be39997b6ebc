// A stock socket.io-client on HTTP polling: says what happens to it, in JSON lines, until it is disconnected.
import { createRequire } from "node:module";
import { say } from "./json_lines.mjs";

const require = createRequire(new URL("../../../web/package.json", import.meta.url));
const { io } = require("socket.io-client");

const socket = io(process.argv[2], { transports: ["polling"], reconnection: false });
socket.on("connect", () => socket.emit(process.argv[3]));
socket.on("connect_error", (error) => say({ on: "connect_error", message: error.message }));
socket.onAny((event, ...args) => say({ on: event, args }));
socket.on("disconnect", (reason) => {
  say({ on: "disconnect", reason });
  setTimeout(() => process.exit(0), 50);
});
