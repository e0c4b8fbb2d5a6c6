"""How far binned counts lie from the reference's, by the measures people know.

Each function takes two count arrays of shape (…, B) and returns float64 (…); an empty window lies
at distance 0. They describe; whether a distance is *surprising* only a detector says, with a
stated false-alarm rate.
"""

from collections import defaultdict
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from agent.contracts import FeatureDistance, Profile
from agent.monitor.bins import BINS
from agent.monitor.reference import Reference

PSEUDOCOUNT = 0.5
"""Added to every bin where an empty one would divide by zero."""
PREDICTED_CLASS, CLASS_FAMILY = "predicted class", "class"
"""Name and family of the distance between predicted classes: groups, not a feature."""
_VOTERS = 8

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]


def chi_square(reference: Counts, shares: Floats, samples: int) -> Floats:
    """χ² of two binned samples of unequal size, with PSEUDOCOUNT in every bin of the reference's.

    ``reference`` are counts (…, B), ``shares`` the window's counts over their sum, judged as
    ``samples`` observations. Both samples count as uncertain, so an observation in a bin that the
    reference never saw weighs a third of what it does in Pearson's one-sample form.
    Source: W. H. Press et al., Numerical Recipes, "Are two distributions different?".
    """
    known = reference + PSEUDOCOUNT
    counted = shares * samples
    scale = np.sqrt(known.sum(axis=-1, keepdims=True) / samples)
    statistic: Floats = ((counted * scale - known / scale) ** 2 / (counted + known)).sum(axis=-1)
    return statistic


def psi(reference: Counts, window: Counts) -> Floats:
    """Population stability index, Σ (q − p) ln(q / p), with PSEUDOCOUNT in every bin of both."""
    p = shares_of((reference + PSEUDOCOUNT).astype(np.float64))
    q = shares_of((window + PSEUDOCOUNT).astype(np.float64))
    index: Floats = ((q - p) * np.log(q / p)).sum(axis=-1)
    return index * _filled(window)


def kolmogorov_smirnov(reference: Counts, window: Counts) -> Floats:
    """Largest difference of the two cumulative distributions at a bin's end, 0 … 1."""
    largest: Floats = np.abs(_cumulative_difference(reference, window)).max(axis=-1, initial=0.0)
    return largest


def wasserstein(reference: Counts, window: Counts) -> Floats:
    """Earth mover's distance with bins one unit apart: how many bins an observation moved."""
    moved: Floats = np.abs(_cumulative_difference(reference, window)).sum(axis=-1)
    return moved


def jensen_shannon(reference: Counts, window: Counts) -> Floats:
    """Jensen–Shannon *distance*: root of the divergence in nats, 0 … √ln 2."""
    p, q = shares_of(reference), shares_of(window)
    middle = (p + q) / 2
    divergence = (_relative_entropy(p, middle) + _relative_entropy(q, middle)) / 2
    distance: Floats = np.sqrt(np.maximum(divergence, 0.0))
    return distance * _filled(window)


def compare(
    reference: Reference, profile: Profile, *, samples: int | None = None
) -> tuple[FeatureDistance, ...]:
    """Every feature's distance, and the predicted classes', from the reference: worst χ² first.

    The χ² is that of ``samples`` observations (default: as many as the profile has). Classes have
    no order: their ``ks`` and ``wasserstein`` are both the total variation distance.
    """
    judged = samples or max(profile.n, 1)
    found = _distances(profile.features, reference.families, reference.profile.counts, profile.counts, judged)
    if len(profile.groups):
        ours, theirs = reference.profile.groups[None], profile.groups[None]
        (classes,) = _distances((PREDICTED_CLASS,), (CLASS_FAMILY,), ours, theirs, judged)
        variation = float(np.abs(shares_of(ours) - shares_of(theirs)).sum() / 2 * _filled(theirs)[0])
        found.append(
            FeatureDistance(
                name=PREDICTED_CLASS,
                family=CLASS_FAMILY,
                chi2=classes.chi2,
                psi=classes.psi,
                ks=variation,
                wasserstein=variation,
                js=classes.js,
            )
        )
    return tuple(sorted(found, key=lambda distance: -distance.chi2))


def family_of(distances: Iterable[FeatureDistance]) -> str:
    """The family that the furthest features speak of: each of the 8 furthest votes with its χ²
    beyond what chance gives (one per bin)."""
    votes: dict[str, float] = defaultdict(float)
    for distance in sorted(distances, key=lambda distance: -distance.chi2)[:_VOTERS]:
        votes[distance.family] += max(distance.chi2 - BINS, 0.0)
    return max(votes, key=lambda family: votes[family], default="value")


def shares_of(counts: Counts | Floats) -> Floats:
    """Counts (…, B) over their sum; zeros stay zeros."""
    total = counts.sum(axis=-1, keepdims=True)
    shares: Floats = counts / np.where(total > 0, total, 1)
    return shares


def _filled(window: Counts) -> Floats:
    """1 where the window counted anything, else 0."""
    filled: Floats = (window.sum(axis=-1) > 0).astype(np.float64)
    return filled


def _cumulative_difference(reference: Counts, window: Counts) -> Floats:
    difference = np.cumsum(shares_of(reference) - shares_of(window), axis=-1)
    shifted: Floats = difference * _filled(window)[..., None]
    return shifted


def _relative_entropy(p: Floats, q: Floats) -> Floats:
    """Σ p ln(p / q) over the bins where p is not 0; there q is not 0 either."""
    ratio = np.divide(p, q, out=np.ones_like(p), where=p > 0)
    entropy: Floats = (p * np.log(ratio)).sum(axis=-1)
    return entropy


def _distances(
    names: tuple[str, ...], families: tuple[str, ...], reference: Counts, window: Counts, samples: int
) -> list[FeatureDistance]:
    chi2 = chi_square(reference, shares_of(window), samples) * _filled(window)
    measures = (psi, kolmogorov_smirnov, wasserstein, jensen_shannon)
    table = np.column_stack([chi2, *(measure(reference, window) for measure in measures)]).tolist()
    return [
        FeatureDistance(
            name=name, family=family, chi2=row[0], psi=row[1], ks=row[2], wasserstein=row[3], js=row[4]
        )
        for name, family, row in zip(names, families, table, strict=True)
    ]
