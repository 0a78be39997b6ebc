"""What a forked process has imported; the process that forks imports this module first.

Nothing here may start a thread, open a connection or read a setting: everything forked would share it.
"""

from __future__ import annotations

import gc

import uvloop
from anyio import connect_tcp
from anyio.streams import memory, stapled, tls
from argon2.profiles import CHEAPEST

from parley.auth import app as auth
from parley.auth.accounts.guessing import passwords
from parley.chat import app as chat
from parley.cli import main
from parley.cli.commands.stack import up
from parley.cli.stack import stack
from parley.common import run_process
from parley.gateway import app as gateway

IMPORTED = (auth, chat, gateway, main, up, stack, run_process, memory, stapled, tls, uvloop, connect_tcp)
"""Also what is imported at first use."""

# Every user that a test makes would take a sixth of a second, and who logs in as well.
passwords.PARAMETERS = CHEAPEST

# What is forked looks for garbage at its start, and would copy every page of memory by that.
gc.collect()
gc.freeze()
