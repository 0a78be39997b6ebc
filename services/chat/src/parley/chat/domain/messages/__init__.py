"""Messages: sending and amending them, reactions, pins, and threads.

Read them in this order:

1. `known`: what decisions know of a room's messages, and `targets`: the one that a command is about.
2. `sending` with `mentions`: the plain message, which needs nothing of that, and the ones that do.
3. `amending`, `reactions`, `pins`, `threads`: what becomes of messages afterwards, one feature each.
4. `decisions`: finds the feature that a command belongs to.
5. `amendments`: what every event makes of a room's messages, and `rows`: how that is stored.
"""

from parley.chat.domain.messages.sending import MessageSent, SendMessage

__all__ = ["MessageSent", "SendMessage"]
