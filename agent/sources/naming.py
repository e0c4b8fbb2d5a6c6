"""Names of live frames: what took them, and when."""

import time

from agent.telemetry.clock import format_utc


def live_name(taker: str, captured_ns: int) -> str:
    """``door@2026-01-31T12:00:00.000Z``, by the wall clock, of a frame captured at ``captured_ns`` on
    the monotonic one. A person, a recorder or a later label can find the moment again."""
    age_s = (time.monotonic_ns() - captured_ns) / 1e9
    return f"{taker}@{format_utc(time.time() - age_s)}"
