"""How surprising a statistic is, beyond what resampling has seen.

The null sample says it as far as it reaches; further out a generalized Pareto distribution fitted
to its largest values does.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_EXCEEDANCES = 500
_MAX_SHARE = 0.1
_MAX_SHAPE = 0.25
"""Shapes below 0 would give the tail a finite end, beyond which p is 0: never assumed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tail:
    """Excesses over ``threshold``, which ``share`` of the null sample has, follow a generalized
    Pareto distribution with this ``scale`` and ``shape`` (ξ, 0 for an exponential)."""

    threshold: float
    share: float
    scale: float
    shape: float

    def exceeded(self, statistic: float) -> float:
        """The probability of at least ``statistic``, for one above the threshold."""
        excess = (statistic - self.threshold) / self.scale
        if self.shape == 0.0:
            return self.share * float(np.exp(-excess))
        return self.share * float((1.0 + self.shape * excess) ** (-1.0 / self.shape))


def fit_tail(sample: NDArray[np.float64]) -> Tail:
    """Fit the tail of an ascending ``sample`` by probability-weighted moments, the shape clipped to
    0 … 0.25 (the scale then keeps the mean excess).

    Source: J. R. M. Hosking and J. R. Wallis, "Parameter and quantile estimation for the
    generalized Pareto distribution", Technometrics 29 (1987).
    """
    wanted = max(1, min(_EXCEEDANCES, int(len(sample) * _MAX_SHARE)))
    threshold = float(sample[-wanted - 1] if len(sample) > wanted else sample[0])
    excesses = sample[sample > threshold] - threshold
    n = len(excesses)
    if not n:  # The statistic never varied: whatever exceeds it is beyond all experience.
        return Tail(
            threshold=threshold, share=1.0 / len(sample), scale=float(np.finfo(float).tiny), shape=0.0
        )
    mean = float(excesses.mean())
    above = 1.0 - (np.arange(1, n + 1) - 0.35) / n
    weighted = float((above * excesses).mean())
    # Shape ξ = 2 − mean / (mean − 2 · weighted); equal excesses would divide by zero.
    spread = mean - 2.0 * weighted
    shape = 2.0 - mean / spread if spread > 1e-12 * mean else 0.0
    shape = min(max(shape, 0.0), _MAX_SHAPE)
    return Tail(threshold=threshold, share=n / len(sample), scale=mean * (1.0 - shape), shape=shape)


def p_value(statistic: float, sample: NDArray[np.float64], tail: Tail, *, floor: float) -> float:
    """The probability of at least ``statistic`` if nothing changed; never below ``floor``.

    ``sample`` is the ascending null sample ``tail`` was fitted to.
    """
    if statistic > tail.threshold:
        return max(tail.exceeded(statistic), floor)
    at_least = len(sample) - int(np.searchsorted(sample, statistic, side="left"))
    return max((at_least + 1) / (len(sample) + 1), floor)
