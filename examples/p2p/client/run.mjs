// node run.mjs [URL] [ROOM]: print what happens in a room; a line "ID text" sends the text to the client with that id.
// With SOCKET_IO=socket.io-client-2 it uses the older library.
import { createInterface } from "node:readline";
import { createRequire } from "node:module";
import { enter } from "./client.mjs";

const library = createRequire(import.meta.url)(process.env.SOCKET_IO ?? "socket.io-client");
const [url = "http://127.0.0.1:8000", room = "demo"] = process.argv.slice(2);
const hear = (event, ...args) => console.log(event, ...args.map((arg) => JSON.stringify(arg)));
const socket = enter(library.io ?? library, url, { room }, hear);

createInterface({ input: process.stdin })
  .on("line", (line) => {
    const [target, ...words] = line.split(" ");
    socket.emit("exchange", { target, payload: words.join(" ") }, (ack) => hear("ack", ack));
  })
  .on("close", () => socket.close());
