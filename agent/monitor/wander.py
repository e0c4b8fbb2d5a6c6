"""How far a normal stream wanders: what a day does to a device that nothing is wrong with.

Independent frames of one population would make the means of two windows differ by chance alone. A
day moves slowly: a window of a few hours sees only night or only noon, and differs from the day by
far more. How much more is measured on a baseline in time order, cut into contiguous *blocks* as
long as a window: a random-effects model, in which a window's level is the day's, plus what its hour
adds (along a few *axes* that the blocks show), plus the chance of its own frames.

Which axes wander is decided by the largest eigenvalue that independent rows would give (I. M.
Johnstone, "On the distribution of the largest eigenvalue in principal components analysis", Annals of
Statistics 29, 2001). What is left between the blocks inflates all directions evenly, as the first-order
correction for clustered samples does (J. N. K. Rao and A. J. Scott, "The analysis of categorical data
from complex sample surveys", JASA 76, 1981).
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from agent.monitor.bins import BINS, bin_indices
from agent.monitor.scores import whitening

FEWEST_BLOCKS = 4
"""Fewer say nothing about what varies between them."""
MOST_FREEDOM = 10
"""However many blocks: they are of few days, and other days will be darker and brighter."""
LEVEL_CURVE, SHARE_CURVE = 0.15, 0.15
"""A day moves along a curve, which straight axes fit where it has been seen: off the axes lies about so
much of the squared way to the nearest block (of shares, whose curve is sharper: to their centre)."""
_DOUBT, _LEAST_VALUE = 0.3, 2.0
"""Levels wander along every axis with more than this share of the largest eigenvalue by chance: an axis
too many costs a little power, one too few makes some hour of some day an alarm."""
_TRACY_WIDOM = -1.2686
"""Median of the Tracy–Widom law of order 1."""
_LEAST_STEADY = 0.05
"""A feature left with less than this share of its variance has nothing steady to watch."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Axes:
    """Where a set of D coordinates wanders; leading axes (…) hold independent sets.

    Coordinates are scaled to variance 1 by chance, and lie about ``centre`` (…, D). axes float64
    (…, D, r) are orthonormal or zero; variance (…, r) is theirs in a window, chance included, ``rest``
    (…) that of every other direction, both at least 1. ``seen`` (k, …, r) are places along the axes
    from where the others' variance grows by ``curve`` (…) with the squared way. ``freedom``: degrees
    of freedom; ``blocks``: blocks the axes come from.
    """

    centre: Floats
    axes: Floats
    variance: Floats
    rest: Floats
    seen: Floats
    curve: Floats
    freedom: int
    blocks: int

    def distance(self, coordinates: Floats) -> Floats:
        """Squared distance (n, …) of windows (n, …, D) from what the stream normally does.

        Along an axis the variance is known from few blocks, so that the distance t² is Student's:
        it counts as ν log(1 + t² / ν). The other directions count in full, over the variance that
        not knowing the axes exactly gives them, the more the further out (as in a regression).
        """
        moved = coordinates - self.centre
        along = self._along(moved)
        squares = along**2
        standard = squares / self.variance
        rest = np.maximum((moved**2).sum(axis=-1) - squares.sum(axis=-1), 0)
        known = rest / (self.rest + self._error(along))
        total: Floats = known + (self.freedom * np.log1p(standard / self.freedom)).sum(axis=-1)
        return total

    def effects(self, coordinates: Floats) -> tuple[Floats, Floats]:
        """Of blocks (K, …, D): what their hour added, and the variance (K, …) that gives the others.

        Off the axes, most of what a block shows is chance, and is shrunk.
        """
        moved = coordinates - self.centre
        along = self._along(moved)
        inside = (self.axes @ along[..., None])[..., 0]
        kept = np.sqrt((self.rest - 1.0) / self.rest)[..., None]
        return inside + kept * (moved - inside), self._error(along)

    def _error(self, along: Floats) -> Floats:
        """Variance (n, …) of every other direction from not knowing the axes exactly."""
        way = ((along[:, None] - self.seen[None]) ** 2).sum(axis=-1).min(axis=1)
        # Window and block both lie about so far from where their hour is, by chance.
        beyond = np.maximum(way - 2.0 * along.shape[-1], 0.0)
        error: Floats = (along**2 / self.variance).sum(axis=-1) / self.blocks + self.curve * beyond
        return error

    def _along(self, moved: Floats) -> Floats:
        """Coordinates along the axes: (n, …, r)."""
        along: Floats = (moved[..., None, :] @ self.axes)[..., 0, :]
        return along


def level_axes_of(coordinates: Floats, *, chance: Floats, scale: float) -> Axes:
    """``share_axes_of`` for levels (K, D): more axes, and a curve known where blocks lie."""
    return _axes(coordinates, chance=chance, scale=scale, doubt=_DOUBT, curve=LEVEL_CURVE, nearest=True)


def share_axes_of(coordinates: Floats, *, chance: Floats, scale: float) -> Axes:
    """The axes along which blocks (K, …, D) wander, for windows ``scale`` times as long as a block.

    The blocks' coordinates have variance 1 by chance in ``chance`` (…) of the D directions.
    """
    return _axes(coordinates, chance=chance, scale=scale, doubt=1.0, curve=SHARE_CURVE, nearest=False)


def _axes(
    coordinates: Floats, *, chance: Floats, scale: float, doubt: float, curve: float, nearest: bool
) -> Axes:
    blocks, dims = len(coordinates), coordinates.shape[-1]
    centre = coordinates.mean(axis=0)
    centred = np.moveaxis(coordinates - centre, 0, -2) / math.sqrt(blocks - 1)
    _, singular, directions = np.linalg.svd(centred, full_matrices=False)
    values = singular**2  # (…, min(K, D)), largest first
    found = values > max(doubt * _edge(blocks - 1, dims), _LEAST_VALUE)
    most = int(found.sum(axis=-1).max(initial=0))
    found, spikes = found[..., :most], values[..., :most]
    number = found.sum(axis=-1)
    free = np.maximum(chance - number, 1.0)
    # Axes fitted to the blocks take their share of the chance along, as degrees of freedom do.
    left = (values.sum(axis=-1) - (spikes * found).sum(axis=-1)) / free
    left = left * (blocks - 1) / np.maximum(blocks - 1 - number, 1)
    variance = (1.0 + scale * np.maximum(spikes - 1.0, 0.0)) * (1.0 + 1.0 / blocks)
    axes = np.swapaxes(directions, -1, -2)[..., :most] * found[..., None, :]
    seen = ((coordinates - centre)[..., None, :] @ axes)[..., 0, :] * math.sqrt(scale)
    return Axes(
        centre=centre * math.sqrt(scale),
        axes=axes,
        variance=np.where(found, variance, 1.0),
        rest=1.0 + scale * np.maximum(left - 1.0, 0.0),
        seen=seen if nearest else np.zeros_like(seen[:1]),
        curve=curve / free,
        freedom=min(blocks - 1, MOST_FREEDOM),
        blocks=blocks,
    )


def _edge(freedom: int, dims: int) -> float:
    """What the largest eigenvalue of a covariance of pure chance stays below every other time."""
    roots = math.sqrt(max(freedom - 1, 1)) + math.sqrt(dims)
    spread = roots * (1.0 / math.sqrt(max(freedom - 1, 1)) + 1.0 / math.sqrt(dims)) ** (1 / 3)
    edge: float = (roots**2 + _TRACY_WIDOM * spread) / freedom
    return edge


@dataclass(frozen=True, kw_only=True)
class Wander:
    """K contiguous blocks of a baseline, counted on the reference's bins; made by ``wander_of``.

    counts int64 (K, F, 16), groups int64 (K, G), cross float64 (K, V, V) as in a profile. scores
    float64 (F, 16) is each bin's, within float64 (F, F) their covariance inside the blocks.
    calibration_blocks int64 (N,) is the block of each calibration row.
    """

    counts: NDArray[np.int64]
    groups: NDArray[np.int64]
    cross: Floats
    scores: Floats
    within: Floats
    calibration_blocks: NDArray[np.int64]

    @cached_property
    def sizes(self) -> Floats:
        """Rows in each block: (K,)."""
        sizes: Floats = self.counts[:, 0].sum(axis=-1).astype(np.float64)
        return sizes

    @cached_property
    def levels(self) -> Floats:
        """Mean scores of each block: (K, F)."""
        levels: Floats = (self.counts * self.scores).sum(axis=-1) / self.sizes[:, None]
        return levels

    @cached_property
    def level(self) -> Floats:
        """Mean scores of the whole baseline: (F,)."""
        return np.average(self.levels, axis=0, weights=self.sizes)

    def level_axes(self, samples: int) -> Axes:
        """Where windows of ``samples`` wander, in scores whitened by ``whitening(within)``."""
        return level_axes_of(self._moved, chance=self._chance, scale=samples / float(self.sizes.mean()))

    @cached_property
    def _moved(self) -> Floats:
        """The blocks' whitened levels, with variance 1 by chance: (K, F)."""
        moved: Floats = (self.levels - self.level) @ whitening(self.within) * np.sqrt(self.sizes)[:, None]
        return moved

    @property
    def _chance(self) -> Floats:
        whiten = whitening(self.within)
        return np.array(float(np.trace(whiten.T @ self.within @ whiten)))

    def steady(self, scores: Floats) -> Floats:
        """Scores (n, F) of rows without what wanders: (n, F'), mean 0 and variance 1 within the
        blocks, F' at most F. See ``scores.row_scores`` and ``steady_features``."""
        steady: Floats = (scores - self.level) @ self._projection
        return steady

    @property
    def steady_features(self) -> NDArray[np.int64]:
        """Which features the columns of ``steady`` are: (F',)."""
        return self._steady[0]

    @property
    def _projection(self) -> Floats:
        return self._steady[1]

    @cached_property
    def _steady(self) -> tuple[NDArray[np.int64], Floats]:
        whiten = whitening(self.within)
        # What is taken out of single rows is lost in full: only axes that stand out are.
        axes = share_axes_of(self._moved, chance=self._chance, scale=1.0).axes
        keep = np.eye(len(whiten)) - axes @ axes.T
        projection = whiten @ keep @ np.linalg.inv(whiten)
        variance = np.einsum("fi,fg,gi->i", projection, self.within, projection)
        features = np.flatnonzero(variance > _LEAST_STEADY * np.maximum(np.diag(self.within), 1e-12))
        return features, projection[:, features] / np.sqrt(variance[features])


def wander_of(
    rows: NDArray[np.float32],
    groups: NDArray[np.int64],
    blocks: NDArray[np.int64],
    *,
    edges: NDArray[np.float32],
    scores: Floats,
    n_groups: int,
    elements: int,
    calibration_blocks: NDArray[np.int64],
) -> Wander | None:
    """What ``rows`` (N, F) with their ``groups`` (N,) show between ``blocks`` (N,; numbers in order
    of time); the first ``elements`` features are a vector's. None for fewer than FEWEST_BLOCKS."""
    numbers, block = np.unique(blocks, return_inverse=True)
    if len(numbers) < FEWEST_BLOCKS:
        return None
    features = len(edges)
    bins = bin_indices(rows, edges)
    cells = (block[:, None] * features + np.arange(features)) * BINS + bins
    counts = np.bincount(cells.ravel(), minlength=len(numbers) * features * BINS)
    counts = counts.reshape(len(numbers), features, BINS)
    known = groups >= 0
    grouped = np.bincount(block[known] * n_groups + groups[known], minlength=len(numbers) * n_groups)
    cross = np.zeros((len(numbers), elements, elements))
    within = np.zeros((features, features))
    for at in range(len(numbers)):
        mine = scores[np.arange(features), bins[block == at]]
        within += _scatter(mine)
        cross[at] = _scatter(rows[block == at, :elements].astype(np.float64))
    return Wander(
        counts=counts,
        groups=grouped.reshape(len(numbers), n_groups),
        cross=cross,
        scores=scores,
        within=within / max(len(rows) - len(numbers), 1),
        calibration_blocks=np.searchsorted(numbers, calibration_blocks),
    )


def _scatter(values: Floats) -> Floats:
    deviations = values - values.mean(axis=0)
    scatter: Floats = deviations.T @ deviations
    return scatter
