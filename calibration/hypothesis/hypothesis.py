"""What every family of hypotheses shares: the scene to be explained, a difference, the fits.

A *scene* is one sample seen from both sides: the decoded original, the picture that the spec makes
of it before colour order and values change (``base``, RGB in levels of 0..255), and the tensor that
was found, as H×W×C in its own numbers. A hypothesis predicts pictures; how well it does is the share
of the found tensor's variance that no straight line over the prediction explains, so that geometry
can be judged before the values are understood.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from agent.contracts import Array, Image

Floats: TypeAlias = NDArray[np.floating[Any]]

STEPS = ("decode", "crop", "resize", "pad", "rotate", "color", "normalize", "cast")
"""In the order in which a difference is met first."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """One thing that the found preprocessing does otherwise. ``text`` completes "<step>: …"."""

    step: str
    kind: str
    text: str


def rank(difference: Difference) -> float:
    """The order of the steps; but bytes are misread before they are normalized."""
    if difference.kind == "signedness":
        return STEPS.index("color") + 0.5
    return float(STEPS.index(difference.step) if difference.step in STEPS else -1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """One sample. ``original``: H×W×3 RGB as the spec decodes them; ``pixels``: the same behind the
    spec's ``rotate``; ``base``: the spec's picture, float32, in levels; ``found``: float32, of the same
    height and width."""

    original: Image
    pixels: Image
    base: Floats
    found: Floats


@dataclass(frozen=True, kw_only=True, slots=True)
class Lines:
    """Straight lines from predicted levels to found numbers, one per channel."""

    gain: Floats
    offset: Floats
    unexplained: float


def unexplained(predicted: Floats, found: Floats) -> float:
    """Share of ``found``'s variance (…×C) that a line over ``predicted`` per channel leaves: 0..1.

    Of what is not clipped, see ``inner_rows``.
    """
    rows, wanted = predicted.reshape(-1, predicted.shape[-1]), found.reshape(-1, found.shape[-1])
    keep = inner_rows(wanted)
    p, f = _centred(rows if keep is None else rows[keep]), _centred(wanted if keep is None else wanted[keep])
    total = float(np.einsum("nc,nc->", f, f))
    if total <= 0.0:
        return 1.0
    power = np.einsum("nc,nc->c", p, p)
    cross = np.einsum("nc,nc->c", p, f)
    gained = float(np.sum(cross**2 / np.maximum(power, 1e-9)))
    return min(max(1.0 - gained / total, 0.0), 1.0)


def inner_rows(found: Floats) -> NDArray[np.bool_] | None:
    """Rows of (n, C) in which no channel is clipped: at its lowest or highest number, where more than one
    in 200 is. None: all of them, also where hardly any would be left."""
    keep: NDArray[np.bool_] | None = None
    for c in range(found.shape[1]):
        column = found[:, c]
        for end in (column.min(), column.max()):
            at_end = column == end
            if np.count_nonzero(at_end) * 200 > len(column):
                keep = ~at_end if keep is None else keep & ~at_end
    return keep if keep is not None and np.count_nonzero(keep) * 10 > len(found) else None


def fit_lines(predicted: Floats, found: Floats) -> Lines:
    """Least squares per channel over all rows of (n, C)."""
    mean_p, mean_f = predicted.mean(0, dtype=np.float64), found.mean(0, dtype=np.float64)
    p, f = predicted - mean_p, found - mean_f
    gain = (p * f).sum(0) / np.maximum((p * p).sum(0), 1e-9)
    left = float(((f - gain * p) ** 2).sum() / max(float((f * f).sum()), 1e-12))
    return Lines(gain=gain, offset=mean_f - gain * mean_p, unexplained=left)


def fit_mixing(predicted: Floats, found: Floats) -> tuple[Floats, Floats, float]:
    """Least squares of every found channel on all predicted ones: matrix (C, 3), offset, unexplained."""
    mean_p, mean_f = predicted.mean(0, dtype=np.float64), found.mean(0, dtype=np.float64)
    p, f = predicted - mean_p, found - mean_f
    # A little ridge: a grey picture has three equal channels, and then any mixture of them will do.
    normal = p.T @ p
    normal += np.eye(normal.shape[0]) * 1e-6 * max(float(np.trace(normal)), 1e-9)
    matrix = np.linalg.solve(normal, p.T @ f).T
    rest = f - p @ matrix.T
    left = float((rest * rest).sum() / max(float((f * f).sum()), 1e-12))
    return matrix, mean_f - matrix @ mean_p, left


def levels_error(share: float, predicted: Floats) -> float:
    """The unexplained ``share`` as a root mean square in levels of 0..255."""
    kept = max(1.0 - share, 1e-6)
    spread = float(np.sqrt(np.mean(np.var(predicted.reshape(-1, predicted.shape[-1]), axis=0))))
    return float(np.sqrt(share / kept)) * spread


def pooled(arrays: Sequence[Array], step: int = 1) -> Floats:
    """All pixels of H×W×C arrays as (n, C); ``step`` takes every so many rows and columns."""
    return np.concatenate([a[::step, ::step].reshape(-1, a.shape[-1]) for a in arrays])


def _centred(values: Floats) -> Floats:
    return np.asarray(values - values.mean(0))
