"""The baseline: assertions as ML-EXray describes them, on the same tensors.

H. Qiu, I. Vavelidou, J. Li, E. Pergament, P. Warden, S. Chinchali, Z. Asgar, S. Katti, "ML-EXray:
Visibility into ML deployment on the edge", MLSys 2022: where the edge's input differs from the
reference's, an assertion undoes one suspected bug and sees whether the two then agree. Three are
described for images: channel arrangement, normalization, orientation. This is a re-implementation of
that idea, kinder than what is published: it takes any dtype, fits each channel's scale by itself and
tries all channel orders, quarter turns and flips.
"""

from collections.abc import Iterator, Sequence
from itertools import permutations

import numpy as np

from agent.contracts import Array

_AGREES = 0.01
"""Mean absolute difference, in shares of the reference's range, below which two tensors agree."""
_VOTES = 0.5
"""Share of the samples in which an assertion must hold."""


def causes(found: Sequence[Array], expected: Sequence[Array]) -> tuple[str, ...]:
    """What the assertions accuse, in the paper's order; empty when nothing differs or none holds."""
    votes: dict[str, int] = {}
    for given, wanted in zip(found, expected, strict=True):
        for cause in _accused(given.astype(np.float32)[0], wanted.astype(np.float32)[0]):
            votes[cause] = votes.get(cause, 0) + 1
    enough = _VOTES * len(found)
    named = ("preprocess:color", "preprocess:normalize", "preprocess:rotate")
    return tuple(cause for cause in named if votes.get(cause, 0) > enough)


def _accused(found: Array, expected: Array) -> Iterator[str]:
    if _agree(found, expected):
        return
    if any(_agree(found[:, :, order], expected) for order in _orders(found.shape[2])):
        yield "preprocess:color"
    if _agree(_rescaled(found, expected), expected):
        yield "preprocess:normalize"
    if any(_agree(turned, expected) for turned in _turned(found)):
        yield "preprocess:rotate"


def _agree(found: Array, expected: Array) -> bool:
    if found.shape != expected.shape:
        return False
    span = float(np.ptp(expected)) or 1.0
    return float(np.abs(found - expected).mean()) <= _AGREES * span


def _orders(channels: int) -> list[list[int]]:
    return [list(order) for order in permutations(range(channels))][1:]


def _rescaled(found: Array, expected: Array) -> Array:
    """Each channel by the line that brings it nearest to the reference."""
    fitted = np.empty_like(found)
    for channel in range(found.shape[2]):
        x, y = found[:, :, channel], expected[:, :, channel]
        spread = float(x.var())
        slope = float(((x - x.mean()) * (y - y.mean())).mean()) / spread if spread else 0.0
        fitted[:, :, channel] = y.mean() + slope * (x - x.mean())
    return fitted


def _turned(found: Array) -> Iterator[Array]:
    for turns in (1, 2, 3):
        yield np.rot90(found, turns)
    yield found[:, ::-1]
    yield found[::-1]
