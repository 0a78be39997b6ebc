"""The wire types: what travels on NATS between Parley's processes.

Payloads that come from a client or go to one stay the JSON bytes that they were; the service behind the namespace
decodes them once. Start with `commands` and `rooms`, which are what most messages are; the modules, in reading order:

1. `codec`: how all of them are encoded, and `subjects`: where they are sent;
2. `commands` and `rooms`: the events of clients to a service, and those of a service to rooms;
3. `connections`, `identity`, `recovery`: a connection from CONNECT to its end, who it is, and how it comes back;
4. `operations`: what is done with connections from outside; `presence`: who is in which room, between gateways;
5. `requests`, `processes`, `admin`, `consumers`: framing, signs of life, the admin API, followers of the log;
6. `permissions` and `rights`: what a process may do on NATS, and a user with what they are; `address_bans`;
7. `binary` (attachments), `disconnects` (reasons), `identifiers` and `text`, which the others use.
"""
