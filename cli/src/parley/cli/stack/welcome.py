"""What the one-command stack prints when it is ready."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from string import Template

from rich.console import Console
from rich.markup import escape

from parley.cli.stack.dev_services import DevServices

CLIENT = Template("""\
import { io } from "socket.io-client";
const url = "$url", headers = { "content-type": "application/json" };
${login}const socket = io(url + "/chat", { auth: { token: access_token } });
socket.on("message.sent", ({ data, sequence }) => console.log(user_id, "sent message", sequence, "-", data.body));
socket.on("disconnect", (reason) => console.log("disconnected:", reason));
const { room } = await socket.emitWithAck("room.create", { id: crypto.randomUUID(), name: "Lobby", kind: "public" });
await socket.emitWithAck("message.send", { id: crypto.randomUUID(), room: room.id, body: "Hello" });
""")
"""A whole client on the stock library. The acceptance tests run it as printed."""

REGISTER = """\
const body = JSON.stringify({ username: "guest_" + Date.now(), password: "correct-horse-battery" });
const { user_id, access_token } = await (await fetch(url + "/auth/register", { method: "POST", headers, body })).json();
"""
AS_ADMIN = Template("""\
const user_id = "admin", access_token = "$token"; // nobody may register here
""")

KICK = Template("""\
curl -X POST $url/admin/users/USER_ID/kick -H "Authorization: Bearer $token" \
-H "Content-Type: application/json" -d '{"reason": "see you"}'""")


def show(
    console: Console,
    *,
    url: str,
    token: str,
    password: str | None,
    password_file: Path,
    page: bool,
    registration: bool,
    seconds: float,
) -> None:
    """Print the address, the admin's credentials, a client to paste, and what to try next.

    The client registers, where people may. `password` is None if it was shown before. `seconds` is how long the start
    took.
    """

    # Rich would take the brackets of the client's code for markup.
    def verbatim(text: str) -> None:
        console.print(text, markup=False)

    console.print(f"\n[bold green]Parley is ready[/] at [bold]{escape(url)}[/] [dim]({seconds:.1f} s)[/]\n")
    if not page:
        console.print("[yellow]The web page is not served:[/] install Node.js 20 or newer and run `make up` again.\n")
    kept = escape(str(password_file))
    shown = f"[bold]{password}[/] (kept in {kept})" if password else f"in {kept}"
    console.print(f"[bold]Admin[/]     admin, password {shown}")
    console.print("[bold]Token[/]     the admin's, for 24 hours:")
    verbatim(token)
    console.print("\n[bold]A client[/]  save as hello.mjs, then: npm install socket.io-client && node hello.mjs")
    verbatim(CLIENT.substitute(url=url, login=REGISTER if registration else AS_ADMIN.substitute(token=token)))
    console.print(
        "[bold]Try next[/]  " + (f"open {escape(url)} in two browser windows, or " if page else "") + "kick the client:"
    )
    verbatim(KICK.substitute(url=url, token=token))


def show_project(console: Console, project: DevServices, nats_urls: Mapping[str, str]) -> None:
    """Print which services the namespaces have, and how to start what is not here."""
    console.print("\n[bold]Services[/]  by namespaces.toml:")
    for service in dict.fromkeys(project.namespaces.values()):
        if service in project.not_ready:
            state = "[yellow]does not answer yet; it is said here when it does[/]"
        elif service in project.here:
            state = "from this directory, restarts when its code changes"
        elif service in project.elsewhere:
            state = "[yellow]not in this directory; start it where it is:[/]"
        else:
            state = "Parley's own"
        console.print(f"  [bold]{escape(service)}[/] on {escape(', '.join(project.of(service)))} - {state}")
        if service in project.elsewhere:
            console.print(f"    PARLEY_NATS_URL={nats_urls[service]} PARLEY_PORT=0 parley run {service}", markup=False)
