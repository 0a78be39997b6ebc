// A client of /p2p, for socket.io-client 4.x and 2.x alike. Its id is `socket.id`; whatever is for it alone arrives as
// the event of that name.

/**
 * Enter a room.
 *
 * `io` is what the library exports, `hear(event, ...args)` is called with all that happens; other options are the
 * library's, as `auth: { token }` for who is no guest. Returns the socket, whose
 * `emit("exchange", { target, payload }, (ack) => ...)` reaches the client with the id `target`.
 */
export function enter(io, url, { room, userId = `client_${Math.random().toString(36).slice(2)}`, ...options }, hear) {
  const socket = io(url + "/p2p", { query: { room, userId }, transports: ["websocket"], ...options });
  let own; // the event named like the id, which is another after each connect
  socket.on("connect", () => {
    if (own) socket.off(own);
    own = socket.id;
    socket.on(own, (message) => hear("message", message));
    hear("connect", own);
  });
  socket.on("online", (online) => hear("online", online));
  // A refusal: 4.x has what the server says in `data`, 2.x gets it as the event `error`.
  socket.on("connect_error", (error) => hear("connect_error", error.data ?? { message: error.message }));
  // Why an event was not accepted that was emitted without asking for an ack.
  socket.on("error", (error) => hear("error", error));
  socket.on("disconnecting", () => hear("disconnecting"));
  socket.on("disconnect", (reason) => hear("disconnect", reason));
  return socket;
}
