// A stock socket.io-client driven by JSON lines: {"do": "emit", ...} on standard input, what happens on standard output.
import { createInterface } from "node:readline";
import { createRequire } from "node:module";

const require = createRequire(new URL("../../web/package.json", import.meta.url));
const { io } = require("socket.io-client");
const say = (message) => process.stdout.write(JSON.stringify(message) + "\n");

let socket;
const seen = {}; // the last sequence of each room, which an app names when it connects again
const actions = {
  connect({ url, namespace, auth: given, options }) {
    const says = () => (Object.keys(seen).length ? { ...given, cursors: { ...given.cursors, ...seen } } : given);
    socket = io(url + namespace, { auth: (done) => done(says()), ...options });
    socket.on("connect", () => say({ on: "connect", sid: socket.id, transport: socket.io.engine.transport.name }));
    socket.on("connect_error", (error) => say({ on: "connect_error", message: error.message, data: error.data ?? null }));
    socket.on("disconnect", (reason) => say({ on: "disconnect", reason }));
    socket.onAny((event, ...args) => {
      if (args[0]?.event_id) seen[args[0].room] = args[0].sequence;
      say({ on: "event", event, args });
    });
  },
  emit({ tag, event, args, timeout }) {
    const binary = (value) => (value && value.$binary ? Buffer.from(value.$binary, "base64") : value);
    const decoded = args.map((arg) =>
      arg && typeof arg === "object" && !Array.isArray(arg) && !arg.$binary
        ? Object.fromEntries(Object.entries(arg).map(([key, value]) => [key, binary(value)]))
        : binary(arg),
    );
    if (tag === null) return socket.emit(event, ...decoded);
    socket.timeout(timeout).emit(event, ...decoded, (error, answer) =>
      say({ on: "ack", tag, answer: error ? { timeout: String(error) } : answer }),
    );
  },
  disconnect() {
    socket.disconnect();
  },
};

createInterface({ input: process.stdin })
  .on("line", (line) => {
    const message = JSON.parse(line);
    actions[message.do](message);
  })
  .on("close", () => process.exit(0));
say({ on: "ready" });
