// Socket.IO as most people run it: one room, broadcast with `io.to(room).emit`.
const http = require("node:http");
const { Server } = require("socket.io");
require("./lag");

const server = http.createServer();
const io = new Server(server);
io.on("connection", (socket) => {
  socket.on("join", (room, ack) => {
    socket.join(room);
    ack("ok");
  });
  socket.on("msg", (room, text) => io.to(room).emit("msg", text));
});
server.listen({ port: +process.env.PORT, host: "127.0.0.1", backlog: 4096 });
