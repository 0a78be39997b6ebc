// The clients of examples/p2p, any number of them and of either version, driven by JSON lines.
import { createInterface } from "node:readline";
import { createRequire } from "node:module";
import { enter } from "../../../examples/p2p/client/client.mjs";
import { say } from "./json_lines.mjs";

const libraries = {
  4: () => createRequire(new URL("../../../web/package.json", import.meta.url))("socket.io-client").io,
  2: () => createRequire(import.meta.url)("socket.io-client-2"),
};
const sockets = {}; // by name

const actions = {
  enter({ name, version, url, options }) {
    const hear = (event, ...args) => say({ name, on: event, args });
    // Each with a transport of its own, as in browsers of their own; and gone for good when it is turned out.
    const io = (address, given) => libraries[version]()(address, { ...given, forceNew: true, reconnection: false });
    const socket = (sockets[name] = enter(io, url, options, hear));
    // Also what the client does not listen to.
    const received = socket.onevent;
    socket.onevent = function (packet) {
      say({ name, on: "received", args: [packet.data[0]] });
      received.call(this, packet);
    };
  },
  emit({ name, tag, event, args }) {
    if (tag === null) sockets[name].emit(event, ...args);
    else sockets[name].emit(event, ...args, (answer) => say({ name, on: "ack", args: [tag, answer] }));
  },
  // Join another namespace over the same transport.
  beside({ name, namespace }) {
    const socket = sockets[name].io.socket(namespace);
    socket.on("connect", () => say({ name, on: "beside", args: ["connect"] }));
    socket.on("disconnect", (reason) => say({ name, on: "beside", args: [reason] }));
  },
  leave({ name }) {
    sockets[name].close();
  },
};

createInterface({ input: process.stdin })
  .on("line", (line) => {
    const message = JSON.parse(line);
    actions[message.do](message);
  })
  .on("close", () => process.exit(0));
