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

RIDGE = 0.1
"""Share of the identity in the covariance that whitens: directions in which the reference hardly
varies (features that nearly determine each other) would otherwise be divided by almost nothing.
Scores have variance 1 or a little less, so the identity is in their own unit."""
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


def row_scores(
    rows: NDArray[np.float32], edges: NDArray[np.float32], scores: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The score of each value of ``rows`` (N, F), given those of the bins (F, 16): float64 (N, F)."""
    taken: NDArray[np.float64] = scores[np.arange(len(edges)), bin_indices(rows, edges)]
    return taken


def whitening(covariance: NDArray[np.float64]) -> NDArray[np.float64]:
    """The matrix W with W Wᵀ = inverse of the covariance mixed with RIDGE of the identity."""
    mixed = (1.0 - RIDGE) * covariance + RIDGE * np.eye(len(covariance))
    variances, directions = np.linalg.eigh(mixed)
    # No smaller in exact arithmetic; a covariance from a file is only nearly one.
    whitened: NDArray[np.float64] = directions / np.sqrt(np.maximum(variances, RIDGE))
    return whitened


def score_covariance(
    rows: NDArray[np.float32], edges: NDArray[np.float32], counts: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Covariance (F, F) of the scores of ``rows`` (N, F), N at least 1, whose counts on ``edges``
    are ``counts``. ``rows`` may be a memory map: it is read in chunks."""
    scores = bin_scores(counts)
    mean = (counts * scores).sum(axis=1) / len(rows)
    scatter = np.zeros((len(edges), len(edges)))
    for start in range(0, len(rows), _CHUNK):
        deviations = row_scores(np.asarray(rows[start : start + _CHUNK]), edges, scores) - mean
        scatter += deviations.T @ deviations
    return scatter / len(rows)
