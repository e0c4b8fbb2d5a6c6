"""Isotonic regression by pooling adjacent violators (R. E. Barlow et al., 1972)."""

import numpy as np
from numpy.typing import NDArray

from agent.monitor.estimate.curve import Curve


def fit_curve(scores: NDArray[np.floating], right: NDArray[np.floating]) -> Curve:
    """The rising curve nearest, in squares, to ``right`` (n,) over ``scores`` (n,), n at least 1.

    Equal scores are one point. Of points with the same value only the first and the last stay.
    """
    points, inverse, sizes = np.unique(
        np.asarray(scores, np.float64), return_inverse=True, return_counts=True
    )
    sums = np.bincount(inverse, weights=right)
    blocks: list[tuple[float, float, int]] = []
    for total, size in zip(sums.tolist(), sizes.tolist(), strict=True):
        blocks.append((total, size, 1))
        while len(blocks) > 1 and blocks[-2][0] * blocks[-1][1] >= blocks[-1][0] * blocks[-2][1]:
            last, before = blocks.pop(), blocks.pop()
            blocks.append((before[0] + last[0], before[1] + last[1], before[2] + last[2]))
    levels = np.repeat([total / size for total, size, _ in blocks], [points_of for *_, points_of in blocks])
    ends = np.ones(len(points), bool)
    ends[1:-1] = (levels[1:-1] != levels[:-2]) | (levels[1:-1] != levels[2:])
    return Curve(scores=points[ends], rights=np.clip(levels[ends], 0.0, 1.0))
