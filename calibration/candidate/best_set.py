"""Which of several candidates may be the best one: a confidence set from paired scores.

The best-looking of many candidates looks better than it is, so a plain test of each against the
winner accuses the true best too often. Here each candidate is asked instead whether *it* may be the
best: its statistic is the largest studentized paired difference of any other candidate over it, and
its null distribution the same maximum under random sign flips of whole inputs, which keeps the
candidates' correlations. What is not refused is the confidence set of the best: multiple comparisons
with the best (Hsu 1984), by the maximum of Westfall & Young (1993) over sign flips (Fisher 1935),
as in the model confidence set of Hansen, Lunde & Nason (2011). Holm's (1979) correction over the
candidates is laid on top, so that also the statement "all these are worse" is wrong at most at the
stated rate.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from calibration.paired import holm

ALPHA: Final = 0.05
FLIPS: Final = 3_999
_SEED: Final = 20260101


@dataclass(frozen=True, kw_only=True, slots=True)
class BestSet:
    """``best`` is the index with the highest mean. Per candidate: ``p`` that something is better than
    it by chance alone, corrected (float64, (K,)); ``distinguishable``: refused at ``alpha``, bool (K,)."""

    best: int
    p: NDArray[np.float64]
    distinguishable: NDArray[np.bool_]
    alpha: float


def best_set(scores: NDArray[np.float64], *, alpha: float = ALPHA, flips: int = FLIPS) -> BestSet:
    """The confidence set over ``scores`` (K candidates × n inputs, higher is better, all finite).

    Exact where paired differences are symmetric about 0, otherwise right as n grows. The candidate
    with the highest mean is never refused. Seeded: the same scores give the same answer.
    """
    count, inputs = scores.shape
    best = int(scores.mean(axis=1).argmax())
    signs = np.random.default_rng(_SEED).choice(np.array([-1.0, 1.0]), size=(flips, inputs))
    # The sum of a flipped difference is the difference of the flipped sums: one product for all.
    sums = signs @ scores.T
    raw = np.array([_p(scores - scores[i], sums - sums[:, [i]]) for i in range(count)])
    raw[best] = 1.0
    p = np.array(holm(raw.tolist()))
    return BestSet(best=best, p=p, distinguishable=p <= alpha, alpha=alpha)


def _p(differences: NDArray[np.float64], flipped_sums: NDArray[np.float64]) -> float:
    """How often sign flips give a maximum as large as the one seen; differences (K, n), sums (flips, K)."""
    squares = np.einsum("kn,kn->k", differences, differences)
    moving = squares > 0
    if not moving.any():
        return 1.0
    rows, squares, inputs = differences[moving], squares[moving], differences.shape[1]
    seen = _studentized(rows.sum(axis=1), squares, inputs).max()
    flipped = _studentized(flipped_sums[:, moving], squares, inputs).max(axis=1)
    # A hair below, so that a flip which repeats the data counts as equal whatever the rounding.
    at_least = int(np.count_nonzero(flipped >= seen - 1e-6 * abs(seen)))
    return (1 + at_least) / (1 + len(flipped))


def _studentized(sums: NDArray[np.float64], squares: NDArray[np.float64], inputs: int) -> NDArray[np.float64]:
    """t of paired differences with these sums; the sum of squares is the same under every flip."""
    spread = np.maximum(squares - sums * sums / inputs, 1e-12 * squares)
    made: NDArray[np.float64] = sums / np.sqrt(spread * (inputs / max(inputs - 1, 1)))
    return made
