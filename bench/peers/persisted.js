// The usual hand-made chat backend: one INSERT per message, then the broadcast and the ack.
const http = require("node:http");
const { Pool } = require("pg");
const { Server } = require("socket.io");

const pool = new Pool({ host: process.env.PGHOST, user: "postgres", database: "postgres", max: 16 });
const server = http.createServer();
const io = new Server(server);
const insert = {
  name: "insert",
  text: "INSERT INTO peer_messages(room, author, body) VALUES ($1, $2, $3) RETURNING id",
};

io.on("connection", (socket) => {
  socket.on("join", (room, ack) => {
    socket.join(room);
    ack("ok");
  });
  socket.on("msg", async (room, text, ack) => {
    const { rows } = await pool.query({ ...insert, values: [room, socket.id, JSON.stringify({ text })] });
    io.to(room).emit("msg", { id: rows[0].id, text });
    ack({ ok: true });
  });
});

async function main() {
  await pool.query(`CREATE TABLE IF NOT EXISTS peer_messages(
    id bigserial PRIMARY KEY, room text NOT NULL, author text, body jsonb NOT NULL, at timestamptz DEFAULT now())`);
  await pool.query("CREATE INDEX IF NOT EXISTS peer_messages_room ON peer_messages(room, id)");
  server.listen({ port: +process.env.PORT, host: "127.0.0.1", backlog: 4096 });
}
main();
