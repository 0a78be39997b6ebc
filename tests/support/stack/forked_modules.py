"""What a forked process has imported; the process that forks imports this module first.

Nothing here may start a thread, open a connection or read a setting: everything forked would share it.
"""

from __future__ import annotations

import gc

import anyio.streams.memory
import anyio.streams.stapled
import anyio.streams.tls
import uvloop
from anyio import connect_tcp

import parley.auth.app
import parley.chat.app
import parley.common.run_process
import parley.gateway.app

IMPORTED = (parley, anyio, uvloop, connect_tcp)
"""Also what is imported at first use."""

# What is forked looks for garbage at its start, and would copy every page of memory by that.
gc.collect()
gc.freeze()
