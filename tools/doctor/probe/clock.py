"""The time, and what it cannot be earlier than."""

import time
from collections.abc import Iterable
from pathlib import Path

import agent
from agent.device.clock import clock_synced
from tools.doctor.tree.clock import ClockFacts


def look(written: Iterable[Path], *, tls: bool) -> ClockFacts:
    """``written``: files that were made on this machine."""
    return ClockFacts(
        now_s=time.time(),
        synced=clock_synced(),
        written_s=max((_written_s(path) for path in (Path(agent.__file__), *written)), default=0.0),
        tls=tls,
    )


def _written_s(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
