"""The cumulative sum: quick to see a change that lasts, beside the panel's windows.

Each independent frame's features become normal scores, freed of what normally wanders over a day (see
``steady``). For every one of them two sums grow by how much it lies above, or below,
what is allowed, and never fall below 0; the largest is the statistic. E. S. Page, "Continuous
inspection schemes", Biometrika 41 (1954).

How large the sums grow when nothing changed is learned by simulating streams out of the reference's
calibration rows; further out than these reach, the tail is exponential for this statistic (D.
Siegmund, "Sequential Analysis", 1985), and one is fitted.
"""

import hashlib
import math
import statistics
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent import npy
from agent.contracts import Detector, DriftScore, Sampled
from agent.monitor.drift import Cache
from agent.monitor.drift.null import null_key
from agent.monitor.drift.tail import Tail, fit_tail, p_value
from agent.monitor.plan import Plan
from agent.monitor.promise import MONTH_S
from agent.monitor.reference import Reference
from agent.monitor.steady import Level, Steady

NAME = "cusum"
REVISION = 1
"""Changes whenever the same reference and options give other thresholds."""
STREAMS, STREAM_ROWS = 8192, 500
"""Simulated streams, and rows of each: four million rows in all."""
BEYOND = 1000
"""So many times further than the simulated streams reach, the fitted tail is trusted."""
FEWEST_ROWS = 80
"""Calibration rows below which their mean alone is too uncertain to add up differences from it."""
_AT_ONCE = 1024
LEAST_SUM = 25.0
"""The threshold is never lower: simulated rows are independent of each other, while a cloud or a night that
the commissioning saw too few of brings several real ones a little off at once."""
FAR_OFF = 6.0
"""No level's allowance is less than so many standard deviations of its uncertainty: one that is far off
would reach any threshold."""
FREEDOM = 14
"""Degrees of freedom of what wanders: other days may stray further than the few hours seen so far."""
_GAPS = 64
_FEWEST_GAPS = 8
_NANOSECONDS = 1e9

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Cusum:
    """Multi-feature CUSUM on independent frames."""

    allowance: float = 0.25
    """Standard deviations a feature's level may move without adding to the sum."""
    clip: float = 4.0
    """One frame never counts for more standard deviations than this."""
    margin: float = 3.0
    """Added to the allowance: so many standard deviations of the level's own uncertainty and of what
    still wanders between the hours of the commissioning."""
    seed: int = 1
    """Of the simulation."""

    def problems(self) -> list[str]:
        found = []
        if not 0.0 < self.allowance <= 2.0:
            found.append(f"allowance: must be more than 0 and at most 2, got {self.allowance:g}")
        if not self.allowance < self.clip <= 10.0:
            found.append(f"clip: must be more than allowance and at most 10, got {self.clip:g}")
        if not 0.0 <= self.margin <= 10.0:
            found.append(f"margin: must be 0 to 10, got {self.margin:g}")
        return found

    def broken_promise(self, plan: Plan) -> tuple[str, ...]:
        problems = []
        if plan.calibration_rows < FEWEST_ROWS:
            problems.append(
                f"monitor.detectors.cusum: {plan.calibration_rows} calibration rows say too little about "
                f"the level that differences are added up from; pack with at least {FEWEST_ROWS}"
            )
        if plan.sampled_interval_s:
            interval = plan.sampled_interval_s * plan.thinning
            reached = plan.false_alarms_per_month * interval / MONTH_S
            least = 1.0 / (BEYOND * STREAMS * STREAM_ROWS)
            if reached < least:
                problems.append(
                    f"monitor.false_alarms_per_month: {plan.promise} for cusum with an "
                    f"independent frame every {interval:.3g} s is a probability of {reached:.2g} a frame, "
                    f"below {least:.2g}, the least that {STREAMS * STREAM_ROWS:,} simulated frames can "
                    f"tell; sample every {least / reached:.2g} times as many frames"
                )
        return tuple(problems)

    def make(self, reference: Reference, plan: Plan, cache: Cache) -> Detector:
        steady = Steady(reference)
        level = Level.of(reference, steady)
        options = [REVISION, self.allowance, self.clip, self.margin, STREAMS, STREAM_ROWS, FREEDOM, FAR_OFF]
        base = null_key(reference, samples=STREAM_ROWS, resamples=STREAMS, seed=self.seed)
        digest = hashlib.sha256(f"{NAME} {base} {options}".encode())
        digest.update(level.uncertainty.tobytes() + level.deviations.tobytes())
        table = _cached(cache.get(key := digest.hexdigest()))
        allowed = np.maximum(self.allowance + self.margin * level.uncertainty, FAR_OFF * level.uncertainty)
        if table is None:
            table = simulate(level, allowed, clip=self.clip, seed=self.seed)
            cache.put(key, npy.encode(table))
        return _Watching(steady=steady, allowed=allowed, clip=self.clip, table=table, plan=plan)


def simulate(level: Level, allowed: Floats, *, clip: float, seed: int) -> Floats:
    """The largest sum in each of STREAMS unchanged streams of STREAM_ROWS rows, ascending.

    Rows are drawn from the deviations; each stream's level is off by its uncertainty, with the heavy
    tail of what was seen on few hours.
    """
    rng = np.random.default_rng(seed)
    rows = level.deviations.astype(np.float32)
    largest = []
    for start in range(0, STREAMS, _AT_ONCE):
        streams = min(_AT_ONCE, STREAMS - start)
        off = rng.normal(size=(streams, rows.shape[1])) * level.uncertainty
        if level.wanders:
            off /= np.sqrt(rng.chisquare(FREEDOM, (streams, 1)) / FREEDOM)
        largest.append(_largest_sums(rows, off.astype(np.float32), allowed.astype(np.float32), clip, rng))
    return np.sort(np.concatenate(largest)).astype(np.float64)


def _largest_sums(
    rows: NDArray[np.float32],
    off: NDArray[np.float32],
    allowed: NDArray[np.float32],
    clip: float,
    rng: "np.random.Generator",
) -> NDArray[np.float32]:
    above, below = np.zeros_like(off), np.zeros_like(off)
    largest = np.zeros_like(off)
    for _ in range(STREAM_ROWS):
        scores = rows[rng.integers(0, len(rows), len(off))]
        scores += off
        np.clip(scores, -clip, clip, out=scores)
        above += scores
        above -= allowed
        below -= scores
        below -= allowed
        np.maximum(above, 0.0, out=above)
        np.maximum(below, 0.0, out=below)
        np.maximum(largest, above, out=largest)
        np.maximum(largest, below, out=largest)
    found: NDArray[np.float32] = largest.max(axis=1, initial=0.0)
    return found


class _Watching:
    """``p`` of a score is the probability that an unchanged stream's sum had reached the largest one
    within the frames since the last score; ``alpha`` what the promise accrued over these frames at the
    measured interval between them. So it is drift when sums that large come more rarely than false
    alarms may; a sum below LEAST_SUM counts as no rarer. A score is given at once when it is drift,
    after which the sums begin anew, and otherwise every ``samples`` independent frames."""

    name = NAME

    def __init__(self, *, steady: Steady, allowed: Floats, clip: float, table: Floats, plan: Plan) -> None:
        self._steady = steady
        self._allowed = allowed
        self._clip = clip
        self._table = table
        self._tail = fit_tail(table)
        self._plan = plan
        self._gaps: deque[float] = deque(maxlen=_GAPS)
        self._newest_ns: int | None = None
        self._interval_s: float | None = None
        self._threshold = math.inf
        self.forget()

    def forget(self) -> None:
        self._above = np.zeros(len(self._allowed))
        self._below = np.zeros(len(self._allowed))
        self._n = 0
        self._largest = 0.0

    def add(self, sampled: Sampled) -> DriftScore | None:
        if not sampled.independent or not len(self._allowed):
            return None
        self._measure_interval(sampled.at_ns)
        scores = np.minimum(np.maximum(self._steady.of_row(sampled.row), -self._clip), self._clip)
        np.maximum(self._above + scores - self._allowed, 0.0, out=self._above)
        np.maximum(self._below - scores - self._allowed, 0.0, out=self._below)
        largest = float(max(self._above.max(), self._below.max()))
        self._largest = max(self._largest, largest)
        self._n += 1
        if largest < self._threshold and self._n < self._plan.samples:
            return None
        return self._score()

    def _score(self) -> DriftScore | None:
        interval = self._interval_s
        if interval is None:
            return None
        p = -math.expm1(-self._rate(self._largest) * self._n)
        alpha = -math.expm1(-self._plan.false_alarms_per_month * interval * self._n / MONTH_S)
        if self._largest < LEAST_SUM:
            p = max(p, math.nextafter(alpha, 1.0))
        score = DriftScore(
            detector=self.name,
            n=self._n,
            p=p,
            alpha=alpha,
            statistics=(("cusum", self._largest), ("cusum_threshold", self._threshold)),
        )
        if score.drifted:
            self.forget()
        elif self._n < self._plan.samples:  # so near the threshold that rounding decides
            return None
        self._n, self._largest = 0, 0.0
        return score

    def _rate(self, largest: float) -> float:
        """How often a sum so large comes, per frame, when nothing changed."""
        p = p_value(largest, self._table, self._tail, floor=1.0 / (BEYOND * len(self._table)))
        return -math.log1p(-min(p, 1.0 - 1e-12)) / STREAM_ROWS

    def _measure_interval(self, at_ns: int) -> None:
        """Follow the median interval between independent frames, and with it the threshold."""
        if self._newest_ns is not None:
            self._gaps.append(max(at_ns - self._newest_ns, 1) / _NANOSECONDS)
        self._newest_ns = at_ns
        gaps = len(self._gaps)
        if gaps < _FEWEST_GAPS or (self._interval_s is not None and self._n % _GAPS):
            return
        self._interval_s = statistics.median(self._gaps)
        rate = self._plan.false_alarms_per_month * self._interval_s / MONTH_S
        reached = _reached(-math.expm1(-rate * STREAM_ROWS), self._table, self._tail)
        self._threshold = max(reached, LEAST_SUM)


def _reached(p: float, table: Floats, tail: Tail) -> float:
    """The statistic that an unchanged stream exceeds with probability ``p``: p_value's inverse."""
    if p < tail.share:
        ratio = tail.share / p
        if tail.shape == 0.0:
            return tail.threshold + tail.scale * math.log(ratio)
        return tail.threshold + tail.scale * float(ratio**tail.shape - 1.0) / tail.shape
    return float(table[max(0, min(len(table) - 1, math.ceil((1.0 - p) * len(table))))])


def _cached(content: bytes | None) -> Floats | None:
    if content is None:
        return None
    try:
        table = npy.decode(content)
    except npy.NpyError:
        return None
    usable = table.shape == (STREAMS,) and table.dtype == np.float64 and bool(np.isfinite(table).all())
    return table if usable else None
