"""Which sampled frames are independent of each other.

Tests that assume independent observations raise false alarms on video (about every window when
consecutive frames are taken for independent). So only frames a multiple of the measured
autocorrelation time apart count as independent; the others still count for everything descriptive.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from agent.monitor import autocorrelation
from agent.monitor.autocorrelation import LONGEST, MOST_FEATURES, Autocorrelation

INDEPENDENT_LAG_1 = 0.1
"""Neighbours correlated less than this (and the chance of the measurement) are independent."""
HYSTERESIS, SHORTENS = 1.25, 2.0
"""The interval only follows a measurement that is longer by more than the first factor, or, once it was
measured on LONGEST frames, shorter by more than the second: longer than needed costs time; shorter, and
windows of most of a day vary with the part of it they leave out, as those of the baseline never did."""
LONGEST_PAUSE = 4096
"""At the latest after so many sampled frames it is measured again."""
_WINDOW = 250

Row = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Passed:
    """A sampled frame on its way to the detectors: its features (F,), the class it was given (None
    without classes), how probably rightly (None: cannot be told), when, and the verdict."""

    row: Row
    predicted: int | None
    right: float | None
    at_ns: int
    independent: bool


class Thinning:
    """Marks the independent ones in a stream of sampled frames.

    The first ``first`` frames are held back until the dwell is known, and then come all at once.
    It is measured again after ``first`` more, later after a quarter more, at last every
    LONGEST_PAUSE, on the newest LONGEST frames. A scene that outlasts the first frames is only known
    for one when it changed.
    """

    def __init__(self, multiple: float, first: int = 128) -> None:
        """``multiple`` 0 takes every frame for independent, at once."""
        self._multiple = multiple
        self._first = max(first, autocorrelation.FEWEST)
        self.restart()

    def restart(self) -> None:
        """Frames come at another pace from here on: how much one says is measured anew."""
        self._rows = _Newest(LONGEST)
        self._independent = _Newest(_WINDOW)
        self._held: list[Passed] = []
        self._measured: Autocorrelation | None = None
        self._interval = 1
        self._until_independent = 0
        self._until_measured = self._first

    @property
    def interval(self) -> int:
        """Every so many sampled frames one is independent; 1 until measured."""
        return self._interval

    @property
    def dwell_samples(self) -> float | None:
        """Median integrated autocorrelation time of the features, in sampled frames; None until
        measured."""
        return None if self._measured is None else self._measured.tau

    @property
    def lag_1(self) -> float | None:
        """Median correlation of neighbours among the newest 250 independent frames, None below 20."""
        return autocorrelation.lag_1(self._independent.rows())

    def effective(self, n: float) -> float:
        """So many independent frames say as much as ``n`` sampled ones; at least 1 of any."""
        if self._interval == 1 or self._measured is None:
            return float(n)
        return min(float(n), max(1.0, autocorrelation.effective(n, self._measured.tau)))

    def add(self, row: Row, *, predicted: int | None, right: float | None, at_ns: int) -> tuple[Passed, ...]:
        """Take in the next sampled frame. The frames whose verdict it brings, oldest first."""
        frame = Passed(row=row, predicted=predicted, right=right, at_ns=at_ns, independent=False)
        if self._multiple == 0:
            self._independent.add(row[:: -(-len(row) // MOST_FEATURES)])
            return (replace(frame, independent=True),)
        self._rows.add(row[:: -(-len(row) // MOST_FEATURES)])
        self._held.append(frame)
        self._until_measured -= 1
        if self._measured is None and self._until_measured > 0:
            return ()
        if self._until_measured <= 0:
            self._measure()
        return self._released()

    def release(self) -> tuple[Passed, ...]:
        """The frames still held back, as when the stream ends before the dwell could be measured:
        judged by what can be said of so few."""
        if self._held:
            self._measure()
        return self._released()

    def _released(self) -> tuple[Passed, ...]:
        held, self._held = self._held, []
        return tuple(replace(frame, independent=True) if self._due(frame) else frame for frame in held)

    def _due(self, frame: Passed) -> bool:
        self._until_independent -= 1
        if self._until_independent > 0:
            return False
        self._until_independent = self._interval
        self._independent.add(frame.row[:: -(-len(frame.row) // MOST_FEATURES)])
        return True

    def _measure(self) -> None:
        rows = self._rows.rows()
        first = self._measured is None
        found = autocorrelation.measure(rows)
        if found is None:  # Nothing varies: one scene as yet, which says as much as one frame.
            found = Autocorrelation(tau=float(len(rows)), lag_1=1.0, n=len(rows), settled=False)
        self._measured = found
        self._until_measured = min(max(len(rows) // 4, self._first), LONGEST_PAUSE)
        wanted = self._wanted(found)
        shortens = HYSTERESIS if len(rows) < LONGEST else SHORTENS
        if first or wanted > HYSTERESIS * self._interval or shortens * wanted < self._interval:
            self._interval = wanted
            self._until_independent = min(self._until_independent, wanted)

    def _wanted(self, found: Autocorrelation) -> int:
        independent = INDEPENDENT_LAG_1 + 1.0 / math.sqrt(found.n)
        if self._interval == 1 and found.lag_1 < independent * HYSTERESIS:
            return 1
        if found.lag_1 < independent:
            return 1
        return max(1, math.ceil(self._multiple * found.tau))


class _Newest:
    """The newest ``most`` rows, oldest first; memory grows with what is kept."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: Row | None = None
        self._n = 0

    def add(self, row: Row) -> None:
        if self._kept is None:
            self._kept = np.empty((min(128, self._most), len(row)), dtype=np.float32)
        elif self._n < self._most and self._n == len(self._kept):
            grown = np.empty((min(2 * self._n, self._most), len(row)), dtype=np.float32)
            grown[: self._n] = self._kept
            self._kept = grown
        self._kept[self._n % self._most] = row
        self._n += 1

    def rows(self) -> Row:
        if self._kept is None:
            return np.empty((0, 0), dtype=np.float32)
        if self._n <= self._most:
            return self._kept[: self._n]
        at = self._n % self._most
        return np.concatenate([self._kept[at:], self._kept[:at]])
