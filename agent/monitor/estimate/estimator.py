"""The estimator of a bundle: one published figure with its interval, or the reason for none.

The figure is what the method said that had erred least on faults it had never seen, when the bundle
was packed: a regression on the window's statistics, or confidence alone. Half the interval grows with
the shift (residuals on faults left out, split conformal by size of shift: V. Vovk et al., "Algorithmic
learning in a random world", 2005) and with how few independent frames there are.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from agent.monitor.estimate.regression import Regression
from agent.monitor.estimate.statistics_of import Basis, statistics_of
from agent.telemetry.messages import Estimate

FEWEST = 10.0
"""Independent frames below which a window says nothing of accuracy."""
HEARD_TO, LIES_BEYOND = 0.05, 0.2
"""Loss of accuracy up to which calibrated confidence speaks alone, and beyond which it is not heard: it was 3
points off below 10 lost, 9 from 10 to 30 and 19 beyond, where a regression on replayed faults of other
families was 8, 4 and 10 off (docs/accuracy.md)."""
DIRECT = "direct trees"
"""The method whose regression says the figure itself; any other says what is wrong with confidence."""
_SURE = 0.01
"""Variance of an answer that no estimate falls below, however near 0 or 1 it is."""
_Z = 1.645
"""Standard deviations 90 % of a normal distribution lie within."""
_DIGITS = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Scatter:
    """How far estimates stray. ``above`` (B,): the least shift of each bin of sizes, rising from 0;
    ``half`` (B,): within so much of the truth 90 % of windows worth ``worth`` different inputs stay.
    ``share``: of the variance of a single answer (accuracy a: a (1 − a); root mean squared error r:
    r²), what confidence leaves open."""

    above: NDArray[np.float64]
    half: NDArray[np.float64]
    worth: float
    share: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimator:
    """Made by ``calibration.replay.fitting.fit``. D statistics (``Basis.names``), C conditions.

    ``measure`` is what the figure means: share of right answers; mean squared error; or, for models
    without labels, the share of answers the undisturbed model would give too. ``regression`` is None
    when another ``method`` ("cbpe", "atc", "local", "unchanged") did better. Figures are learnt as
    accuracy, and as the root of the mean squared error, less ``start_of`` the window. centroids float64
    (C, D): the statistics of each replayed condition, healthy first; a window further than
    ``outermost`` from all of them is like nothing replayed.
    """

    measure: Literal["accuracy", "mse", "agreement"]
    basis: Basis
    method: str
    regression: Regression | None
    baseline: float
    reference: float
    scatter: Scatter
    centroids: NDArray[np.float64]
    outermost: float

    def right(self, row: NDArray[np.float32]) -> float | None:
        """The calibrated probability (0 … 1) that the answer of a sampled frame is right; of
        detections their mean score, 0 when there are none; None for a regression."""
        rights = self.basis.rights(row[None])
        return None if rights is None else float(rights[0])

    def rights(self, rows: NDArray[np.float32]) -> NDArray[np.float64] | None:
        """The same of many: (n, F) -> float64 (n,)."""
        return self.basis.rights(rows)

    def right_of_score(self, score: float) -> float | None:
        """The same from a score alone; None for a regression."""
        return self.basis.right(score)

    def estimate(self, rows: NDArray[np.float32], *, effective_n: float) -> Estimate:
        """Of a window's ``rows`` (n, F), worth ``effective_n`` independent ones."""
        n = len(rows)
        effective_n = min(max(effective_n, 0.0), float(n))
        if effective_n < FEWEST:
            few = f"{n} frames worth {effective_n:.3g} independent ones are fewer than {FEWEST:g}"
            return self._message(n, effective_n, abstained=few)
        weights = np.full((1, n), 1.0 / n)
        statistics = statistics_of(rows, weights, self.basis, effective_n=effective_n)
        parts = self._parts(statistics)
        distance, outermost = strangeness(statistics[0], self.centroids), self._outermost(effective_n)
        parts["distance"] = distance / outermost
        if distance > outermost:
            far = f"the window lies {distance / outermost:.2g} times as far from every replayed condition "
            return self._message(n, effective_n, parts=parts, abstained=far + "as any was from the others")
        interval = self._interval(self._root(parts, statistics), statistics, effective_n)
        return self._message(n, effective_n, parts=parts, interval=interval)

    def _parts(self, statistics: NDArray[np.float64]) -> dict[str, float]:
        """What each method says, in the unit that is learnt."""
        names = self.basis.names
        parts: dict[str, float] = {}
        for name in self.basis.said:
            parts[name] = float(statistics[0, names.index(name)])
        if self.measure != "accuracy":
            parts["unchanged"] = self.baseline
        if self.regression is not None:
            start = start_of(self.method, statistics, self.basis, self.baseline)
            parts["replay"] = float(start[0] + self.regression.predict(statistics)[0])
        return parts

    def _root(self, parts: dict[str, float], statistics: NDArray[np.float64]) -> float:
        """The figure, in the unit that is learnt."""
        if self.regression is None:
            return parts[self.method]
        return float(combined(np.array([parts["replay"]]), statistics, self.basis, self.baseline)[0])

    def _outermost(self, effective_n: float) -> float:
        """Few frames stray from their condition by chance: each statistic by 1 / √n."""
        return math.sqrt(self.outermost**2 + 2.0 * self.centroids.shape[1] / effective_n)

    def _interval(
        self, root: float, statistics: NDArray[np.float64], effective_n: float
    ) -> tuple[float, ...]:
        """Value, low and high in the unit that is published."""
        root = max(root, 0.0) if self.measure == "mse" else min(max(root, 0.0), 1.0)
        shift = shift_of(statistics, self.basis)[0]
        at = max(int(np.searchsorted(self.scatter.above, shift, side="right")) - 1, 0)
        single = root**2 if self.measure == "mse" else max(root * (1 - root), _SURE)
        fewer = max(1.0 / effective_n - 1.0 / self.scatter.worth, 0.0)
        by_chance = _Z * math.sqrt(single * self.scatter.share * fewer)
        half = math.hypot(float(self.scatter.half[at]), by_chance)
        low, high = max(root - half, 0.0), root + half
        if self.measure == "mse":
            return root**2, low**2, high**2
        return root, low, min(high, 1.0)

    def _message(
        self,
        n: int,
        effective_n: float,
        *,
        parts: dict[str, float] | None = None,
        interval: tuple[float, ...] = (),
        abstained: str = "",
    ) -> Estimate:
        value, low, high = (round(x, _DIGITS) for x in interval) if interval else (None, None, None)
        return Estimate(
            kind="mse" if self.measure == "mse" else "accuracy",
            n=n,
            effective_n=round(effective_n, 1),
            value=value,
            low=low,
            high=high,
            method=self.spoken if interval else "",
            abstained=abstained,
            reference=self.reference,
            parts={name: self._published(name, value) for name, value in (parts or {}).items()},
        )

    def _published(self, name: str, value: float) -> float:
        return round(value**2 if self.measure == "mse" and name != "distance" else value, _DIGITS)

    @property
    def spoken(self) -> str:
        """The method as published."""
        what = "agreement with the undisturbed model, " if self.measure == "agreement" else ""
        return what + (f"replay ({self.method})" if self.regression is not None else self.method)


def base_of(statistics: NDArray[np.float64], basis: Basis, baseline: float) -> NDArray[np.float64]:
    """What is said without a replay: by calibrated confidence, or the local error; ``baseline`` where
    there is neither: (k,)."""
    if basis.curve is None and basis.error is None:
        return np.full(len(statistics), baseline)
    return statistics[:, basis.names.index(basis.said[0])]


def start_of(
    method: str, statistics: NDArray[np.float64], basis: Basis, baseline: float
) -> NDArray[np.float64]:
    """What the regression of ``method`` is added to: (k,)."""
    if method == DIRECT:
        return np.full(len(statistics), baseline)
    return base_of(statistics, basis, baseline)


def combined(
    replayed: NDArray[np.float64], statistics: NDArray[np.float64], basis: Basis, baseline: float
) -> NDArray[np.float64]:
    """What the regression (``replayed``, (k,)) and confidence say together: (k,).

    While nothing seems lost confidence speaks alone: it was calibrated on healthy inputs, and does not
    mistake another scene for a fault. From HEARD_TO on the more seems lost the less it is heard: it lies
    then. Of a root mean squared error a loss is its growth, relative to the healthy one's.
    """
    if basis.curve is None and basis.error is None:
        return replayed
    unit = 1.0 if basis.error is None else -max(baseline, 1e-12)
    lost = (baseline - replayed) / unit
    heard = np.clip((LIES_BEYOND - lost) / (LIES_BEYOND - HEARD_TO), 0.0, 1.0)
    return heard * base_of(statistics, basis, baseline) + (1.0 - heard) * replayed


def strangeness(statistics: NDArray[np.float64], centroids: NDArray[np.float64]) -> float:
    """How far ``statistics`` (D,) lie from the nearest condition of ``centroids`` (C, D), in any strength
    up to that replayed: on the way from the healthy one, centroids[0], to it."""
    ways = centroids - centroids[0]
    lengths = np.maximum((ways**2).sum(axis=1), 1e-12)
    gone = np.clip(ways @ (statistics - centroids[0]) / lengths, 0.0, 1.0)
    return float(np.sqrt(((centroids[0] + gone[:, None] * ways - statistics) ** 2).sum(axis=1)).min())


def shift_of(statistics: NDArray[np.float64], basis: Basis) -> NDArray[np.float64]:
    """How large the shift is: the length of all statistics but confidence: (k, D) -> (k,)."""
    last = len(basis.said)
    found: NDArray[np.float64] = np.sqrt((statistics[:, : statistics.shape[1] - last] ** 2).sum(axis=1))
    return found
