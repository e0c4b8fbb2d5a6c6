"""Which frames are most worth a person's label, when only so many a day will be labelled.

Every frame has a chance; it is larger where the model itself cannot tell whether it is right, and its label
then counts for 1 / chance, so an estimate made of such labels stays unbiased. Best is a chance in proportion
to how far the truth spreads around what is expected of it: T. Zrnic and E. J. Candès, "Active statistical
inference" (2024). Pure: no clock, no dice.
"""

import math

DAY_NS = 86_400_000_000_000
MOST_PER_DAY = 10_000
LEAST = 1 / 2
"""Of the chance that goes to every frame alike. Weights then differ by a factor of 2 at most, so where the
confidence is worth nothing an interval from n labels is at most (1 + 2) / (2 * sqrt(2)) = 1.061 times as wide
as one from n random frames (Kantorovich's inequality), whatever the confidences are. A factor of 10 would
gain little more where they are good, and cost up to 1.26 times where they are not."""
MEMORY = 1000
"""Frames over which the pace and the mean worth are averaged."""
LONGEST_GAP = 10
"""A frame after silence pays for no more than so many usual intervals."""


def worth(right: float | None) -> float:
    """How much a label is worth, 1/2 … 1: ``right`` is the probability that the prediction is right (None:
    nothing is known of it, all are alike)."""
    if right is None or not math.isfinite(right):
        return 1.0
    known = min(max(right, 0.0), 1.0)
    return LEAST + (1 - LEAST) * 2 * math.sqrt(known * (1 - known))


class LabelBudget:
    """Hands out ``per_day`` labels a day, on average, in chances for the frames as they come. Night and day
    have their share of them: the budget goes with time, and within it to the frames that are worth most."""

    def __init__(self, per_day: float) -> None:
        self._per_ns = per_day / DAY_NS
        self._frames = 0
        self._last_ns = 0
        self._interval_ns = 0.0
        self._worth = 0.0

    def chance(self, right: float | None, now_ns: int) -> float:
        """The chance 0 … 1 of the frame at ``now_ns``; of the first one 0, for its share is not known."""
        valued = worth(right)
        since_ns, self._last_ns = max(0, now_ns - self._last_ns), now_ns
        first = self._frames == 0
        self._frames += 1
        # Means of all frames at first, and of the newest thousand or so later.
        newest = 1 / min(self._frames, MEMORY)
        self._worth += (valued - self._worth) * newest
        if first:
            return 0.0
        if self._interval_ns:
            since_ns = min(since_ns, int(LONGEST_GAP * self._interval_ns) + 1)
            self._interval_ns += (since_ns - self._interval_ns) * newest
        else:
            self._interval_ns = float(since_ns)
        return min(1.0, self._per_ns * self._interval_ns * valued / self._worth)
