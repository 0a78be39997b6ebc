"""What keeps people apart and rooms decent, besides what rooms' own events say.

Read `blocks` (whom a user wants nothing from), `room_lists` (what moderators see of a room), `reports` (what users say
is not right, and what becomes of it), `reported_files` (who sees the files of a report), and `screening` (a service
that looks at texts before they are committed).
"""
