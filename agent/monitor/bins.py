"""Sixteen bins per feature, cut at the quantiles of the reference.

Bin i holds ``edges[i - 1] <= x < edges[i]``; the first and last bins are open, so every finite
value has one. A value that many reference rows share (a share that is mostly zero, a constant)
makes neighbouring quantiles equal; such a value gets a bin of its own, a hair wide on both sides,
so that *below*, *equal* and *above* stay apart. The bins between equal quantiles stay empty.
"""

import numpy as np
from numpy.typing import NDArray

BINS = 16
_HAIR = 1e-5
"""Half the relative width of a shared value's bin: two machines compute it to better than that."""
_TINY, _MAX = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)


def quantile_edges(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """The 15 interior quantiles of each column of ``rows`` (N, F), N at least 1: float32 (F, 15),
    never decreasing. Works column by column, so ``rows`` may be a memory map."""
    shares = np.arange(1, BINS) / BINS
    columns = (rows[:, at].astype(np.float64) for at in range(rows.shape[1]))
    edges = [_separate(np.quantile(column, shares).astype(np.float32)) for column in columns]
    return np.array(edges, dtype=np.float32).reshape(-1, BINS - 1)


def _separate(edges: NDArray[np.float32]) -> NDArray[np.float32]:
    """Move the first and last of each run of equal edges a hair apart from the shared value."""
    apart = edges.astype(np.float64)
    for shared in np.unique(edges[1:][edges[1:] == edges[:-1]]).tolist():
        first, *_, last = np.flatnonzero(edges == shared)
        hair = max(abs(shared) * _HAIR, _TINY)
        apart[first], apart[last] = max(shared - hair, -_MAX), min(shared + hair, _MAX)
    return np.maximum.accumulate(apart).astype(np.float32)


def bin_indices(rows: NDArray[np.float32], edges: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The bin of each value: uint8 (N, F), 0 … 15."""
    indices = np.empty(rows.shape, dtype=np.uint8)
    for at, cuts in enumerate(edges):
        indices[:, at] = np.searchsorted(cuts, rows[:, at], side="right")
    return indices


def bin_counts(rows: NDArray[np.float32], edges: NDArray[np.float32]) -> NDArray[np.int64]:
    """How many of ``rows`` (N, F) fall into each bin: int64 (F, 16)."""
    features = edges.shape[0]
    cells = bin_indices(rows, edges) + np.arange(features, dtype=np.int64) * BINS
    return np.bincount(cells.ravel(), minlength=features * BINS).reshape(features, BINS)
