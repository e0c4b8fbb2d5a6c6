"""Bins as numbers: each bin's normal score, so that a mean over a window can be taken from counts.

A value stands for the standard normal quantile of its rank among the reference's (van der Waerden
scores, one per bin). Means of scores see a shift in any direction about as well as means of the
values, yet one wild value cannot move them, the unit of a feature does not matter, and they
follow exactly from the counts.
"""

from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from agent.monitor.bins import BINS, bin_indices

_CHUNK = 4096
_FURTHEST = 1e-3
"""Ranks are kept this far from 0 and 1: scores stay within ±3.1."""


def bin_scores(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """The score of each bin of the reference's ``counts`` (F, 16): float64 (F, 16), never falling.

    A bin's rank is that of its middle observation; an empty bin's that of its place between them.
    """
    n = counts.sum(axis=1, keepdims=True)
    ranks = (counts.cumsum(axis=1) - counts / 2) / np.maximum(n, 1)
    quantile = NormalDist().inv_cdf
    scores = [quantile(rank) for rank in np.clip(ranks, _FURTHEST, 1 - _FURTHEST).ravel().tolist()]
    return np.array(scores).reshape(-1, BINS)


def score_covariance(
    rows: NDArray[np.float32], edges: NDArray[np.float32], counts: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Covariance (F, F) of the scores of ``rows`` (N, F), N at least 1, whose counts on ``edges``
    are ``counts``. ``rows`` may be a memory map: it is read in chunks."""
    features = np.arange(len(edges))
    scores = bin_scores(counts)
    mean = (counts * scores).sum(axis=1) / len(rows)
    scatter = np.zeros((len(edges), len(edges)))
    for start in range(0, len(rows), _CHUNK):
        bins = bin_indices(np.asarray(rows[start : start + _CHUNK]), edges)
        deviations = scores[features, bins] - mean
        scatter += deviations.T @ deviations
    return scatter / len(rows)
