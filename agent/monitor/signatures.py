"""Which replayed fault does a window of frames look most like?

A *signature* says how a window of frames lies against the training reference: for every feature the
shift of its mean in the reference's standard deviations, and the logarithm of how much wider it
spreads; for vectors also the latter along the reference's principal axes, where columns that went out
of step show. At pack time the golden inputs are run through many faults, and the signature of each is
kept in a *library*. On the device the closest one by cosine of the whitened shifts is named, with that
cosine: a direction hardly depends on how strong the fault is. Whether anything in the library is close
at all is not said by an angle but by the Mahalanobis distance to the nearest fault.

What a window cannot tell from chance is measured by the *scatter*: the covariance of a signature of
one frame, so that of ``n`` independent frames is ``scatter / n``. Beyond it implementations of one
fault differ, in proportion to the strength. Both are diagonal in one common basis, in which every
distance is a sum.
"""

import dataclasses
import json
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from agent import npy
from agent.monitor.reference import Reference
from agent.monitor.signature_file import FaultEntry, SignatureFile, parse, parse_table

FURTHEST = 2.0
"""Means further than so many deviations, and widths further than so many powers of e, count as so far:
a direction must not be that of the one feature that jumped most."""
SIMPLE = 0.03
"""A mix of two faults has to be closer by so much, in cosine, than one fault alone."""
STRENGTH = 0.06
"""What a fault replayed e times stronger or weaker than the window loses in cosine when it is ranked:
of two that point alike, the one of like strength comes first."""
NARROWEST = 0.02
"""Of the reference's width: less counts as so much."""
SUPPORT, ALONE = 0.1, 0.1
"""Two implementations of a fault that resemble the window say more than one: a family ranks by its
closest, moved by a share SUPPORT towards its second closest (ALONE less where it has only one)."""
OWN = 2
"""A device's own baseline shows its site at least so many times as well as the replayed inputs do."""
_TINY = 1e-12
MOST_AXES = 64
"""More vector elements than that have no principal axes: the signature has to stay cheap."""
_HAIR = 1e-3
"""Of a feature's mean: the least deviation of a feature that was constant in training."""
_VALUE = "value"

Floats = NDArray[np.float64]
Axes = tuple[NDArray[np.int64], Floats, Floats]


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A replayed fault, and its cosine (-1 … 1) with the window."""

    family: str
    name: str
    cosine: float
    loss: float | None
    """What it cost when it was replayed: points of accuracy, or mean squared error."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Match:
    """``ranked``: the closest fault of each family, best first; empty when ``nothing`` differs.

    ``distance`` is the Mahalanobis distance to the nearest fault over the largest that another
    implementation of a replayed fault is expected to have: above 1 the window is
    ``unlike_anything`` replayed. ``shift`` is the distance from the reference over the largest that
    chance explains: up to 1 ``nothing`` differs.
    """

    ranked: tuple[Candidate, ...]
    nearest: str
    distance: float
    shift: float

    @property
    def nothing(self) -> bool:
        return self.shift <= 1.0

    @property
    def unlike_anything(self) -> bool:
        return not self.nothing and self.distance > 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Library:
    """K faults replayed on ``inputs`` inputs, as signatures of D numbers against ``rows`` profile rows.

    ``families``, ``names`` and ``losses`` have K entries; vectors float64 (K, D) are the faults'
    signatures less the healthy one of the same inputs. basis float64 (D, D) holds, as columns, the
    directions in which the scatter is 1, or (1, D) the inverse deviation of each number where D is
    large. ``spread`` float64 (D,): along them, the variance between implementations of one fault over
    the square of its length. ``shifted_above`` and ``pointed_above`` limit what chance does to the two
    shifts (``shifts``), ``unlike_above`` how far an implementation lies from a known fault.
    """

    features: tuple[str, ...]
    kind: Literal["accuracy", "mse"]
    inputs: int
    rows: int
    families: tuple[str, ...]
    names: tuple[str, ...]
    losses: tuple[float | None, ...]
    vectors: Floats
    basis: Floats
    spread: Floats
    shifted_above: float
    pointed_above: float
    unlike_above: float

    def match(self, signature: Floats, effective_n: float, *, usual: Floats | None = None) -> Match:
        """What a window with ``signature`` (D,), worth ``effective_n`` independent frames, looks like.

        ``usual`` is the signature of this device's own baseline: then what is explained is the
        change since, not all that sets the device apart from training.
        Raises ValueError for a signature of another length.
        """
        if signature.shape != (self.vectors.shape[1],):
            raise ValueError(f"expected a signature of {self.vectors.shape[1]} numbers")
        moved = signature if usual is None else signature - usual
        noise = self.noise(effective_n, own=usual is not None)
        shifted, pointed = self.shifts(moved) / np.sqrt(noise)
        shift = float(max(shifted / self.shifted_above, pointed / self.pointed_above))
        distances = np.sqrt(self.distances(moved, effective_n)) / self.unlike_above
        nearest = int(np.argmin(distances))
        return Match(
            ranked=self._ranked(moved) if shift > 1 else (),
            nearest=f"{self.families[nearest]} ({self.names[nearest]})",
            distance=float(distances[nearest]),
            shift=shift,
        )

    def whitened(self, signatures: Floats) -> Floats:
        """``signatures`` (…, D) in the basis where the scatter of one frame is 1 in every direction."""
        if len(self.basis) == 1:
            return np.asarray(signatures * self.basis[0])
        return np.asarray(signatures @ self.basis)

    def shifts(self, moved: Floats) -> Floats:
        """How far ``moved`` (D,) lies from the reference in units of one frame's scatter, float64 (2,):
        root mean square over all directions, which sees anything large, and along the replayed fault
        it lies furthest along, which sees a known fault that moves few numbers."""
        white = self.whitened(moved)
        faults = self.whitened(self.vectors)
        lengths = np.linalg.norm(faults, axis=1)
        along = np.divide(faults @ white, lengths, out=np.zeros(len(faults)), where=lengths > 0)
        return np.array([np.sqrt((white**2).mean()), along.max()])

    def distances(self, moved: Floats, effective_n: float) -> Floats:
        """Squared Mahalanobis distance (K,) from each fault: chance and other implementations."""
        length = (self.vectors**2).sum(axis=1, keepdims=True)
        variance = self.noise(effective_n) + length * self.spread
        apart = (self.whitened(moved - self.vectors) ** 2 / variance).mean(axis=1)
        return np.asarray(apart, dtype=np.float64)

    def noise(self, effective_n: float, *, own: bool = False) -> float:
        """Variance of the whitened signature of a window worth ``effective_n`` frames: its own, and that
        of what it is compared with, the bundle's reference or the device's ``own`` baseline. Long
        windows are not trusted beyond what so few inputs can show."""
        known = min(self.inputs, self.rows) * (OWN if own else 1)
        return 1 / max(effective_n, 1.0) + 1 / known

    def _ranked(self, moved: Floats) -> tuple[Candidate, ...]:
        faults, white = self.whitened(self.vectors), self.whitened(moved)
        cosines = cosine(faults, white)
        lengths = np.maximum(np.linalg.norm(faults, axis=1), _TINY)
        stronger = np.log(max(float(np.linalg.norm(white)), _TINY) / lengths)
        mixed = np.array(["+" in family for family in self.families])
        closeness = cosines - STRENGTH * stronger**2 - SIMPLE * mixed
        members: dict[str, list[int]] = {}
        for at in np.argsort(-closeness, kind="stable").tolist():
            members.setdefault(self.families[at], []).append(at)
        ranked = sorted(members.values(), key=lambda found: -_supported(closeness[found]))
        return tuple(
            Candidate(
                family=self.families[first],
                name=self.names[first],
                cosine=float(cosines[first]),
                loss=self.losses[first],
            )
            for first, *_ in ranked
        )


def _supported(closeness: Floats) -> float:
    """A family's closest implementation (the first), drawn towards its second closest."""
    first = float(closeness[0])
    second = float(closeness[1]) if len(closeness) > 1 else first - ALONE
    return first + SUPPORT * (second - first)


def cosine(vectors: Floats, signature: Floats) -> Floats:
    """The cosine (K,) of each of ``vectors`` (K, D) with ``signature`` (D,); 0 for one without length."""
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(signature)
    products = vectors @ signature
    return np.asarray(np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0))


def signature(rows: NDArray[np.float32], reference: Reference, *, along: Axes | None = None) -> Floats:
    """The signature of ``rows`` (N, F), N at least 2, against ``reference``: float64 (D,).

    Raises ValueError for fewer rows.
    """
    if len(rows) < 2:
        raise ValueError(f"a signature needs at least 2 rows, got {len(rows)}")
    centre, deviation = standard(reference)
    values = (np.asarray(rows, dtype=np.float64) - centre) / deviation
    made = np.concatenate([values.mean(axis=0), _widths(values, along or axes_of(reference))])
    return np.asarray(np.clip(made, -FURTHEST, FURTHEST))


def standard(reference: Reference) -> tuple[Floats, Floats]:
    """Mean and standard deviation (F,) of the profile rows; the latter never 0."""
    profile = reference.profile
    deviation = np.sqrt(profile.m2 / max(profile.n, 1))
    return profile.mean, np.maximum(deviation, _HAIR * np.maximum(np.abs(profile.mean), _HAIR))


def axes_of(reference: Reference) -> Axes | None:
    """The vector's elements, their principal axes (V, V) and the usual deviation along each; None for
    images."""
    at = _elements(reference)
    if not 2 <= len(at) <= MOST_AXES:
        return None
    correlation = _correlation(reference, at)
    axes = np.linalg.eigh(correlation)[1]
    variances = np.einsum("ik,ij,jk->k", axes, correlation, axes)
    return at, axes, np.sqrt(np.maximum(variances, NARROWEST**2))


def _widths(values: Floats, along: Axes | None) -> Floats:
    """Log deviations of standardized ``values`` (N, F), and along the axes of the vector's part."""
    widths = [values.std(axis=0)]
    if along is not None:
        at, axes, usual = along
        widths.append((values[:, at] @ axes).std(axis=0) / usual)
    joined = np.concatenate(widths)
    return np.asarray(np.log(np.maximum(joined, NARROWEST)), dtype=np.float64)


def _elements(reference: Reference) -> NDArray[np.int64]:
    return np.flatnonzero([family == _VALUE for family in reference.families])


def _correlation(reference: Reference, at: NDArray[np.int64]) -> Floats:
    centre, deviation = standard(reference)
    values = (reference.calibration[:, at].astype(np.float64) - centre[at]) / deviation[at]
    away = values - values.mean(axis=0)
    made: Floats = away.T @ away / len(away)
    return made


def encode(library: Library) -> tuple[bytes, bytes]:
    """``signatures.json`` and ``signatures.npy``; ``decode`` gives back the same library."""
    named = zip(library.families, library.names, library.losses, strict=True)
    file = SignatureFile(
        schema="litewatch.signatures/1",
        kind=library.kind,
        inputs=library.inputs,
        rows=library.rows,
        shifted_above=library.shifted_above,
        pointed_above=library.pointed_above,
        unlike_above=library.unlike_above,
        features=library.features,
        faults=tuple(FaultEntry(family=family, name=name, loss=loss) for family, name, loss in named),
    )
    table = np.concatenate([library.vectors, library.spread[None], library.basis])
    text = json.dumps(dataclasses.asdict(file), allow_nan=False, indent=1, ensure_ascii=False)
    return text.encode() + b"\n", npy.encode(table.astype(np.float32))


def decode(json_bytes: bytes, npy_bytes: bytes, *, features: tuple[str, ...] | None = None) -> Library:
    """The library in ``signatures.json`` and ``signatures.npy``, of ``features`` where given.

    Raises BundleError with every problem by dotted path.
    """
    file = parse(json_bytes, features)
    vectors, spread, basis = parse_table(npy_bytes, file)
    return Library(
        features=file.features,
        kind=file.kind,
        inputs=file.inputs,
        rows=file.rows,
        families=tuple(fault.family for fault in file.faults),
        names=tuple(fault.name for fault in file.faults),
        losses=tuple(fault.loss for fault in file.faults),
        vectors=vectors,
        basis=basis,
        spread=spread,
        shifted_above=file.shifted_above,
        pointed_above=file.pointed_above,
        unlike_above=file.unlike_above,
    )
