"""The regressions that learn what a shift costs; at most a few thousand numbers each.

Extra trees: P. Geurts, D. Ernst and L. Wehenkel, "Extremely randomized trees", Machine Learning 63
(2006), compiled to flat arrays.
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, slots=True)
class Ridge:
    """``intercept + (x − centre) / scale @ weights``; all float64 (D,)."""

    centre: NDArray[np.float64]
    scale: NDArray[np.float64]
    weights: NDArray[np.float64]
    intercept: float

    def predict(self, statistics: NDArray[np.float64]) -> NDArray[np.float64]:
        """``statistics`` (k, D) -> (k,)."""
        found: NDArray[np.float64] = (statistics - self.centre) / self.scale @ self.weights + self.intercept
        return found


@dataclass(frozen=True, kw_only=True, slots=True)
class Trees:
    """All trees' nodes in one table. roots int64 (T,); feature int64 (M,), -1 for a leaf; cut float64
    (M,), a leaf's value; right int64 (M,), where ``x >= cut`` goes. Where it does not it goes to the
    next node, so every step leads further down the table."""

    roots: NDArray[np.int64]
    feature: NDArray[np.int64]
    cut: NDArray[np.float64]
    right: NDArray[np.int64]

    def predict(self, statistics: NDArray[np.float64]) -> NDArray[np.float64]:
        """``statistics`` (k, D) -> (k,): the mean over the trees."""
        at = np.broadcast_to(self.roots, (len(statistics), len(self.roots))).copy()
        rows = np.arange(len(statistics))[:, None]
        while True:
            feature = self.feature[at]
            inner = feature >= 0
            if not inner.any():
                mean: NDArray[np.float64] = self.cut[at].mean(axis=1)
                return mean
            goes_right = statistics[rows, np.maximum(feature, 0)] >= self.cut[at]
            at = np.where(inner, np.where(goes_right, self.right[at], at + 1), at)


Regression: TypeAlias = Ridge | Trees
