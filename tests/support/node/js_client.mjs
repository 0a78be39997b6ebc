// A stock socket.io-client driven by JSON lines: {"do": "emit", ...} on standard input, what happens on standard output.
// Its version is the argument: 4 of web/, or 2 of this directory.
import { createInterface } from "node:readline";
import { createRequire } from "node:module";
import { say, unpacked } from "./json_lines.mjs";

const old = process.argv[2] === "2";
const require = createRequire(new URL(old ? "package.json" : "../../../web/package.json", import.meta.url));
const io = old ? require("socket.io-client-2") : require("socket.io-client").io;

let socket;
let said;
const seen = {}; // the last sequence of each room, which an app names when it connects again
const note = (event, args) => {
  if (args[0]?.event_id) seen[args[0].room] = args[0].sequence;
  say({ on: "event", event, args });
};
const transport = () => socket.io.engine.transport.name;
const refused = (error) =>
  say({
    on: "connect_error",
    active: socket?.active ?? false,
    message: String(error?.message ?? error),
    data: error instanceof Error ? (error.data ?? null) : error,
  });

const actions = {
  connect({ url, namespace, auth: given, options }) {
    said = given;
    const says = () => {
      say({ on: "says", cursors: { ...said?.cursors, ...seen } });
      return Object.keys(seen).length ? { ...said, cursors: { ...said.cursors, ...seen } } : said;
    };
    socket = io(url + namespace, { ...(old ? { query: given } : { auth: (done) => done(says()) }), ...options });
    const connected = () => {
      const { id: sid, recovered = false, _pid: pid = "" } = socket;
      say({ on: "connect", sid, transport: transport(), recovered, pid });
      socket.io.engine.once("upgrade", () => say({ on: "upgrade", transport: transport() }));
    };
    socket.on("connect", connected);
    socket.on("connect_error", refused);
    socket.on("disconnect", (reason) => say({ on: "disconnect", reason, active: socket.active ?? false }));
    if (!old) return socket.onAny((event, ...args) => note(event, args));
    socket.on("error", refused);
    const heard = socket.onevent;
    socket.onevent = function (packet) {
      const [event, ...args] = packet.data;
      note(event, args);
      heard.call(this, packet);
    };
  },
  emit({ tag, event, args, timeout }) {
    const given = args.map(unpacked);
    const answered = (answer) => say({ on: "ack", tag, answer });
    if (tag === null) return socket.emit(event, ...given);
    if (old) return socket.emit(event, ...given, answered);
    socket.timeout(timeout).emit(event, ...given, (error, answer) =>
      answered(error ? { timeout: String(error) } : answer),
    );
  },
  cut() {
    socket.io.engine.close();
  },
  // Lose the transport, and stay away.
  lose() {
    socket.io.reconnection(false);
    socket.io.engine.close();
  },
  // From now on, look for the server there.
  turn({ url }) {
    socket.io.uri = url;
  },
  back() {
    socket.io.reconnection(true);
    socket.connect();
  },
  say({ auth }) {
    said = auth;
  },
  has({ room, sequence }) {
    if (sequence === null) delete seen[room];
    else seen[room] ??= sequence;
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
