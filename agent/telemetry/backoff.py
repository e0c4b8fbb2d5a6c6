"""Exponential backoff with full jitter: a fleet whose broker returns does not return all at once."""

from collections.abc import Callable


class Backoff:
    """``random`` gives numbers in [0, 1)."""

    def __init__(self, *, min_s: float, max_s: float, random: Callable[[], float]) -> None:
        self._min_s = min_s
        self._max_s = max_s
        self._random = random
        self._failures = 0

    def next_s(self) -> float:
        """How long to wait before the next attempt: uniform below a bound that doubles each time."""
        bound = min(self._max_s, self._min_s * 2.0 ** min(self._failures, 40))
        self._failures += 1
        return bound * self._random()

    def reset(self) -> None:
        """An attempt held."""
        self._failures = 0
