"""Bytes that are almost right: what clients send, cut, spliced and bent at random."""

from __future__ import annotations

from random import Random

BAITS = [
    b"", b"\x00", b"\xff", b"\x7f", b"\x80", b"\x81\x80\0\0\0\0", b"\x81\xff" + b"\xff" * 8, b"\x88\x81",
    "😀".encode(),
    b"\xed\xa0\x80", b"\x1e", b"\x1e\x1e", b":", b"0:", b"1:4", b"9999999999:", b"b", b"=", b"====", b'"', b"\\ud800",
    b"[" * 2000, b"{", b"1e999", b"9" * 400, b'{"_placeholder":true,"num":0}', b"2", b"51-", b"/", b",", b"?", b"%",
    b"&sid=",
    b"\n", b"15", b";", b"\x00\x00\xff\xff", "\u0663".encode(),
]  # fmt: skip


def client_frame(opcode: int, payload: bytes, *, head: int = 0x80, mask: bytes = b"\x00\x00\x00\x00") -> bytes:
    """A frame as clients send it; `head` has the bits beside the opcode."""
    size = len(payload)
    if size < 126:
        length = bytes((0x80 | size,))
    elif size < 65536:
        length = b"\xfe" + size.to_bytes(2, "big")
    else:
        length = b"\xff" + size.to_bytes(8, "big")
    masked = bytes(byte ^ mask[position % 4] for position, byte in enumerate(payload)) if any(mask) else payload
    return bytes((head | opcode,)) + length + mask + masked


def mutated(random: Random, seeds: list[bytes]) -> bytes:
    """One of the seeds, changed in up to four places, or in none."""
    data = random.choice(seeds)
    for _ in range(random.randrange(5)):
        at = random.randrange(len(data) + 1)
        match random.randrange(6):
            case 0:
                data = data[:at] + random.choice(BAITS) + data[at:]
            case 1:
                data = data[:at] + bytes((random.randrange(256),)) + data[at + 1 :]
            case 2:
                data = data[:at] + data[at + random.randrange(1, 9) :]
            case 3:
                other = random.choice(seeds)
                data = data[:at] + other[random.randrange(len(other) + 1) :]
            case 4:
                data = data[:at] + data[max(0, at - random.randrange(1, 33)) :]
            case _:
                if at < len(data):
                    data = data[:at] + bytes((data[at] ^ 1 << random.randrange(8),)) + data[at + 1 :]
    return data


def pieces(random: Random, data: bytes) -> list[bytes]:
    """The same bytes, as they may arrive: at once, byte by byte, or cut anywhere."""
    match random.randrange(4):
        case 0 if len(data) < 200:
            return [data[at : at + 1] for at in range(len(data))]
        case 1:
            at = random.randrange(len(data) + 1)
            return [data[:at], data[at:]]
        case _:
            cuts = sorted(random.randrange(len(data) + 1) for _ in range(random.randrange(6)))
            return [data[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
