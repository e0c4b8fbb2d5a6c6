"""Sessions: a UUIDv7 for each run of the agent, sortable by time and never repeated after a reflash."""

import os
import time
import uuid

LATEST_MS = (1 << 48) - 1
"""The last time a UUIDv7 can hold."""


def uuid7(unix_ms: int, random: bytes) -> str:
    """The UUIDv7 (RFC 9562, section 5.7) of a time and ten random bytes, of which 74 bits are used."""
    if len(random) != 10:
        raise ValueError(f"expected 10 random bytes, got {len(random)}")
    bits = int.from_bytes(random, "big")
    rand_a, rand_b = bits >> 68, bits & ((1 << 62) - 1)
    value = (unix_ms & ((1 << 48) - 1)) << 80 | 0x7 << 76 | rand_a << 64 | 0b10 << 62 | rand_b
    return str(uuid.UUID(int=value))


def next_session(now_ms: int, last: str | None, random: bytes) -> str:
    """A session that sorts after ``last`` (the one before it on this device), whatever the clock says.

    Whoever reads messages takes the larger session for the newer, and a machine without a battery
    clock may boot with an older time than it had. A wild time in ``last`` is kept to for the same
    reason: readers have seen that session, and an earlier one would never be heard. Only what is no
    UUIDv7, or leaves no later time, is passed over. ``random`` is ten bytes; times are Unix ms.
    """
    now_ms = min(max(now_ms, 0), LATEST_MS)
    last_ms = _unix_ms(last)
    if last_ms is not None and last_ms < LATEST_MS:
        now_ms = max(now_ms, last_ms + 1)
    return uuid7(now_ms, random)


def new_session() -> str:
    """The identity of a run that begins now and remembers nothing of the one before."""
    return next_session(time.time_ns() // 1_000_000, None, os.urandom(10))


def _unix_ms(session: str | None) -> int | None:
    """The time in a UUIDv7; None for anything else."""
    try:
        value = uuid.UUID(session or "")
    except ValueError:
        return None
    is_ours = value.version == 7 and str(value) == session
    return value.int >> 80 if is_ours else None
