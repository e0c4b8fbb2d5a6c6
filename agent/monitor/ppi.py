"""A mean from few labels and many predictions: what the labels say, corrected by what a cheap *auxiliary*
value (here: how probably each prediction is right) shows on all the frames that nobody labelled.

Source: A. N. Angelopoulos, J. C. Duchi and T. Zrnic, "PPI++: efficient prediction-powered inference" (2023);
with labels drawn with known chances: T. Zrnic and E. J. Candès, "Active statistical inference" (2024), with
weights that are made to add up to 1 (J. Hájek, 1971). The auxiliary need not be calibrated, nor even good:
it decides how narrow the interval is, never whether it is right.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

PRIOR = 1.0
"""How much the assumption that the auxiliary helps nothing weighs against the measured variance, as a sum of
squares: a few labels that are all right have no variance at all, and would leave no interval."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pool:
    """Sums of an auxiliary value, its squares too, over ``n`` frames. They merge by addition."""

    n: int = 0
    total: float = 0.0
    squares: float = 0.0

    def __add__(self, other: "Pool") -> "Pool":
        return Pool(n=self.n + other.n, total=self.total + other.total, squares=self.squares + other.squares)

    def without(self, values: NDArray[np.float64]) -> "Pool":
        """The same but for frames with these values, which are in it."""
        n = self.n - values.size
        if n <= 0:
            return Pool()
        total, squares = float(values.sum()), float((values**2).sum())
        return Pool(n=n, total=self.total - total, squares=self.squares - squares)

    @property
    def mean(self) -> float:
        return self.total / self.n if self.n else 0.0

    @property
    def variance(self) -> float:
        return max(self.squares / self.n - self.mean**2, 0.0) if self.n else 0.0


NO_POOL = Pool()


@dataclass(frozen=True, kw_only=True, slots=True)
class Mean:
    """An estimated mean of ``n`` labels and its variance (infinite for a single label). ``labels`` is how
    many equally weighted labels the weighted ones are worth (L. Kish, "Survey Sampling", 1965); ``power``
    how much of the auxiliary was used: 0 is the labels alone."""

    n: int
    value: float
    variance: float
    labels: float
    power: float

    @property
    def labels_effective(self) -> float:
        """For a share: so many equally weighted labels alone would say as much."""
        if self.n < 2 or (self.power == 0 and self.labels == self.n):
            return self.labels
        share = min(max(self.value, 0.0), 1.0)
        alone = share * (1 - share) * self.labels * self.n / (self.n - 1)
        here = self.variance * self.labels**2
        return self.labels * (alone + PRIOR) / (here + PRIOR)


def shares(weights: Sequence[float | None]) -> NDArray[np.float64]:
    """Each label's share in the mean, adding up to 1.

    A number is 1 / the chance with which the frame was drawn; None: nobody drew it, it is taken for any
    frame. The drawn and the others are two samples of the same frames; each speaks with as many labels
    as it is worth (Kish).
    """
    drawn = np.array([weight is not None for weight in weights], dtype=bool)
    found = np.array([1.0 if weight is None else weight for weight in weights])
    for group in (drawn, ~drawn):
        weight = found[group]
        if weight.size:
            # So scaled, a sample's weights add up to what it is worth.
            found[group] = weight * (weight.sum() / (weight**2).sum())
    total: NDArray[np.float64] = found / found.sum()
    return total


def mean(
    values: NDArray[np.float64],
    share: NDArray[np.float64],
    *,
    auxiliary: NDArray[np.float64] | None = None,
    pool: Pool = NO_POOL,
) -> Mean:
    """The mean of ``values`` (n,) with the labels' shares (n,), which add up to 1.

    ``auxiliary`` (n,) are the labelled frames' own, ``pool`` holds it for frames that are *not* labelled.
    How much of it is used is what makes the variance least (power tuning); an auxiliary that runs against
    the truth is not used. Without either, this is the labels' mean and the variance of the central limit
    theorem.
    """
    n, alike = values.size, not np.ptp(share)
    labels = float(n) if alike else 1.0 / float((share**2).sum())
    value = float(values.sum() / n) if alike else float(share @ values)
    if n < 2:
        return Mean(n=n, value=value, variance=float("inf"), labels=labels, power=0.0)
    off = values - value
    if auxiliary is None or not pool.n or n < 3:
        return Mean(n=n, value=value, variance=_variance(off, share, lost=1), labels=labels, power=0.0)
    average = float(share @ auxiliary)
    beside = auxiliary - average
    together = float(share**2 @ (off * beside)) * n / (n - 1)
    apart = _variance(beside, share, lost=1) + pool.variance / pool.n
    power = max(together / apart, 0.0) if apart else 0.0
    # One more degree of freedom is gone: the power was fitted to these labels.
    variance = _variance(off - power * beside, share, lost=2) + power**2 * pool.variance / pool.n
    value += power * (pool.mean - average)
    return Mean(n=n, value=value, variance=variance, labels=labels, power=power)


def _variance(off: NDArray[np.float64], share: NDArray[np.float64], *, lost: int) -> float:
    """Of a mean, from its terms' deviations (linearised where the shares differ)."""
    return float(share**2 @ off**2) * off.size / (off.size - lost)
