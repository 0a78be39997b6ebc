"""Slash commands of bots: what bots offer in rooms, and what users ask of them.

Read `command_options` (what a command takes, pure), `offered` (which commands there are in a room), then
`invocation_rows` (what was asked and what became of it) and `invocations` (asking and answering).
"""
