"""What the panel's statistics look like on unchanged windows, by drawing such windows.

From a bundle's reference they are drawn out of its calibration rows, as if in any order. From a
device's own baseline a window is drawn out of one block of it: the rows' chance deviations from their
block's level, and on top what an hour like this one adds, stretched by Student's factor because few
days were seen, and the error with which level and axes are known.
"""

import math
from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from agent.monitor.bins import BINS, bin_indices
from agent.monitor.distances import PSEUDOCOUNT, shares_of
from agent.monitor.drift.evidence import CLASS_CHI2, COVARIANCE, MAX_CHI2, T2, Statistics
from agent.monitor.drift.null import Null, null_key
from agent.monitor.reference import Reference
from agent.monitor.wander import Axes, Wander

_CHUNK_CELLS = 2**20
FEWEST_IN_BLOCK = 8
"""Calibration rows in a block below which no windows are drawn from it."""

Floats = NDArray[np.float64]
Windows = dict[str, Floats]
"""Of drawn windows, by statistic: what ``Statistics.coordinates`` takes."""


def calibrate(reference: Reference, *, samples: int, resamples: int, seed: int) -> Null:
    """Learn what unchanged windows of ``samples`` observations look like, from ``resamples``
    windows drawn with replacement from the calibration rows. Memory stays below about 50 MB."""
    statistics = Statistics(reference, samples)
    rng = np.random.default_rng(seed)
    pool = _Pool(reference, statistics)
    usable = reference.wander is not None and len(_usable_blocks(reference.wander))
    drawn = (
        _blockwise(pool, reference, rng, resamples) if usable else _any_order(pool, reference, rng, resamples)
    )
    chunks = [[statistics.judge(name, placed[name]) for name in statistics.names] for placed in drawn]
    table = np.array([np.concatenate(parts) for parts in zip(*chunks, strict=True)])
    return Null(
        names=statistics.names,
        samples=samples,
        key=null_key(reference, samples=samples, resamples=resamples, seed=seed),
        table=np.sort(table, axis=1),
    )


class _Pool:
    """The calibration rows, ready to be drawn from."""

    def __init__(self, reference: Reference, statistics: Statistics) -> None:
        self.statistics = statistics
        self.samples = statistics.samples
        self.shape = reference.profile.counts.shape
        width = self.shape[0] * self.shape[1]
        self._cells = bin_indices(reference.calibration, reference.edges) + np.arange(0, width, BINS)
        self._elements = len(reference.profile.cross) if statistics.products else 0
        self._values = reference.calibration[:, : self._elements].astype(np.float64)
        per_row = max(self.shape[0], self._elements)
        self.at_once = max(1, _CHUNK_CELLS // max(self.samples * per_row, 4 * width))

    def draw(self, picked: NDArray[np.int64]) -> Windows:
        """Of windows that hold these rows (n, m)."""
        windows, width = len(picked), self.shape[0] * self.shape[1]
        cells = self._cells[picked]
        cells += (np.arange(windows) * width)[:, None, None]
        counts = np.bincount(cells.ravel(), minlength=windows * width).reshape(windows, *self.shape)
        shares = counts / picked.shape[1]
        drawn = {T2: shares, MAX_CHI2: shares}
        if self._elements:
            values = self._values[picked]
            values -= values.mean(axis=1, keepdims=True)
            drawn[COVARIANCE] = np.swapaxes(values, 1, 2) @ values / picked.shape[1]
        return drawn

    def place(self, drawn: Windows) -> Windows:
        """The coordinates of drawn windows."""
        return {name: self.statistics.coordinates(name, drawn[name]) for name in self.statistics.names}


def _any_order(
    pool: _Pool, reference: Reference, rng: "np.random.Generator", resamples: int
) -> Iterator[Windows]:
    rows = len(reference.calibration)
    whole = pool.draw(np.arange(rows)[None])[MAX_CHI2][0]
    offset = (1.0 - _nearness(reference)) * (whole - shares_of(reference.profile.counts))
    for start in range(0, resamples, pool.at_once):
        windows = min(pool.at_once, resamples - start)
        drawn = pool.draw(rng.integers(0, rows, (windows, pool.samples)))
        drawn[T2] = drawn[MAX_CHI2] = np.maximum(drawn[MAX_CHI2] - offset, 0.0)
        if CLASS_CHI2 in pool.statistics.names:
            chances = _group_chances(reference)
            drawn[CLASS_CHI2] = rng.multinomial(pool.samples, chances, size=windows) / pool.samples
        yield pool.place(drawn)


def _blockwise(
    pool: _Pool, reference: Reference, rng: "np.random.Generator", resamples: int
) -> Iterator[Windows]:
    assert reference.wander is not None
    blocks = _Blocks(pool, reference, reference.wander)
    for start in range(0, resamples, pool.at_once):
        windows = min(pool.at_once, resamples - start)
        chosen = rng.integers(0, len(blocks.first), windows)
        within = rng.random((windows, pool.samples)) * blocks.size[chosen, None]
        drawn = pool.draw(blocks.rows[blocks.first[chosen, None] + within.astype(np.int64)])
        if CLASS_CHI2 in pool.statistics.names:
            drawn[CLASS_CHI2] = rng.multinomial(pool.samples, blocks.chances[chosen]) / pool.samples
        freedom = pool.statistics.axes[T2].freedom
        stretch = np.sqrt(freedom / rng.chisquare(freedom, windows))
        yield blocks.elsewhere(pool.place(drawn), chosen, stretch, rng)


class _Blocks:
    """The calibration rows by block. ``rows`` (N,) are their numbers, those of block k being the
    ``size[k]`` from ``first[k]`` on; chances (K, G) are its classes'."""

    def __init__(self, pool: _Pool, reference: Reference, wander: Wander) -> None:
        usable = _usable_blocks(wander)
        self.rows = np.argsort(wander.calibration_blocks, kind="stable")
        ordered = wander.calibration_blocks[self.rows]
        self.first = np.searchsorted(ordered, usable)
        self.size = np.searchsorted(ordered, usable, side="right") - self.first
        groups: Floats = wander.groups[usable] + PSEUDOCOUNT * shares_of(
            np.asarray(reference.profile.groups + PSEUDOCOUNT, np.float64)
        )
        self.chances = shares_of(groups)
        self._axes: Mapping[str, Axes] = pool.statistics.axes
        self._noise = _level_noise(reference, pool.samples, float(wander.sizes.sum()))
        statistics, sizes = pool.statistics, wander.sizes[usable]
        whole = {T2: shares_of(wander.counts[usable]), MAX_CHI2: shares_of(wander.counts[usable])}
        own = [pool.draw(self.rows[None, at : at + n]) for at, n in zip(self.first, self.size, strict=True)]
        pools = {name: np.concatenate([block[name] for block in own]) for name in own[0]}
        if CLASS_CHI2 in statistics.names:
            whole[CLASS_CHI2] = pools[CLASS_CHI2] = self.chances
        if COVARIANCE in statistics.names:
            whole[COVARIANCE] = wander.cross[usable] / sizes[:, None, None]
        self._own = pool.place(pools)
        self._added = {name: self._axes[name].effects(placed) for name, placed in pool.place(whole).items()}

    def elsewhere(
        self, placed: Windows, chosen: NDArray[np.int64], stretch: Floats, rng: "np.random.Generator"
    ) -> Windows:
        """The windows drawn from ``chosen`` blocks (n,), as on another day."""
        moved = {}
        for name, coordinates in placed.items():
            added, leverage = self._added[name]
            wide = stretch.reshape(-1, *(1,) * (coordinates.ndim - 1))
            error = self._noise[name] + (leverage[chosen] * wide[..., 0] ** 2)
            chance = rng.normal(size=coordinates.shape) * np.sqrt(error)[..., None]
            moved[name] = (
                self._axes[name].centre
                + coordinates
                - self._own[name][chosen]
                + wide * added[chosen]
                + chance
            )
        return moved


def _usable_blocks(wander: Wander) -> NDArray[np.int64]:
    """The blocks with enough calibration rows."""
    held = np.bincount(wander.calibration_blocks, minlength=len(wander.counts))
    return np.flatnonzero(held >= FEWEST_IN_BLOCK)


def _level_noise(reference: Reference, samples: int, rows: float) -> dict[str, float]:
    """Variance of each statistic's coordinates from not knowing the level exactly."""
    two_sample = samples / reference.profile.n
    share = two_sample / (1.0 + two_sample)
    return {T2: samples / rows, MAX_CHI2: share, CLASS_CHI2: share, COVARIANCE: samples / rows}


def _nearness(reference: Reference) -> float:
    """How much of the difference between calibration and profile rows to believe.

    They differ by the chance of both draws, the truth from the profile by that of one. With this
    share of the difference, drawn windows lie on average as far from the profile as true ones do;
    with all of it, thresholds would be too high and faults be missed.
    """
    rows = len(reference.calibration)
    return math.sqrt(rows / (rows + reference.profile.n))


def _group_chances(reference: Reference) -> Floats:
    """The chance of each group, (G,): never 0, for a group that no row happened to show."""
    known = reference.profile.groups
    drawn = np.bincount(reference.calibration_groups, minlength=len(known))
    nearness = _nearness(reference)
    mixed = (1.0 - nearness) * shares_of(known) + nearness * shares_of(drawn)
    return shares_of(mixed * (known.sum() + drawn.sum()) + PSEUDOCOUNT)
