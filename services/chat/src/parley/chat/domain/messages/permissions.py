"""What takes more than being a member: deleting what others wrote, pinning, and mentioning everybody."""

from __future__ import annotations

from typing import Literal

from parley.chat.domain.state import Member
from parley.common.errors import Code, Reject

MessagePermission = Literal["message.moderate", "message.pin", "message.mention_all"]


def require_message_permission(member: Member, permission: MessagePermission) -> None:
    """Refuse a member who may not do this in the room; its owner may everything. Raises `Reject(forbidden)`."""
    if member.role != "owner":
        raise Reject(Code.FORBIDDEN, f"This takes the permission {permission}, which the room's owner has.")
