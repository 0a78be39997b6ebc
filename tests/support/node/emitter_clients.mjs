// Stock socket.io-clients, any number of them, driven by JSON lines and telling what happens to each in JSON lines.
import { createInterface } from "node:readline";
import { createRequire } from "node:module";
import { say, unpacked } from "./json_lines.mjs";

const require = createRequire(new URL("../../../web/package.json", import.meta.url));
const { Manager } = require("socket.io-client");

const managers = {}; // by the name of the transport
const sockets = {}; // by name: { socket, answer, owed }

const actions = {
  open({ name, url, namespace, transport, token, transports }) {
    managers[transport] ??= new Manager(url, { transports, reconnection: false, autoConnect: false });
    const socket = managers[transport].socket(namespace, { auth: { token } });
    const state = (sockets[name] = { socket, answer: undefined, owed: [] });
    socket.on("connect", () => say({ name, on: "connect", sid: socket.id, recovered: Boolean(socket.recovered) }));
    socket.on("connect_error", (error) => say({ name, on: "connect_error", message: error.message }));
    socket.on("disconnect", (reason) => say({ name, on: "disconnect", reason }));
    socket.onAny((event, ...args) => {
      if (typeof args.at(-1) === "function") {
        const ack = args.pop();
        if (state.answer) ack(...state.answer);
        else state.owed.push(ack);
      }
      say({ name, on: "event", event, args });
    });
    socket.connect();
  },
  // How it answers from now on, or never when that is null.
  answers({ name, answer }) {
    sockets[name].answer = answer === null ? undefined : unpacked(answer);
  },
  // Give what was not answered.
  pay({ name, answer }) {
    for (const ack of sockets[name].owed.splice(0)) ack(...unpacked(answer));
  },
  emit({ name, tag, event, args }) {
    sockets[name].socket.emit(event, ...unpacked(args), (...answer) => say({ name, on: "ack", tag, answer }));
  },
  // Lose the transport, and later come back.
  drop({ name }) {
    sockets[name].socket.io.engine.close();
  },
  back({ name }) {
    sockets[name].socket.connect();
  },
  close({ name }) {
    sockets[name].socket.disconnect();
  },
};

createInterface({ input: process.stdin })
  .on("line", (line) => {
    const message = JSON.parse(line);
    actions[message.do](message);
    say({ name: message.name, on: "done", number: message.number });
  })
  .on("close", () => process.exit(0));
