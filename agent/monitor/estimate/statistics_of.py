"""What is said of a window by a few numbers, whatever the fault.

Per family of input features the size of the shift: root mean square, over its features, of the shift
of the means and of the change of the log standard deviations, both in units of the healthy inputs.
Sizes carry over to faults never replayed, single features would not. The outputs' own shifts, and
those of a vector's elements where they are few, keep their sign. Last come what calibrated confidence
(CBPE) and thresholded confidence say; of a regression the error it had, while healthy, at values like
those it predicts: right when only its inputs moved.

Thresholded confidence (ATC) is the share of scores above the threshold that as many healthy inputs
exceed as are right: S. Garg et al., "Leveraging unlabeled data to predict out-of-distribution
performance", ICLR 2022.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.monitor.estimate.curve import Curve

SIGNED = ("output", "value")
"""Families whose features keep their sign."""
MOST_SIGNED = 32
"""Features of one family beyond which only the family's size is taken."""
FURTHEST = 8.0
"""Standard deviations: one wild value must not be the window."""
FLOOR = 0.1
"""Added to a standard deviation before its logarithm, in healthy ones: a constant feature is finite."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Basis:
    """Healthy mean and standard deviation of each feature, float64 (F,); its family.

    ``score`` is the index of the score, None where predictions have none; ``curve`` calibrates it,
    None without labelled answers; ``threshold`` is ATC's. Of a regression ``value`` is the index of its
    value, and ``error`` the squared error expected of it; None for any other task.
    """

    features: tuple[str, ...]
    families: tuple[str, ...]
    mean: NDArray[np.float64]
    std: NDArray[np.float64]
    score: int | None = None
    curve: Curve | None = None
    threshold: float = 0.0
    value: int | None = None
    error: Curve | None = None

    def whitened(self, rows: NDArray[np.floating]) -> NDArray[np.float64]:
        """``rows`` (n, F) in healthy standard deviations from the healthy mean."""
        return np.clip((np.asarray(rows, np.float64) - self.mean) / self.std, -FURTHEST, FURTHEST)

    def rights(self, rows: NDArray[np.floating]) -> NDArray[np.float64] | None:
        """Of each row the probability that its answer is right: (n,), None where nobody can tell."""
        if self.score is None:
            return None
        scores = np.asarray(rows, np.float64)[:, self.score]
        return np.clip(scores, 0.0, 1.0) if self.curve is None else self.curve.right(scores)

    def right(self, score: float) -> float | None:
        """The probability that an answer with this score is right; None where nobody can tell."""
        if self.score is None:
            return None
        return min(max(score, 0.0), 1.0) if self.curve is None else float(self.curve.right(np.array(score)))

    def confident(self, rows: NDArray[np.floating]) -> NDArray[np.float64] | None:
        """1 for each row whose score reaches ATC's threshold, else 0: (n,); None without a curve."""
        if self.score is None or self.curve is None:
            return None
        return (np.asarray(rows, np.float64)[:, self.score] >= self.threshold).astype(np.float64)

    @property
    def names(self) -> tuple[str, ...]:
        """Of each statistic."""
        found = []
        for family, at in self._families():
            if family != "output":
                found += [f"{family}.shift", f"{family}.spread"]
            if family in SIGNED and len(at) <= MOST_SIGNED:
                found += [f"{self.features[i]}.{what}" for what in ("shift", "spread") for i in at]
        return (*found, *self.said)

    @property
    def said(self) -> tuple[str, ...]:
        """The last of the names: those that say what is estimated."""
        if self.error is not None:
            return ("local",)
        if self.score is None:
            return ()
        return ("cbpe",) if self.curve is None else ("cbpe", "atc")

    def _families(self) -> list[tuple[str, list[int]]]:
        kinds = dict.fromkeys(self.families)
        return [(kind, [i for i, family in enumerate(self.families) if family == kind]) for kind in kinds]


def statistics_of(
    rows: NDArray[np.floating], weights: NDArray[np.float64], basis: Basis, *, effective_n: float
) -> NDArray[np.float64]:
    """The statistics of windows over the same ``rows`` (n, F): float64 (k, D).

    weights (k, n), each row adding up to 1: how often each row stands in each of k windows.
    ``effective_n``: so many independent frames a window is worth. What so few let a mean stray is
    taken off a family's shift, and what they hide of a standard deviation is put back.
    """
    z = basis.whitened(rows)
    mean = weights @ z
    variance = np.maximum(weights @ z**2 - mean**2, 0.0) * (effective_n / max(effective_n - 1.0, 1.0))
    spread = np.log(np.sqrt(variance) + FLOOR) - np.log(1.0 + FLOOR)
    columns: list[NDArray[np.float64]] = []
    for family, at in basis._families():
        if family != "output":
            size = (mean[:, at] ** 2).mean(axis=1) - 1.0 / effective_n
            columns += [np.sqrt(np.maximum(size, 0.0)), np.sqrt((spread[:, at] ** 2).mean(axis=1))]
        if family in SIGNED and len(at) <= MOST_SIGNED:
            columns += [*mean[:, at].T, *spread[:, at].T]
    for said in (basis.rights(rows), basis.confident(rows)):
        if said is not None:
            columns.append(weights @ said)
    if basis.error is not None and basis.value is not None:
        columns.append(np.sqrt(weights @ basis.error.right(np.asarray(rows)[:, basis.value])))
    return np.stack(columns, axis=1)
