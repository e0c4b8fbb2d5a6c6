"""Which half of each photograph is for commissioning, and which for the test.

False alarms can be counted only where nothing changed, and two random halves of a hundred and seventy
photographs do differ: another dog is another class. So the halves are dealt out until the two sides
agree (rerandomization; Morgan and Rubin, "Rerandomization to improve covariate balance in experiments",
Annals of Statistics 40, 2012), here by exchanging the halves of single photographs as long as that
helps. What difference is left is measured and printed.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.monitor.bins import BINS, bin_indices, quantile_edges
from agent.monitor.groups import group_classes
from tools.bench.monitor.rendered import Rendered

_ROUNDS = 12


@dataclass(frozen=True, kw_only=True, slots=True)
class Roles:
    """Scene numbers, one half of each photograph each. ``before`` and ``after``: the noncentrality that
    the difference gives a χ² of 250 observations, worst feature, as dealt and as exchanged."""

    commissioning: NDArray[np.int64]
    test: NDArray[np.int64]
    before: float
    after: float


def deal(both: Rendered, *, seed: int) -> Roles:
    """``both``: scenes 2·p and 2·p + 1 are the halves of photograph p."""
    told = _description(both)
    first, second = told[0::2], told[1::2]
    apart = first - second
    rng = np.random.default_rng(seed)
    sign = rng.choice([-1.0, 1.0], len(apart))
    total = sign @ apart
    before = _worst(both, sign)
    for _ in range(_ROUNDS):
        changed = False
        for at in rng.permutation(len(apart)).tolist():
            other = total - 2.0 * sign[at] * apart[at]
            if other @ other < total @ total:
                sign[at], total, changed = -sign[at], other, True
        if not changed:
            break
    commissioning, test = _scenes(sign)
    return Roles(commissioning=commissioning, test=test, before=before, after=_worst(both, sign))


def _scenes(sign: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    places = np.arange(len(sign)) * 2
    return places + (sign < 0), places + (sign > 0)


def _cells(both: Rendered) -> tuple[NDArray[np.float64], int]:
    """Each scene's shares per bin of every feature and per group of classes: (S, F·16 + G)."""
    scenes, features = len(both.rows), both.rows.shape[-1]
    rows = both.rows.reshape(-1, features)
    cells = bin_indices(rows, quantile_edges(rows)) + np.arange(features) * BINS
    groups = group_classes(both.classes.ravel())
    group = np.array([groups.of_class(int(one)) for one in both.classes.ravel()]) + features * BINS
    every = np.column_stack([cells, group]).reshape(scenes, -1)
    width = features * BINS + len(groups.names)
    shares = np.stack([np.bincount(row, minlength=width) for row in every])
    return shares / (every.shape[1] / (features + 1)), features


def _description(both: Rendered) -> NDArray[np.float64]:
    """What two sides are to agree in, each on the scale of its chance difference: shares per bin and
    class, and the mean of each feature and of being right at every level of light."""
    shares, _ = _cells(both)
    spread = np.sqrt(np.maximum(shares.mean(axis=0), 1e-3))
    level = both.rows.mean(axis=1).reshape(len(both.rows), -1)
    level = (level - level.mean(axis=0)) / (level.std(axis=0) + 1e-9)
    right = both.right.mean(axis=1)
    # The means weigh as much as the shares: T² looks at those, χ² at these.
    told = [shares / spread, 0.4 * level, 0.8 * (right - right.mean(axis=0))]
    return np.column_stack(told)


def _worst(both: Rendered, sign: NDArray[np.float64]) -> float:
    shares, features = _cells(both)
    commissioning, test = (shares[scenes].mean(axis=0) for scenes in _scenes(sign))
    chi2 = 250 * (commissioning - test) ** 2 / np.maximum(commissioning, 1e-3)
    parts = [*chi2[: features * BINS].reshape(features, BINS).sum(axis=1), chi2[features * BINS :].sum()]
    return float(max(parts))
