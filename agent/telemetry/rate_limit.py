"""How often something may happen: on average so many times a second, and some at once (token bucket)."""


class RateLimit:
    """``now`` is monotonic seconds. Full at first."""

    def __init__(self, *, per_s: float, burst: int, now: float) -> None:
        self._per_s = per_s
        self._burst = burst
        self._tokens = float(burst)
        self._at = now

    def take(self, now: float, amount: float = 1.0) -> bool:
        """Whether it may happen ``amount`` times more now; if so, it counts."""
        self._tokens = min(self._burst, self._tokens + max(0.0, now - self._at) * self._per_s)
        self._at = now
        if self._tokens < amount:
            return False
        self._tokens -= amount
        return True

    @property
    def again_at(self) -> float:
        """When a quarter of the burst may happen again: whoever waits for it does not wake for each."""
        return self._at + max(0.0, max(1.0, self._burst / 4) - self._tokens) / self._per_s
