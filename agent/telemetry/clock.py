"""What telemetry needs to know of time, injected, and UTC as the wire writes it.

Wall time can jump (a device without a battery-backed clock starts in the past); ages are therefore
measured on the monotonic clock, and ``boot_id`` says whether two of its readings can be compared.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Clock:
    """``wall`` gives Unix seconds, ``monotonic`` seconds since some moment of this boot."""

    wall: Callable[[], float]
    monotonic: Callable[[], float]
    boot_id: str
    synced: Callable[[], bool]
    """Whether wall time has been set from the network."""


def format_utc(unix_s: float) -> str:
    """RFC 3339 in UTC with milliseconds: ``2026-01-31T12:00:00.000Z``."""
    moment = datetime.fromtimestamp(unix_s, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def parse_utc(text: str) -> float:
    """Unix seconds of an RFC 3339 time; ValueError when it is none or has no offset."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("no offset from UTC")
    return moment.timestamp()
