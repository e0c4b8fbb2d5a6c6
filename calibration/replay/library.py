"""The library of signatures: what each replayed fault looks like in the statistics of a window."""

import dataclasses

import numpy as np
from numpy.typing import NDArray

from agent.monitor import signatures
from agent.monitor.reference import Reference
from agent.monitor.signatures import Library
from calibration.replay.conditions import Condition, Replay

MOST_NUMBERS = 256
"""Signatures longer than that have no common basis: a matrix of so many squares would fill the bundle."""
SHRINKAGE = 0.6
"""Share of the scatter's mean that replaces the scatter, so that no direction is taken for certain."""
KEPT = 0.99
"""Share of healthy windows that are to be told as such."""
KNOWN = 0.9
"""Share of faults that are to be told as known when their own replay is left out."""
DRAWS, SEED = 400, 20260107
FEW = 40
"""Every so many of the draws are tried on one fault."""
WINDOW_PARTS = (2, 4)
"""Healthy windows of one half and a quarter of the inputs."""
UNSEEN = 1.25
"""What drawing from few inputs cannot show of healthy variety; found on photographs, see docs/causes.md."""
LEAST = 1e-6
"""Of a limit: inputs that are all alike must not make it 0."""

Floats = NDArray[np.float64]


def learn(replay: Replay, reference: Reference) -> Library:
    """The library of every condition but the healthy one.

    Raises ValueError when no fault was replayed, or the features are not the reference's.
    """
    healthy, *faults = replay.conditions
    if not faults:
        raise ValueError("no fault was replayed: there is nothing to match with")
    if replay.features != reference.features:
        raise ValueError("the replay has other features than the reference")
    usual = signatures.signature(healthy.rows, reference)
    vectors = np.stack([signatures.signature(fault.rows, reference) - usual for fault in faults])
    families = tuple(fault.family for fault in faults)
    chance = _halves(replay, reference, seed=SEED)
    scatter = shrunk(chance.T @ chance / len(chance), SHRINKAGE)
    basis, spread = _metric(scatter, _differences(vectors, families))
    library = Library(
        features=reference.features,
        kind="accuracy" if replay.kind != "mse" else "mse",
        inputs=len(healthy.rows),
        rows=reference.profile.n,
        families=families,
        names=tuple(fault.name for fault in faults),
        losses=tuple(_loss(fault, healthy, replay.kind) for fault in faults),
        vectors=vectors.astype(np.float32).astype(np.float64),
        basis=basis.astype(np.float32).astype(np.float64),
        spread=spread.astype(np.float32).astype(np.float64),
        shifted_above=1.0,
        pointed_above=1.0,
        unlike_above=1.0,
    )
    other = _halves(replay, reference, seed=SEED + 1)
    shifts = [library.shifts(one) for one in other]
    shifted, pointed = np.maximum(UNSEEN * np.quantile(shifts, KEPT, axis=0), LEAST).tolist()
    unlike = max(_unlike_above(library, other), LEAST)
    return dataclasses.replace(library, shifted_above=shifted, pointed_above=pointed, unlike_above=unlike)


def _loss(fault: Condition, healthy: Condition, kind: str) -> float | None:
    """Points of accuracy lost, or rise of the mean squared error."""
    if fault.loss is None or healthy.loss is None:
        return None
    unit = 1.0 if kind == "mse" else 100.0
    return round(unit * float(fault.loss.mean() - healthy.loss.mean()), 6)


def _halves(replay: Replay, reference: Reference, *, seed: int) -> Floats:
    """Signatures of one frame, as far as chance goes: differences of two disjoint sets of healthy
    inputs, large and small, over the deviation that their sizes explain. (DRAWS, D)."""
    rows = np.concatenate([replay.held_out.rows, replay.conditions[0].rows])
    rng = np.random.default_rng(seed)
    along = signatures.axes_of(reference)
    found = []
    for at in range(DRAWS):
        size = max(len(rows) // WINDOW_PARTS[at % len(WINDOW_PARTS)], 2)
        drawn = rows[rng.permutation(len(rows))]
        window, rest = (
            signatures.signature(part, reference, along=along) for part in (drawn[:size], drawn[size:])
        )
        found.append((window - rest) / np.sqrt(1 / size + 1 / (len(rows) - size)))
    return np.array(found)


def shrunk(covariance: Floats, share: float) -> Floats:
    """``covariance`` drawn towards a sphere of the same mean variance."""
    mean = max(float(np.trace(covariance)) / len(covariance), 1e-12)
    return (1 - share) * covariance + share * mean * np.eye(len(covariance))


def _differences(vectors: Floats, families: tuple[str, ...]) -> Floats:
    """From each fault to the closest other one of its family, over its own length: (M, D)."""
    found = []
    for at, vector in enumerate(vectors):
        length = float(np.linalg.norm(vector))
        others = [i for i, family in enumerate(families) if family == families[at] and i != at]
        if others and length > 0:
            apart = vectors[others] - vector
            found.append(apart[np.argmin((apart**2).sum(axis=1))] / length)
    return np.array(found).reshape(-1, vectors.shape[1])


def _metric(scatter: Floats, differences: Floats) -> tuple[Floats, Floats]:
    """The basis in which ``scatter`` is 1 and the spread of ``differences`` diagonal, and that spread."""
    numbers = len(scatter)
    if numbers > MOST_NUMBERS:
        inverse = 1 / np.sqrt(np.diag(scatter))
        spread = (differences**2).mean(axis=0) if len(differences) else np.zeros(numbers)
        return inverse[None], spread * inverse**2
    values, axes = np.linalg.eigh(scatter)
    white = axes / np.sqrt(values)
    between = (differences @ white).T @ (differences @ white) / max(len(differences), 1)
    # A few differences span a few directions; new implementations differ in the others as well.
    unseen = numbers / (numbers + len(differences))
    spread, turned = np.linalg.eigh(shrunk(between, unseen))
    return white @ turned, np.maximum(spread, 0.0)


def _unlike_above(library: Library, chance: Floats) -> float:
    """The KNOWN quantile of the distance of each fault, seen in a window as long as the replay, from
    the other faults, where its family has any."""
    noise = np.sqrt(library.noise(library.inputs))
    found = []
    for at, family in enumerate(library.families):
        others = np.arange(len(library.families)) != at
        if not any(library.families[i] == family for i in np.flatnonzero(others)):
            continue
        for drawn in chance[at % FEW :: FEW]:
            distances = library.distances(library.vectors[at] + noise * drawn, library.inputs)
            found.append(float(distances[others].min()))
    return float(np.sqrt(np.quantile(found, KNOWN))) if found else 1.0
