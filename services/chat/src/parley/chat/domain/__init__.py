"""The rules of rooms, all of them pure: no module here does I/O.

Read them in this order:

1. `state`: a room and its members, as a decision sees them.
2. `fields`, `events` and `custom_data`: what every command and every event has in common, and what applications keep.
3. `permissions`: who may do what in a room, which every feature asks.
4. `rooms`, `membership`, `attaching`, `messages`, `people`: features with their commands, events, decisions and effects
   on a room.
5. `room`: finds the feature that a command or an event belongs to.
6. `batch` with `batch_state`: decides many commands in order; `draft` decides those that need no lock.
7. `encoding`: how events and ids are written down.
8. `erasure` with `erasure_events`: what an erasure covers, and what remains of an erased event.
9. `projectors`: which rows of which table a room's events lead to.
"""
