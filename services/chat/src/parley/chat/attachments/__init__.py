"""Files of messages: taken in parts, looked at, attached to one message, handed out to readers, and removed.

Read `media_types` and `file_tickets` (pure), `byte_store` (where bytes are), `inspection` with `scanner` and
`thumbnails` (what is looked at; `thumbnail_process` is a process of its own), `user_shares` (how much at a time),
`uploads` (the way of a file until it is complete), `downloads` (the way back), `cleanup` (what removes bytes), and
`files`, which puts them together.
"""
