"""Files of messages: taken in parts, looked at, attached to one message, handed out to readers, and removed.

Read `media_types` and `file_tickets` (pure), `byte_store` (where bytes are), `inspection` with `scanner` and
`thumbnails` (what is looked at; `thumbnail_process` is a process of its own), `uploads` (the way of a file until it is
complete), `downloads` (the way back), `cleanup` (what removes bytes), and `files`, which puts them together.

    | state    | begins when                       | ends when                                                     |
    |----------|-----------------------------------|---------------------------------------------------------------|
    | pending  | a file is announced               | it is said to be complete, or after an hour                   |
    | checking | a process looks at its bytes      | they are as announced (`ready`) or not (`gone`), or that      |
    |          |                                   | cannot be told now (`pending`)                                |
    | ready    | all is well                       | a message attaches it, or after a day                         |
    | attached | the message's transaction commits | the message is deleted or erased                              |
    | gone     | nobody may have it any more       | its bytes are removed, and its row with them                  |

What decides about attaching is in `domain.attaching`, what commits it in `log.event_store`.
"""
