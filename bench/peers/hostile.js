// Socket.IO with authentication as its documentation has it, and one event that is answered.
const http = require("node:http");
const { Server } = require("socket.io");

const server = http.createServer((request, response) => {
  response.writeHead(request.url === "/healthz" ? 200 : 404).end();
});
const io = new Server(server, { perMessageDeflate: process.env.DEFLATE === "true" });
const namespace = io.of("/echo");
namespace.use((socket, next) => next(socket.handshake.auth.token === process.env.TOKEN ? undefined : new Error("no")));
namespace.on("connection", (socket) => {
  socket.on("echo", (text, ack) => {
    if (typeof ack === "function") ack(text);
  });
});
server.listen({ port: +process.env.PORT, host: "127.0.0.1", backlog: 4096 });
