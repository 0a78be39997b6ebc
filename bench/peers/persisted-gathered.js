// The same as persisted.js, but what waits goes into one INSERT of many rows, one INSERT at a time.
const http = require("node:http");
const { Pool } = require("pg");
const { Server } = require("socket.io");

const pool = new Pool({ host: process.env.PGHOST, user: "postgres", database: "postgres", max: 16 });
const server = http.createServer();
const io = new Server(server);
const insert = {
  name: "insert",
  text: `INSERT INTO peer_messages(room, author, body)
    SELECT * FROM unnest($1::text[], $2::text[], $3::jsonb[]) RETURNING id`,
};
let waiting = [];
let inserting = false;

async function store() {
  while (waiting.length) {
    const batch = waiting;
    waiting = [];
    const columns = [[], [], []];
    for (const { room, author, text } of batch) {
      columns[0].push(room);
      columns[1].push(author);
      columns[2].push(JSON.stringify({ text }));
    }
    const { rows } = await pool.query({ ...insert, values: columns });
    batch.forEach(({ room, text, ack }, place) => {
      io.to(room).emit("msg", { id: rows[place].id, text });
      ack({ ok: true });
    });
    // What the sockets hold joins the next INSERT.
    await new Promise(setImmediate);
  }
  inserting = false;
}

io.on("connection", (socket) => {
  socket.on("join", (room, ack) => {
    socket.join(room);
    ack("ok");
  });
  socket.on("msg", (room, text, ack) => {
    waiting.push({ room, author: socket.id, text, ack });
    if (inserting) return;
    inserting = true;
    setImmediate(store);
  });
});

async function main() {
  await pool.query(`CREATE TABLE IF NOT EXISTS peer_messages(
    id bigserial PRIMARY KEY, room text NOT NULL, author text, body jsonb NOT NULL, at timestamptz DEFAULT now())`);
  await pool.query("CREATE INDEX IF NOT EXISTS peer_messages_room ON peer_messages(room, id)");
  server.listen({ port: +process.env.PORT, host: "127.0.0.1", backlog: 4096 });
}
main();
