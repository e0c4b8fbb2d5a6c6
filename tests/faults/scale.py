"""How much of a fault test runs: all of it by ``pytest tests/faults``, a small share with the other tests."""

import os

FULL = "LITEWATCH_FAULTS"


def scaled(count: int, *, least: int) -> int:
    """``count``, or a hundredth of it (``least`` at least) where the share runs."""
    return count if os.environ.get(FULL) else max(least, count // 100)
