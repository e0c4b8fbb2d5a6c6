"""The steps for sensor readings: ``select``, ``impute``, ``clip``, ``standardize``; float64 (n,).

A parameter of one number holds for every element, else there is one per element.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from agent.contracts import Vector
from agent.errors import FrameError

_LARGEST: Final = float(np.finfo(np.float32).max)


@dataclass(frozen=True, kw_only=True, slots=True)
class Select:
    """Keep some elements, in the order given.

    Either ``indices`` (from 0), or ``names`` out of ``columns``, the names of all elements of a
    reading in their order; then a reading of another length is refused.
    """

    NAME = "select"
    KIND = ""
    REVISION = 1

    indices: tuple[int, ...] = ()
    names: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()

    def problems(self) -> list[str]:
        if bool(self.indices) == bool(self.names):
            return ["expected either indices, or names with columns"]
        found = [f"indices: expected 0 or more, got {i}" for i in self.indices if i < 0]
        found += [f"names: {n!r} is not in columns" for n in self.names if n not in self.columns]
        if len(set(self.columns)) != len(self.columns):
            found.append("columns: a name appears twice")
        if self.indices and self.columns and max(self.indices) >= len(self.columns):
            found.append(f"indices: {max(self.indices)} lies beyond the {len(self.columns)} columns")
        return found

    @property
    def positions(self) -> tuple[int, ...]:
        return self.indices or tuple(self.columns.index(name) for name in self.names)

    def length_after(self, length: int | None) -> int | None:
        return len(self.positions)

    def apply(self, vector: Vector) -> Vector:
        if self.columns and len(vector) != len(self.columns):
            raise FrameError(f"select: expected {len(self.columns)} elements, got {len(vector)}")
        if max(self.positions) >= len(vector):
            raise FrameError(f"select: no element {max(self.positions)} in a reading of {len(vector)}")
        return vector.take(self.positions)


@dataclass(frozen=True, kw_only=True, slots=True)
class Impute:
    """Replace elements that are missing (NaN) by ``fill``."""

    NAME = "impute"
    KIND = ""
    REVISION = 1

    fill: tuple[float, ...]

    def problems(self) -> list[str]:
        return _empty("fill", self.fill)

    def length_after(self, length: int | None) -> int | None:
        return _length(length, self.fill)

    def apply(self, vector: Vector) -> Vector:
        return np.where(np.isnan(vector), _fitted(self.NAME, self.fill, vector), vector)


@dataclass(frozen=True, kw_only=True, slots=True)
class Clip:
    """Limit each element to ``low`` … ``high``; a missing element (NaN) stays missing."""

    NAME = "clip"
    KIND = ""
    REVISION = 1

    low: tuple[float, ...]
    high: tuple[float, ...]

    def problems(self) -> list[str]:
        found = _empty("low", self.low) + _empty("high", self.high) + _unequal(low=self.low, high=self.high)
        if not found and np.any(np.asarray(self.low) > np.asarray(self.high)):
            found.append("high: expected at least low in every element")
        return found

    def length_after(self, length: int | None) -> int | None:
        return _length(length, self.low, self.high)

    def apply(self, vector: Vector) -> Vector:
        low, high = _fitted(self.NAME, self.low, vector), _fitted(self.NAME, self.high, vector)
        return np.minimum(np.maximum(vector, low), high)


@dataclass(frozen=True, kw_only=True, slots=True)
class Standardize:
    """``(element - mean) / std`` in float64."""

    NAME = "standardize"
    KIND = ""
    REVISION = 1

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def problems(self) -> list[str]:
        found = _empty("mean", self.mean) + _empty("std", self.std) + _unequal(mean=self.mean, std=self.std)
        return found + (["std: expected numbers other than 0"] if 0.0 in self.std else [])

    def length_after(self, length: int | None) -> int | None:
        return _length(length, self.mean, self.std)

    def apply(self, vector: Vector) -> Vector:
        mean, std = _fitted(self.NAME, self.mean, vector), _fitted(self.NAME, self.std, vector)
        return (vector - mean) / std


def read_vector(payload: object) -> Vector:
    """A frame's payload as float64 (n,). Raises FrameError when it is no reading."""
    if isinstance(payload, np.ndarray) and payload.ndim == 1 and payload.dtype.kind in "fiu" and payload.size:
        return payload.astype(np.float64, copy=False)
    got = f"an array of shape {payload.shape}" if isinstance(payload, np.ndarray) else type(payload).__name__
    raise FrameError(f"expected a reading (a vector of numbers), got {got}")


def require_finite(vector: Vector) -> None:
    """Raises FrameError naming the elements that no model can take (NaN, or beyond float32)."""
    # Written so that NaN, which compares as False, is caught too.
    usable = np.abs(vector) <= _LARGEST
    if not usable.all():
        places = ", ".join(map(str, np.flatnonzero(~usable)[:10]))
        raise FrameError(f"cast: element {places} is missing or too large (add impute and clip steps)")


def _fitted(step: str, values: tuple[float, ...], vector: Vector) -> Vector:
    if len(values) not in (1, len(vector)):
        raise FrameError(f"{step}: expected {len(values)} elements, got {len(vector)}")
    return np.asarray(values, np.float64)


def _length(length: int | None, *parameters: tuple[float, ...]) -> int | None:
    """The length a step expects, so far as it or its parameters say; ``length`` when they agree."""
    wanted = max(len(values) for values in parameters)
    return length if wanted == 1 else wanted


def _empty(name: str, values: tuple[float, ...]) -> list[str]:
    return [] if values else [f"{name}: expected at least one number"]


def _unequal(**parameters: tuple[float, ...]) -> list[str]:
    lengths = {name: len(values) for name, values in parameters.items()}
    if len(set(lengths.values()) - {1}) <= 1:
        return []
    return [
        f"{' and '.join(lengths)}: expected the same length, got {' and '.join(map(str, lengths.values()))}"
    ]
