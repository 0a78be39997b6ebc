// What stock socket.io-clients do with several namespaces on one transport: node namespaces_client.mjs SCENARIO URL
// Prints what happened as one line of JSON.
import { createRequire } from "node:module";

const { io, Manager } = createRequire(new URL("../../../web/package.json", import.meta.url))("socket.io-client");
const [scenario, url, token] = process.argv.slice(2);
const auth = { token };
const once = (socket, event) => new Promise((done) => socket.once(event, done));
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const options = { transports: ["websocket"], reconnectionDelay: 100, reconnectionDelayMax: 200, forceNew: true };

const scenarios = {
  // Left and joined again in a hurry, as React's StrictMode does it, on a transport that another namespace keeps open.
  async twice() {
    const manager = new Manager(url, options);
    const [a, b] = [manager.socket("/a", { auth }), manager.socket("/b", { auth })];
    const errors = [];
    a.on("connect_error", (error) => errors.push(error.message));
    await once(manager, "open");
    a.disconnect();
    a.connect();
    await once(a, "connect");
    await pause(200);
    const ack = await a.timeout(3000).emitWithAck("hi", 1);
    return { errors, ok: ack.ok, same: ack.sid === a.id, connected: a.connected, active: a.active, b: b.connected };
  },

  // Half an emoji, as text.slice() leaves it, without and with an ack, on both transports, then in auth.
  async half_emoji() {
    const said = "nice 😀".slice(0, 6);
    const found = [];
    for (const transports of [["websocket"], ["polling"]]) {
      const socket = io(`${url}/a`, { ...options, transports, auth });
      const ended = [];
      socket.on("disconnect", (reason) => ended.push(reason));
      await once(socket, "connect");
      socket.emit("hi", said);
      const { code } = await once(socket, "error");
      const acked = await socket.timeout(3000).emitWithAck("hi", said);
      const fine = await socket.timeout(3000).emitWithAck("hi", 1);
      found.push({ code, acked: acked.error.code, fine: fine.ok, ended: [...ended] });
      socket.close();
    }
    const refused = io(`${url}/a`, { ...options, auth: { ...auth, nick: said } });
    const error = await once(refused, "connect_error");
    return { found, refused: error.data.code };
  },

  // A neighbour whose service is away.
  async neighbour() {
    const manager = new Manager(url, options);
    const ended = [];
    const a = manager.socket("/a", { auth });
    a.on("disconnect", (reason) => ended.push(reason));
    await once(a, "connect");
    manager.socket("/gone", { auth });
    let ok = 0;
    for (let n = 0; n < 30; n++) {
      ok += (await a.timeout(1000).emitWithAck("hi", n)).ok;
      await pause(50);
    }
    return { ok, ended };
  },

  // Emits that were buffered while it was away, and a neighbour that takes its time.
  async buffered() {
    const manager = new Manager(url, { ...options, autoConnect: false });
    const [a, b] = [manager.socket("/a", { auth }), manager.socket("/slow", { auth })];
    const acks = Array.from({ length: 200 }, (_, n) => a.timeout(8000).emitWithAck("hi", n));
    a.connect();
    b.connect();
    const ok = (await Promise.all(acks)).filter((ack) => ack.ok).length;
    return { ok };
  },

  // A guest loses the transport, three times running, without having heard anything yet.
  async guest() {
    const socket = io(`${url}/guests`, options);
    await once(socket, "connect");
    const { id } = socket;
    const found = [];
    for (let n = 0; n < 3; n++) {
      socket.io.engine.close();
      await once(socket, "connect");
      found.push({ recovered: socket.recovered, same: socket.id === id });
    }
    return { found, ok: (await socket.timeout(3000).emitWithAck("hi", 1)).sid === id };
  },

  // Its user is kicked: stock clients stay away, in every namespace of the transport.
  async kicked() {
    const manager = new Manager(url, options);
    const sockets = ["/a", "/b"].map((name) => manager.socket(name, { auth }));
    await Promise.all(sockets.map((socket) => once(socket, "connect")));
    console.error("connected");
    const told = await Promise.all(
      sockets.map(async (socket) => {
        const [kicked, reason] = await Promise.all([once(socket, "kicked"), once(socket, "disconnect")]);
        return { code: kicked.code, reason };
      }),
    );
    await pause(500);
    return { told, active: sockets.map((socket) => socket.active) };
  },

  // The token expires: stock clients come back by themselves with another one.
  async expired() {
    const times = [];
    const socket = io(`${url}/b`, { ...options, auth: (say) => (times.push(1), say(auth)) });
    const ended = [];
    socket.on("disconnect", (reason) => ended.push(reason));
    await once(socket, "connect");
    const { id } = socket;
    await once(socket, "disconnect");
    await once(socket, "connect");
    return { asked: times.length, ended, recovered: socket.recovered, same: socket.id === id };
  },
};

console.log(JSON.stringify(await scenarios[scenario]()));
process.exit(0);
