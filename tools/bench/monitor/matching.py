"""Which half of each photograph is for commissioning, and which for the test.

False alarms can be counted only where nothing changed, and two random halves of a hundred and seventy
photographs do differ: another dog is another class. So the halves are dealt out until the two sides
agree (rerandomization; Morgan and Rubin, "Rerandomization to improve covariate balance in experiments",
Annals of Statistics 40, 2012), over the whole day and at every level of light by itself, for within an
hour there is only one. Halves of single photographs are exchanged by simulated annealing (Kirkpatrick,
Gelatt and Vecchi, "Optimization by simulated annealing", Science 220, 1983). What difference is left is
measured and printed.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.monitor.bins import BINS, bin_indices, quantile_edges
from agent.monitor.groups import group_classes
from tools.bench.monitor.rendered import Rendered

WINDOW = 250
_EXCHANGES = 300_000
_COOLED_TO = 1e-3
_LEAST_SHARE = 1e-3
_RIDGE = 0.1
# How much the shares of an hour, its levels, the shares of a day, those of classes and being right count.
_HOUR, _LEVEL, _DAY, _CLASS, _RIGHT = 0.8, 0.6, 0.3, 1.5, 6.0

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Left:
    """What difference two sides have: the noncentrality it gives a statistic of 250 observations, in standard
    deviations that the statistic has by chance. χ² of the worst feature and of the classes over a day; over
    an hour, in the worst light, that of the worst feature and T²."""

    day_chi2: float
    class_chi2: float
    hour_chi2: float
    hour_t2: float

    @property
    def worst(self) -> float:
        return max(self.day_chi2, self.class_chi2, self.hour_chi2, self.hour_t2)


@dataclass(frozen=True, kw_only=True, slots=True)
class Roles:
    """Scene numbers, one half of each photograph each; how they differ as dealt and as exchanged."""

    commissioning: NDArray[np.int64]
    test: NDArray[np.int64]
    before: Left
    after: Left


def deal(both: Rendered, *, seed: int) -> Roles:
    """``both``: scenes 2·p and 2·p + 1 are the halves of photograph p."""
    cells = _Cells.of(both)
    told = cells.description()
    apart = told[0::2] - told[1::2]
    rng = np.random.default_rng(seed)
    dealt = rng.choice([-1.0, 1.0], len(apart))
    exchanged = _annealed(apart @ apart.T, dealt, rng)
    commissioning, test = _scenes(exchanged)
    return Roles(
        commissioning=commissioning,
        test=test,
        before=cells.left(*_scenes(dealt)),
        after=cells.left(*_scenes(exchanged)),
    )


def _annealed(products: Floats, sign: Floats, rng: np.random.Generator) -> Floats:
    """The signs (P,) that make ``sign @ products @ sign`` small."""
    sign, alone = sign.copy(), np.diag(products)
    along = products @ sign
    energy = least = float(sign @ along)
    best = sign.copy()
    heat = 2.0 * float(np.median(alone))
    cooling = _COOLED_TO ** (1.0 / _EXCHANGES)
    chances = rng.random(_EXCHANGES)
    for at, chance in zip(rng.integers(0, len(sign), _EXCHANGES).tolist(), chances.tolist(), strict=True):
        rise = 4.0 * float(alone[at] - sign[at] * along[at])
        heat *= cooling
        if rise < 0 or chance < math.exp(-rise / max(heat, 1e-300)):
            sign[at] = -sign[at]
            along += 2.0 * sign[at] * products[at]
            energy += rise
            if energy < least:
                least, best = energy, sign.copy()
    return best


def _scenes(sign: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    places = np.arange(len(sign)) * 2
    return places + (sign < 0), places + (sign > 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Cells:
    """Of S scenes at L levels of light: shares per bin of F features (S, L, F, 16) and per group of
    classes (S, G), whitened levels (S, L, F), and how often right (S,)."""

    bins: Floats
    groups: Floats
    levels: Floats
    right: Floats

    @staticmethod
    def of(both: Rendered) -> "_Cells":
        features = both.rows.shape[-1]
        edges = quantile_edges(both.rows.reshape(-1, features))
        at = bin_indices(both.rows.reshape(-1, features), edges).reshape(both.rows.shape)
        named = group_classes(both.classes.ravel())
        group = np.array([named.of_class(int(one)) for one in both.classes.ravel()])
        scenes, framings, lights = both.classes.shape
        groups = np.eye(len(named.names))[group].reshape(scenes, framings * lights, -1).mean(axis=1)
        bins = np.stack([(at == bin_).mean(axis=1) for bin_ in range(BINS)], axis=-1)
        levels = np.stack([_whitened(both.rows[:, :, light]) for light in range(lights)], axis=1)
        return _Cells(bins=bins, groups=groups, levels=levels, right=both.right.mean(axis=(1, 2)))

    def description(self) -> Floats:
        """What two sides are to agree in (S, …), each on the scale of its chance difference."""
        scenes = len(self.right)
        told = [
            _HOUR * _scaled(self.bins.reshape(scenes, -1)),
            _LEVEL * self.levels.reshape(scenes, -1),
            _DAY * _scaled(self.bins.mean(axis=1).reshape(scenes, -1)),
            _CLASS * _scaled(self.groups),
            _RIGHT * (self.right - self.right.mean())[:, None],
        ]
        return np.concatenate(told, axis=1)

    def left(self, first: NDArray[np.int64], second: NDArray[np.int64]) -> Left:
        hours = _noncentrality(self.bins[first].mean(axis=0), self.bins[second].mean(axis=0))
        days = _noncentrality(self.bins[first].mean(axis=(0, 1)), self.bins[second].mean(axis=(0, 1)))
        classes = _noncentrality(self.groups[first].mean(axis=0), self.groups[second].mean(axis=0))
        moved = self.levels[first].mean(axis=0) - self.levels[second].mean(axis=0)
        by_chance = math.sqrt(2.0 * (BINS - 1))
        return Left(
            day_chi2=float(days.max()) / by_chance,
            class_chi2=float(classes) / math.sqrt(2.0 * max(self.groups.shape[1] - 1, 1)),
            hour_chi2=float(hours.max()) / by_chance,
            hour_t2=float(WINDOW * (moved**2).sum(axis=-1).max()) / math.sqrt(2.0 * moved.shape[-1]),
        )


def _scaled(shares: Floats) -> Floats:
    scaled: Floats = shares / np.sqrt(np.maximum(shares.mean(axis=0), _LEAST_SHARE))
    return scaled


def _whitened(rows: NDArray[np.float32]) -> Floats:
    """Mean (S, F) of each scene's rows (S, framings, F), whitened by all rows."""
    every = rows.reshape(-1, rows.shape[-1]).astype(np.float64)
    deviation = np.maximum(every.std(axis=0), 1e-9)
    standard = (every - every.mean(axis=0)) / deviation
    mixed = (1.0 - _RIDGE) * (standard.T @ standard) / len(standard) + _RIDGE * np.eye(rows.shape[-1])
    variances, directions = np.linalg.eigh(mixed)
    white: Floats = (standard @ directions / np.sqrt(variances)).reshape(rows.shape).mean(axis=1)
    return white


def _noncentrality(known: Floats, other: Floats) -> Floats:
    """Of a χ² of a window with shares ``other`` (…, B) against ``known`` (…, B)."""
    terms = (known - other) ** 2 / np.maximum(known, _LEAST_SHARE)
    summed: Floats = WINDOW * np.asarray(terms.sum(axis=-1))
    return summed
