"""Profiles: observations counted on the reference's bins, with running moments; merged by addition.

Counts are exact. Means and sums of squared deviations merge by the formula of Chan, Golub and
LeVeque (1979): merged and unmerged ones agree to about 1e-12 of the feature's largest magnitude
(``m2`` and ``cross``: of its square times n).
"""

import numpy as np
from numpy.typing import NDArray

from agent.contracts import Profile
from agent.monitor.bins import bin_counts


def profile_of(
    rows: NDArray[np.float32],
    groups: NDArray[np.int64],
    *,
    features: tuple[str, ...],
    edges: NDArray[np.float32],
    n_groups: int,
    pixels: NDArray[np.int64],
    elements: int = 0,
) -> Profile:
    """The profile of ``rows`` (N, F), N may be 0, with the group of each (N,; -1 without classes)
    counted on ``edges`` (F, 15); ``pixels`` are their pixel counts, (3, 256) or (0, 256). The first
    ``elements`` features are a vector's, whose products are summed too."""
    values = np.asarray(rows, dtype=np.float64)
    mean = values.mean(axis=0) if len(values) else np.zeros(len(features))
    deviations = values - mean
    return Profile(
        features=features,
        n=len(values),
        counts=bin_counts(rows, edges),
        mean=mean,
        m2=(deviations**2).sum(axis=0),
        groups=np.bincount(groups[groups >= 0], minlength=n_groups),
        pixels=pixels.copy(),
        cross=deviations[:, :elements].T @ deviations[:, :elements],
    )


def merge(a: Profile, b: Profile) -> Profile:
    """The profile of ``a``'s and ``b``'s observations together.

    Raises ValueError when they count different things.
    """
    if a.features != b.features:
        differ = sorted(set(a.features) ^ set(b.features))
        raise ValueError(f"profiles of different features: {', '.join(differ) or 'another order'}")
    for name in ("counts", "groups", "pixels", "cross"):
        ours, theirs = getattr(a, name).shape, getattr(b, name).shape
        if ours != theirs:
            raise ValueError(f"profiles with {name} of different shapes: {ours} and {theirs}")
    if not a.n or not b.n:
        mean, m2, cross = (a.mean, a.m2, a.cross) if a.n else (b.mean, b.m2, b.cross)
    else:
        delta, share = b.mean - a.mean, b.n / (a.n + b.n)
        mean, m2 = a.mean + delta * share, a.m2 + b.m2 + delta**2 * (a.n * share)
        moved = delta[: len(a.cross)]
        cross = a.cross + b.cross + np.outer(moved, moved) * (a.n * share)
    return Profile(
        features=a.features,
        n=a.n + b.n,
        counts=a.counts + b.counts,
        mean=mean,
        m2=m2,
        groups=a.groups + b.groups,
        pixels=a.pixels + b.pixels,
        cross=cross,
    )
