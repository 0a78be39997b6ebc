"""A service of an adopter whose rooms show who is there, in the namespace `/lounge`."""

from __future__ import annotations

from typing import Any

from parley.framework import Context, Presence, PresenceChoice, Router, Service

NAMESPACE = "/lounge"

router: Router[None] = Router(NAMESPACE)


@router.on("enter")
async def enter(context: Context, room: str) -> None:
    """Come into a room."""
    await context.join(f"table:{room}")


@router.on("leave")
async def leave(context: Context, room: str) -> None:
    """Leave a room."""
    await context.leave(f"table:{room}")


@router.on("who")
async def who(context: Context, room: str) -> Presence:
    """Look at a room."""
    return await context.presence(f"table:{room}")


@router.on("enough")
async def enough(context: Context, room: str) -> None:
    """Look at a room no more."""
    await context.stop_presence(f"table:{room}")


@router.on("there")
async def there(context: Context, rooms: list[str]) -> dict[str, Any]:
    """Ask once who is in rooms, of which one need not be in any."""
    found = await context.everybody.present(*(f"table:{room}" for room in rooms))
    return {
        "rooms": {
            room.removeprefix("table:"): {"users": present.shown(), "partial": present.partial}
            for room, present in found.items()
        }
    }


@router.on("be")
async def be(context: Context, choice: PresenceChoice) -> None:
    """Be shown as this."""
    await context.set_presence(choice)


@router.on("idle")
async def idle(context: Context, idle: bool) -> None:
    """Nobody uses this device, or somebody does."""
    await context.set_idle(idle)


service = Service("lounge", router)
