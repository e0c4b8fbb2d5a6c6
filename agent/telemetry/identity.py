"""Sessions: a UUIDv7 for each run of the agent, sortable by time and never repeated after a reflash."""

import os
import time
import uuid


def uuid7(unix_ms: int, random: bytes) -> str:
    """The UUIDv7 (RFC 9562, section 5.7) of a time and ten random bytes, of which 74 bits are used."""
    if len(random) != 10:
        raise ValueError(f"expected 10 random bytes, got {len(random)}")
    bits = int.from_bytes(random, "big")
    rand_a, rand_b = bits >> 68, bits & ((1 << 62) - 1)
    value = (unix_ms & ((1 << 48) - 1)) << 80 | 0x7 << 76 | rand_a << 64 | 0b10 << 62 | rand_b
    return str(uuid.UUID(int=value))


def new_session() -> str:
    """The identity of a run that begins now."""
    return uuid7(time.time_ns() // 1_000_000, os.urandom(10))
