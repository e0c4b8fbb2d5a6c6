"""The panel: three statistics of a window, one p-value, and a promise about false alarms.

T² asks whether the features' typical levels moved together, the largest per-feature χ² whether
any one distribution changed, the class χ² whether other classes are predicted. All three depend
on the window's counts alone, so a merged profile scores exactly like the whole. How large they
grow when nothing changed is learned from windows resampled out of the reference's calibration
rows; the smallest of the three p-values, corrected for having looked at three, is the panel's.
"""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from agent.contracts import DriftScore, Profile
from agent.monitor.bins import BINS, bin_indices
from agent.monitor.distances import PSEUDOCOUNT, chi_square, compare, shares_of
from agent.monitor.drift.null import Null, null_key
from agent.monitor.reference import Reference
from agent.monitor.scores import bin_scores

NAME = "panel"
RIDGE = 0.1
"""Share of the identity in the covariance that whitens: directions in which the reference hardly
varies (features that nearly determine each other) would otherwise be divided by almost nothing.
Scores have variance 1 or a little less, so the identity is in their own unit."""
_CHUNK_CELLS = 2**20

Floats = NDArray[np.float64]


class Statistics:
    """T², largest χ² and class χ² of windows judged as ``samples`` observations.

    A window is given as its *shares*: of its observations in each bin and in each group.
    """

    def __init__(self, reference: Reference, samples: int) -> None:
        self.names = ("t2", "max_chi2", "class_chi2")[: 3 if reference.groups.names else 2]
        self._samples = samples
        self._counts = reference.profile.counts
        self._groups = reference.profile.groups
        self._scores = bin_scores(self._counts)
        self._level = (shares_of(self._counts) * self._scores).sum(axis=-1)
        self._whiten = _whitening(reference.covariance)

    def of_features(self, shares: Floats) -> Floats:
        """T² and the largest χ², (n, 2), of n windows with these shares per bin (n, F, 16)."""
        moved = (shares * self._scores).sum(axis=-1) - self._level
        t2 = self._samples * ((moved @ self._whiten) ** 2).sum(axis=-1)
        return np.column_stack([t2, chi_square(self._counts, shares, self._samples).max(axis=-1)])

    def of_groups(self, shares: Floats) -> Floats:
        """The class χ², (n,), of n windows with these shares per group (n, G)."""
        return chi_square(self._groups, shares, self._samples)

    def of(self, profile: Profile) -> dict[str, float]:
        """All statistics of one window by name."""
        values = self.of_features(shares_of(profile.counts)[None])[0].tolist()
        if len(self._groups):
            values.append(float(self.of_groups(shares_of(profile.groups)[None])[0]))
        return dict(zip(self.names, values, strict=True))


def calibrate(reference: Reference, *, samples: int, resamples: int, seed: int) -> Null:
    """Learn what unchanged windows of ``samples`` observations look like, from ``resamples``
    windows drawn with replacement from the calibration rows. Memory stays below about 20 MB."""
    statistics = Statistics(reference, samples)
    rng = np.random.default_rng(seed)
    shares = _resampled_shares(reference, samples=samples, resamples=resamples, rng=rng)
    table = list(np.concatenate([statistics.of_features(chunk) for chunk in shares]).T)
    if reference.groups.names:
        drawn = rng.multinomial(samples, _group_chances(reference), size=resamples)
        table.append(statistics.of_groups(drawn / samples))
    return Null(
        names=statistics.names,
        samples=samples,
        key=null_key(reference, samples=samples, resamples=resamples, seed=seed),
        table=np.sort(np.array(table), axis=1),
    )


class Panel:
    """Scores windows of at least ``samples`` observations; a longer one is judged as if it held
    just so many, which can only lower its false-alarm rate."""

    name = NAME

    def __init__(self, *, reference: Reference, null: Null) -> None:
        """Raises ValueError when ``null`` has other statistics than this reference gives."""
        self._reference = reference
        self._null = null
        self._statistics = Statistics(reference, null.samples)
        if null.names != self._statistics.names:
            raise ValueError(f"null distribution of {null.names}, expected {self._statistics.names}")

    @property
    def samples(self) -> int:
        """Observations one score needs."""
        return self._null.samples

    def score(self, profile: Profile, alpha: float) -> DriftScore:
        """Score a window against the false-alarm probability ``alpha``.

        Raises ValueError when the profile counts other features or has too few observations.
        """
        if profile.features != self._reference.features:
            raise ValueError("the profile counts other features than the reference")
        if profile.n < self.samples:
            raise ValueError(f"expected at least {self.samples} observations, got {profile.n}")
        statistics = self._statistics.of(profile)
        p_values = self._null.p(statistics)
        # Šidák: with the smallest of S p-values, chance had S opportunities.
        p = -math.expm1(len(p_values) * math.log1p(-min(p_values.values())))
        own = [*statistics.items(), *((f"{name}_p", p) for name, p in p_values.items())]
        return DriftScore(
            detector=self.name,
            n=profile.n,
            p=p,
            alpha=alpha,
            statistics=tuple(own),
            distances=compare(self._reference, profile, samples=self.samples),
        )


def _whitening(covariance: Floats) -> Floats:
    """The matrix W with W Wᵀ = inverse of the covariance mixed with RIDGE of the identity."""
    mixed = (1.0 - RIDGE) * covariance + RIDGE * np.eye(len(covariance))
    variances, directions = np.linalg.eigh(mixed)
    # No smaller in exact arithmetic; a covariance from a file is only nearly one.
    whitening: Floats = directions / np.sqrt(np.maximum(variances, RIDGE))
    return whitening


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


def _resampled_shares(
    reference: Reference, *, samples: int, resamples: int, rng: "np.random.Generator"
) -> Iterator[Floats]:
    """Shares per bin (n, F, 16) of windows of ``samples`` calibration rows, n windows at a time."""
    shape = reference.profile.counts.shape
    width = shape[0] * shape[1]
    cells = bin_indices(reference.calibration, reference.edges) + np.arange(0, width, BINS)
    drawn = np.bincount(cells.ravel(), minlength=width).reshape(shape)
    offset = (1.0 - _nearness(reference)) * (shares_of(drawn) - shares_of(reference.profile.counts))
    at_once = max(1, _CHUNK_CELLS // max(samples * shape[0], 4 * width))
    for start in range(0, resamples, at_once):
        windows = min(at_once, resamples - start)
        picked = cells[rng.integers(0, len(cells), (windows, samples))]
        picked += (np.arange(windows) * width)[:, None, None]
        counts = np.bincount(picked.ravel(), minlength=windows * width).reshape(windows, *shape)
        yield np.maximum(counts / samples - offset, 0.0)
