"""A fuzzer for the whole: what the documents say may be sent, bent, to a running stack over sockets and over HTTP.

Read `documents` (what may be sent), `values` (what is sent, right and wrong), `people` (who sends it), `calls` (how,
and what an answer must be) and `run` (the stack, and what must hold afterwards). `python -m tests.fuzz.api.run --help`.
"""
