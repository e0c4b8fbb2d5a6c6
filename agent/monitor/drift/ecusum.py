"""The betting e-CUSUM: a loss of confidence beyond what is tolerated, with a guarantee.

Frames are gathered into blocks. Against the claim that a block's mean calibrated confidence is
expected to be at least what is normal here less the tolerance, a bettor stakes part of its wealth on
every block; while the claim holds, no strategy gains on average, whatever the distribution. Wealth
that began anew whenever it fell below 1 reaches c on average not before c blocks have passed, so c
follows from the promise alone: nothing is simulated. J. Shin, A. Ramdas and A. Rinaldo, "E-detectors: a
nonparametric framework for sequential change detection" (2022); bets after I. Waudby-Smith and A.
Ramdas, "Estimating means of bounded random variables by betting", JRSS B 86 (2024).

What is normal follows the hour: confidence is lower by night on many devices. From the commissioning
it is learned how confidence moves with the slow change of the *inputs*; see ``Expected``.
"""

import math
import statistics
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.contracts import Detector, DriftScore, Sampled
from agent.monitor.drift import Cache
from agent.monitor.plan import Plan
from agent.monitor.promise import MONTH_S
from agent.monitor.reference import Reference
from agent.monitor.scores import bin_scores, row_scores

NAME = "ecusum"
FEWEST_ROWS = 80
"""Reference rows with a known confidence below which nothing is said."""
STAKES = (0.1, 0.25, 0.5, 0.9)
"""Shares of the largest stake that cannot lose all; wealth is divided equally among them."""
OUTPUT_FAMILY = "output"
INPUTS_LEAD = 2
"""Directions of the inputs' slow change that the expectation follows at most."""
_SPANS = 48
_SPAN_ROWS = 20
_RIDGE = 1.0
_FOLLOWED = 20.0
_NANOSECONDS = 1e9
_FEWEST_DURATIONS = 4
_AT_ONCE = 256

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Ecusum:
    """Betting e-CUSUM on calibrated confidence."""

    block: int = 60
    """Sampled frames after which a block closes."""
    independent: int = 6
    """It closes earlier with so many independent frames: the shorter blocks are, the sooner a loss shows."""
    scenes: int = 4
    """It closes later while it has fewer independent frames than this: the confidence of one scene says
    nothing of the next."""
    margin: float = 1.0
    """Added to the tolerance: so many standard deviations of the expectation's own uncertainty."""

    def problems(self) -> list[str]:
        found = []
        if not 1 <= self.block <= 100_000:
            found.append(f"block: must be 1 to 100000, got {self.block}")
        if not 1 <= self.scenes <= self.independent <= 10_000:
            found.append("independent: must be at least scenes, which must be at least 1")
        if not 0.0 <= self.margin <= 10.0:
            found.append(f"margin: must be 0 to 10, got {self.margin:g}")
        return found

    def broken_promise(self, plan: Plan) -> tuple[str, ...]:
        """Its guarantee needs no calibration and holds at any rate; without calibrated confidence it
        abstains."""
        return ()

    def make(self, reference: Reference, plan: Plan, cache: Cache) -> Detector:
        expected = expect(reference)
        return _Abstaining() if expected is None else _Watching(options=self, expected=expected, plan=plan)


@dataclass(frozen=True, kw_only=True, slots=True)
class Expected:
    """Mean confidence that is normal: ``mean`` plus ``slopes`` (r,) times where the inputs are on r
    directions (F, r) of their scores less ``level`` (F,), kept between ``lowest`` and ``highest`` (r,), which
    the commissioning saw. ``uncertainty`` is a standard deviation."""

    edges: NDArray[np.float32]
    scores: Floats
    level: Floats
    directions: Floats
    lowest: Floats
    highest: Floats
    mean: float
    slopes: Floats
    uncertainty: float

    def place(self, rows: NDArray[np.float32]) -> Floats:
        """Where rows (n, F) are on average on the directions: (r,)."""
        found: Floats = (
            row_scores(rows, self.edges, self.scores).mean(axis=0) - self.level
        ) @ self.directions
        return found

    def at(self, place: Floats) -> float:
        """What is normal there."""
        return self.mean + float(np.clip(place, self.lowest, self.highest) @ self.slopes)


def expect(reference: Reference) -> Expected | None:
    """What confidence is normal in the reference, by its calibration rows; None where it has none.

    Rows in time order are averaged over up to 48 spans. The directions are those in which the inputs'
    scores differ most between spans (outputs are left out: they would follow the fault that is looked
    for); a ridge regression on them says how confidence follows. What it leaves unexplained beyond
    chance is uncertainty, each span being predicted from the others.
    """
    right = reference.calibration_right
    if right is None or len(right) < FEWEST_ROWS:
        return None
    scores = bin_scores(reference.profile.counts)
    rows = row_scores(reference.calibration, reference.edges, scores)
    level = rows.mean(axis=0)
    spans = min(_SPANS, len(rows) // _SPAN_ROWS) if reference.wander is not None else 1
    chance = float(right.var()) / len(right)
    mean = float(right.mean())
    if spans < INPUTS_LEAD + 2:
        none = np.zeros(0)
        return Expected(
            edges=reference.edges,
            scores=scores,
            level=level,
            directions=np.zeros((len(level), 0)),
            lowest=none,
            highest=none,
            mean=mean,
            slopes=none,
            uncertainty=math.sqrt(chance),
        )
    moved = np.array([part.mean(axis=0) for part in np.array_split(rows - level, spans)])
    moved[:, [family == OUTPUT_FAMILY for family in reference.families]] = 0.0
    directions = np.linalg.svd(moved, full_matrices=False)[2][:INPUTS_LEAD].T
    places = moved @ directions
    levels = np.array([part.mean() for part in np.array_split(right, spans)])
    slopes, left = _ridge(places, levels - mean)
    within = np.mean([part.var(ddof=1) / len(part) for part in np.array_split(right, spans)])
    unexplained = max(float((left**2).mean()) - float(within), 0.0)
    return Expected(
        edges=reference.edges,
        scores=scores,
        level=level,
        directions=directions,
        lowest=places.min(axis=0),
        highest=places.max(axis=0),
        mean=mean,
        slopes=slopes,
        uncertainty=math.sqrt(unexplained + chance),
    )


def _ridge(places: Floats, levels: Floats) -> tuple[Floats, Floats]:
    """Slopes (r,), and what of each level is left when it is predicted from the others (n,)."""
    spread = np.maximum(places.std(axis=0), 1e-9)
    scaled = places / spread
    inverse = np.linalg.inv(scaled.T @ scaled + _RIDGE * np.eye(scaled.shape[1]))
    slopes = inverse @ scaled.T @ levels
    leverage = np.einsum("nr,rs,ns->n", scaled, inverse, scaled) + 1.0 / len(levels)
    left = (levels - scaled @ slopes) / np.maximum(1.0 - leverage, 0.1)
    return slopes / spread, left


class _Abstaining:
    """Without calibrated confidence nothing can be said."""

    name = NAME

    def add(self, sampled: Sampled) -> DriftScore | None:
        return None

    def forget(self) -> None:
        pass


class _Watching:
    """``p`` of a score is the bound that Doob's inequality sets to the probability of such wealth within
    the blocks since the last score, n / wealth; ``alpha`` what the promise accrued over these blocks. So
    it is drift when wealth reaches the number of blocks in which one false alarm is allowed. A score is
    given at once when it is drift, after which the bettor begins anew, and otherwise every ``samples``
    independent frames."""

    name = NAME

    def __init__(self, *, options: Ecusum, expected: Expected, plan: Plan) -> None:
        self._options = options
        self._expected = expected
        self._plan = plan
        self._lowered = plan.tolerance_points / 100.0 + options.margin * expected.uncertainty
        self._durations: deque[float] = deque(maxlen=32)
        self._opened_ns: int | None = None
        self.forget()

    def forget(self) -> None:
        self._wealth = np.ones(len(STAKES))
        self._place: Floats | None = None
        self._blocks = 0
        self._most = 0.0
        self._independent_since = 0
        self._clear_block()

    def add(self, sampled: Sampled) -> DriftScore | None:
        if sampled.right is None:
            return None
        if self._opened_ns is None:
            self._opened_ns = sampled.at_ns
        self._rows.append(sampled.row)
        self._right.append(sampled.right)
        self._independent += sampled.independent
        options = self._options
        if len(self._rows) >= _AT_ONCE:
            self._fold()
        long = self._folded + len(self._rows) >= options.block and self._independent >= options.scenes
        if not long and self._independent < options.independent:
            return None
        self._durations.append(max(sampled.at_ns - self._opened_ns, 1) / _NANOSECONDS)
        self._opened_ns = sampled.at_ns
        self._bet()
        return self._score()

    def _bet(self) -> None:
        """Settle the block's bet."""
        self._fold()
        here = self._places / self._folded
        share = min(1.0, self._independent / _FOLLOWED)
        self._place = here if self._place is None else self._place + share * (here - self._place)
        least = min(max(self._expected.at(self._place) - self._lowered, 0.0), 1.0 - 1e-6)
        stakes = np.array(STAKES) / (1.0 - least)
        mean = self._rights / self._folded
        self._wealth = np.maximum(self._wealth, 1.0) * (1.0 + stakes * (least - mean))
        self._most = max(self._most, float(self._wealth.mean()))
        self._blocks += 1
        self._independent_since += self._independent
        self._clear_block()

    def _score(self) -> DriftScore | None:
        if len(self._durations) < _FEWEST_DURATIONS:
            return None
        block_s = statistics.median(self._durations)
        allowed = MONTH_S / (self._plan.false_alarms_per_month * block_s)
        allowed = max(allowed, 2.0 * self._blocks, 20.0)
        drifted = self._most >= allowed
        if not drifted and self._independent_since < self._plan.samples:
            return None
        score = DriftScore(
            detector=self.name,
            n=self._independent_since,
            p=min(1.0, self._blocks / max(self._most, 1e-12)),
            alpha=self._blocks / allowed,
            statistics=(("wealth", self._most), ("wealth_allowed", allowed), ("blocks", float(self._blocks))),
        )
        if drifted:
            self.forget()
        self._blocks, self._most, self._independent_since = 0, 0.0, 0
        return score

    def _clear_block(self) -> None:
        self._rows: list[NDArray[np.float32]] = []
        self._right: list[float] = []
        self._places: Floats = np.zeros(self._expected.directions.shape[1])
        self._rights, self._folded = 0.0, 0
        self._independent = 0

    def _fold(self) -> None:
        """A frozen picture makes a block last for hours: only sums of it are kept."""
        if self._rows:
            rows = np.array(self._rows, dtype=np.float32)
            self._places = self._places + self._expected.place(rows) * len(rows)
            self._rights += math.fsum(self._right)
            self._folded += len(rows)
            self._rows, self._right = [], []
