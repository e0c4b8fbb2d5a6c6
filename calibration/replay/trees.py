"""Grows extra trees; a few hundred windows of a few dozen statistics take well under a second."""

import numpy as np
from numpy.typing import NDArray

from agent.monitor.estimate.regression import Trees

LEAF = 5
"""Least samples in a leaf."""


def grow(
    statistics: NDArray[np.float64], targets: NDArray[np.float64], *, trees: int, rng: np.random.Generator
) -> Trees:
    """``trees`` extra trees over all of ``statistics`` (n, D) and ``targets`` (n,)."""
    nodes: list[tuple[int, float, int]] = []
    roots = []
    for _ in range(trees):
        roots.append(len(nodes))
        _grow_one(statistics, targets, nodes, rng)
    feature, cut, right = zip(*nodes, strict=True)
    return Trees(
        roots=np.array(roots, np.int64),
        feature=np.array(feature, np.int64),
        cut=np.array(cut),
        right=np.array(right, np.int64),
    )


def _grow_one(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    nodes: list[tuple[int, float, int]],
    rng: np.random.Generator,
) -> None:
    """Appends one tree's nodes, each followed by those of its left side."""
    # A side waits with the node whose ``right`` it is; -1: it follows its parent directly.
    waiting: list[tuple[NDArray[np.intp], int]] = [(np.arange(len(y)), -1)]
    while waiting:
        rows, parent = waiting.pop()
        if parent >= 0:
            feature, cut, _ = nodes[parent]
            nodes[parent] = (feature, cut, len(nodes))
        split = _split(x[rows], y[rows], rng)
        if split is None:
            nodes.append((-1, round(float(y[rows].mean()), 5), 0))
            continue
        feature, cut = split
        goes_right = x[rows, feature] >= cut
        waiting.append((rows[goes_right], len(nodes)))
        waiting.append((rows[~goes_right], -1))
        nodes.append((feature, cut, 0))


def _split(
    x: NDArray[np.float64], y: NDArray[np.float64], rng: np.random.Generator
) -> tuple[int, float] | None:
    """The best of one random cut through each of a random half of the statistics."""
    n = len(y)
    if n < 2 * LEAF or np.ptp(y) < 1e-6:
        return None
    tried = rng.permutation(x.shape[1])[: (x.shape[1] + 1) // 2]
    values = x[:, tried]
    low, high = values.min(axis=0), values.max(axis=0)
    cuts = np.round(low + rng.random(len(tried)) * (high - low), 5)
    right = values >= cuts
    on_right = right.sum(axis=0)
    sum_right = (y - y.mean()) @ right
    fits = (on_right >= LEAF) & (n - on_right >= LEAF)
    if not fits.any():
        return None
    gain = np.where(
        fits, sum_right**2 * (1 / np.maximum(on_right, 1) + 1 / np.maximum(n - on_right, 1)), -1.0
    )
    best = int(gain.argmax())
    return int(tried[best]), float(cuts[best])
