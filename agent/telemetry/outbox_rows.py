"""A message as a row of the outbox's file, with a checksum: cards forget bits, and SQLite does not look.

A long body is compressed: a card is worn by every page that is written to it. Pure.
"""

import zlib
from collections.abc import Sequence
from dataclasses import astuple, fields
from typing import Any

from agent.telemetry.outbox_memory import size_of
from agent.telemetry.ports import Stored

COLUMNS = (*(field.name for field in fields(Stored)), "size", "checksum")
"""In the order of ``row`` and ``message``; ``size`` is what it counts against ``max_bytes``."""
SHORT = 512
"""Characters of a body that is not worth compressing."""


def row(message: Stored) -> tuple[Any, ...]:
    """What is written of ``message``."""
    named = dict(zip(COLUMNS, astuple(message), strict=False))
    values = (*(named | {"body": packed(message.body)}).values(), size_of(message))
    return (*values, checksum(values))


def packed(body: str) -> str | bytes:
    """How a body is kept: as it is, or compressed where that saves a third."""
    if len(body) < SHORT:
        return body
    small = zlib.compress(body.encode())
    return small if len(small) < 2 * len(body) // 3 else body


def unpacked(body: str | bytes) -> str:
    """The body that was kept so."""
    return zlib.decompress(body).decode() if isinstance(body, bytes) else body


def is_whole(values: Sequence[Any]) -> bool:
    """Whether a row is as it was written."""
    return bool(values[-1] == checksum(values[:-1]))


def message(values: Sequence[Any]) -> Stored:
    """The message in a whole row."""
    named = dict(zip(COLUMNS, values, strict=True))
    del named["size"], named["checksum"]
    return Stored(**named | {"body": unpacked(named["body"]), "clock_synced": bool(named["clock_synced"])})


def checksum(values: Sequence[Any]) -> int:
    """CRC-32 over every other column as SQLite gives it back: a bool is 0 or 1."""
    plain = [int(value) if isinstance(value, bool) else value for value in values]
    return zlib.crc32(repr(plain).encode())
