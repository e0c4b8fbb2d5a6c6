"""The panel's statistics of a window: how much speaks against "nothing has changed".

Each statistic first places the window at *coordinates* that have variance 1 by chance: the levels of
the features (mean scores, whitened), the shares of each feature's bins, the shares of the predicted
classes, and for vectors the products of the elements (whitened, by their own standard deviation). It
then is the squared length, or where the reference wanders the distance that ``wander.Axes`` gives.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.contracts import Profile
from agent.monitor.bins import BINS
from agent.monitor.distances import PSEUDOCOUNT, shares_of
from agent.monitor.reference import Reference
from agent.monitor.scores import bin_scores, whitening
from agent.monitor.wander import Axes, share_axes_of

T2, MAX_CHI2, CLASS_CHI2, COVARIANCE = "t2", "max_chi2", "class_chi2", "covariance"
_MOST_AT_ONCE = 128
_PRODUCT_RIDGE = 0.02
"""Share of the identity in the correlations that whiten a vector's elements."""

Floats = NDArray[np.float64]


class Statistics:
    """T², the largest χ², the class χ² and the covariance of windows judged as ``samples``
    observations. Those a reference cannot have (no classes, no vector) are left out of ``names``."""

    def __init__(self, reference: Reference, samples: int) -> None:
        self.samples = samples
        self._profile = reference.profile
        known = reference.profile.counts
        scores = bin_scores(known)
        wander = reference.wander
        self._whiten = whitening(wander.within if wander else reference.covariance)
        level = wander.level if wander else (shares_of(known) * scores).sum(axis=-1)
        root = math.sqrt(samples)
        self._scores, self._root = scores, root
        # In one matrix where that is small: 134 MB for a thousand features.
        self._to_level = np.empty((0, 0))
        if len(known) <= _MOST_AT_ONCE:
            self._to_level = root * (scores[..., None] * self._whiten[:, None]).reshape(-1, len(known))
        self._level = root * (level @ self._whiten)
        self._bins = _Shares(known, samples)
        self._classes = _Shares(reference.profile.groups, samples)
        self.products = Products.of(reference) if len(reference.profile.cross) else None
        self.axes = self._axes(reference)
        names = {T2: True, MAX_CHI2: True, CLASS_CHI2: bool(reference.groups.names)}
        self.names = tuple(name for name, given in names.items() if given)
        if self.products:
            self.names += (COVARIANCE,)
        self._quick = self._quick_way()

    def coordinates(self, name: str, given: Floats) -> Floats:
        """Of n windows: from their shares per bin (n, F, 16) for T2 (n, F) and MAX_CHI2 (n, F, 16),
        shares per group (n, G) for CLASS_CHI2, covariance of the elements (n, V, V) for COVARIANCE."""
        if name == T2:
            if not self._to_level.size:
                moved: Floats = (given * self._scores).sum(axis=-1) @ self._whiten
                return self._root * moved - self._level
            return given.reshape(len(given), -1) @ self._to_level - self._level
        if name == COVARIANCE and self.products:
            return self.products.coordinates(given, self.samples)
        return (self._classes if name == CLASS_CHI2 else self._bins).coordinates(given)

    def judge(self, name: str, coordinates: Floats) -> Floats:
        """The statistic (n,) of windows at these coordinates."""
        if name in self.axes:
            distance = self.axes[name].distance(coordinates)
        else:
            distance = np.einsum("...d,...d->...", coordinates, coordinates)
        return distance.max(axis=-1) if name == MAX_CHI2 else distance

    def of(self, profile: Profile) -> dict[str, float]:
        """All statistics of one window by name."""
        if self._quick:
            return self._quick.of(profile)
        shares: Floats = np.asarray(profile.counts[None] / max(profile.n, 1), np.float64)
        given: dict[str, Floats] = {T2: shares, MAX_CHI2: shares}
        if CLASS_CHI2 in self.names:
            given[CLASS_CHI2] = shares_of(profile.groups)[None]
        if COVARIANCE in self.names:
            given[COVARIANCE] = profile.cross[None] / max(profile.n, 1)
        placed = {name: self.coordinates(name, given[name]) for name in self.names}
        return {name: float(self.judge(name, placed[name])[0]) for name in self.names}

    def _quick_way(self) -> "_Quick | None":
        """A way to the same numbers for references that neither wander nor have products."""
        if not self._to_level.size or self.axes or self.products or len(self._profile.groups) > BINS:
            return None
        return _Quick(self._profile, self.samples, self.names, self._to_level, self._level)

    def _axes(self, reference: Reference) -> dict[str, Axes]:
        """Where the reference's blocks wander, if it knows."""
        wander = reference.wander
        if wander is None:
            return {}
        scale = self.samples / float(wander.sizes.mean())
        found = {
            T2: wander.level_axes(self.samples),
            MAX_CHI2: share_axes_of(
                _Shares(reference.profile.counts, wander.sizes).coordinates(shares_of(wander.counts)),
                chance=np.maximum((reference.profile.counts > 0).sum(axis=-1) - 1.0, 1.0),
                scale=scale,
            ),
        }
        if wander.groups.shape[1]:
            known = _Shares(reference.profile.groups, wander.sizes)
            chance = np.array(max(float((reference.profile.groups > 0).sum()) - 1.0, 1.0))
            found[CLASS_CHI2] = share_axes_of(
                known.coordinates(shares_of(wander.groups)), chance=chance, scale=scale
            )
        if self.products:
            placed = self.products.coordinates(wander.cross / wander.sizes[:, None, None], wander.sizes)
            found[COVARIANCE] = share_axes_of(placed, chance=np.array(float(placed.shape[1])), scale=scale)
        return found


class _Quick:
    """``Statistics.of`` in a dozen calls of NumPy: the groups count as one more feature, whose
    missing bins add nothing."""

    def __init__(
        self, known: Profile, samples: int, names: tuple[str, ...], to_level: Floats, level: Floats
    ) -> None:
        self._names = names
        self._samples = samples
        # Row by row, of counts and not of shares: each call here takes about half a microsecond.
        self._to_level, self._level = np.ascontiguousarray(to_level.T / samples), level
        self._features, self._groups = len(known.features), len(known.groups)
        counts = np.concatenate([known.counts, np.zeros((1, BINS))]) + PSEUDOCOUNT
        counts[-1, : self._groups] = known.groups + PSEUDOCOUNT
        scale = np.sqrt(counts.sum(axis=1, keepdims=True) / samples)
        if self._groups:
            scale[-1] = math.sqrt(float(counts[-1, : self._groups].sum()) / samples)
        self._known, self._expected = counts, counts / scale
        self._scale = np.ascontiguousarray(np.broadcast_to(scale, counts.shape))
        self._all_bins = np.ones(BINS)
        self._expected[-1, self._groups :] = 0.0

    def of(self, profile: Profile) -> dict[str, float]:
        features, n = self._features, max(profile.n, 1)
        counts = np.zeros((features + 1, BINS))
        counts[:features] = profile.counts
        if self._groups:
            counts[features, : self._groups] = profile.groups
        if n != self._samples:
            counts *= self._samples / n
        moved = np.dot(self._to_level, counts[:features].ravel())
        moved -= self._level
        terms = counts * self._scale
        terms -= self._expected
        terms *= terms
        counts += self._known
        terms /= counts
        chi2 = np.dot(terms, self._all_bins).tolist()
        values = (float(np.dot(moved, moved)), max(chi2[:features]), chi2[features])
        return dict(zip(self._names, values, strict=False))


class _Shares:
    """Shares over bins or classes against the reference's counts ``known`` (…, B), as the signed
    roots of the terms of the two-sample χ² (see ``distances.chi_square``)."""

    def __init__(self, known: NDArray[np.int64], samples: "float | Floats") -> None:
        self._known = known + PSEUDOCOUNT
        judged = np.asarray(samples, dtype=np.float64)
        self._samples = judged.reshape(judged.shape + (1,) * (known.ndim if judged.ndim else 0))
        self._scale = np.sqrt(self._known.sum(axis=-1, keepdims=True) / self._samples)
        self._expected = self._known / self._scale
        self._counted_scale = self._scale * self._samples

    def coordinates(self, shares: Floats) -> Floats:
        """(n, …, B) of shares (n, …, B)."""
        spread = np.sqrt(shares * self._samples + self._known)
        placed: Floats = (shares * self._counted_scale - self._expected) / spread
        return placed


@dataclass(frozen=True, kw_only=True)
class Products:
    """Whitened products of a vector's V elements. whiten (V, V); expected (P,) and deviation (P,) of
    the P = V (V + 1) / 2 products of one row; low and high (V,) bound what one wild value can do."""

    whiten: Floats
    expected: Floats
    deviation: Floats
    low: Floats
    high: Floats

    @staticmethod
    def of(reference: Reference) -> "Products":
        elements = len(reference.profile.cross)
        covariance = reference.profile.cross / max(reference.profile.n, 1)
        if reference.wander:
            blocks = reference.wander
            freedom = max(float(blocks.sizes.sum()) - len(blocks.sizes), 1.0)
            covariance = blocks.cross.sum(axis=0) / freedom
        # An element that never varied is left in its own unit: any change of it is large.
        unit = np.sqrt(np.maximum(np.diag(covariance), np.finfo(np.float32).tiny))
        mixed = (1.0 - _PRODUCT_RIDGE) * covariance / np.outer(unit, unit) + _PRODUCT_RIDGE * np.eye(elements)
        variances, directions = np.linalg.eigh(mixed)
        whiten = directions / np.sqrt(np.maximum(variances, _PRODUCT_RIDGE)) / unit[:, None]
        rows = reference.calibration[:, :elements].astype(np.float64)
        margin = np.ptp(rows, axis=0)
        expected = _triangle((whiten.T @ covariance @ whiten)[None])[0]
        made = Products(
            whiten=whiten,
            expected=expected,
            deviation=np.ones_like(expected),
            low=rows.min(axis=0) - margin,
            high=rows.max(axis=0) + margin,
        )
        spread = _spread((rows - _levels(rows, reference)) @ whiten)
        return Products(whiten=whiten, expected=expected, deviation=spread, low=made.low, high=made.high)

    def coordinates(self, covariance: Floats, samples: "float | Floats") -> Floats:
        """(n, P) of the elements' covariances (n, V, V) in windows of ``samples`` observations."""
        root = np.sqrt(np.asarray(samples, dtype=np.float64)).reshape(-1, 1)
        whitened = _triangle(self.whiten.T @ covariance @ self.whiten)
        placed: Floats = (whitened - self.expected) / self.deviation * root
        return placed


def _levels(rows: Floats, reference: Reference) -> Floats:
    """The level (N, V) that each calibration row strays about: its block's, or that of all."""
    if reference.wander is None:
        return np.broadcast_to(rows.mean(axis=0), rows.shape)
    block = reference.wander.calibration_blocks
    sums = np.zeros((int(block.max()) + 1, rows.shape[1]))
    np.add.at(sums, block, rows)
    levels: Floats = (sums / np.maximum(np.bincount(block), 1)[:, None])[block]
    return levels


def _triangle(matrices: Floats) -> Floats:
    """The lower triangles (n, P) of matrices (n, V, V)."""
    rows, columns = np.tril_indices(matrices.shape[-1])
    lower: Floats = matrices[:, rows, columns]
    return lower


def _spread(placed: Floats) -> Floats:
    """Standard deviation (P,) of the products of single rows (N, V)."""
    rows, columns = np.tril_indices(placed.shape[1])
    found = np.array([(placed[:, i] * placed[:, j]).std() for i, j in zip(rows, columns, strict=True)])
    spread: Floats = np.maximum(found, 1e-6)
    return spread
