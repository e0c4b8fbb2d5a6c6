"""Affine quantization: ``value = scale * (stored - zero_point)``, as TFLite defines it."""

from functools import lru_cache
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from agent.contracts import Array, TensorSpec

Rounding: TypeAlias = Literal["half_even", "half_away", "truncate", "floor"]
"""How a quotient becomes an integer; see ``quantize`` for the order of operations of each."""
ROUNDINGS: tuple[Rounding, ...] = get_args(Rounding)


def quantize(values: ArrayLike, spec: TensorSpec, rounding: Rounding = "half_away") -> Array:
    """Real numbers to what the tensor ``spec`` stores, in ``spec.dtype``, saturated to its range.

    Arithmetic is float32 for float32 and 8/16-bit values and float64 for the rest.
    ``half_away`` (TFLite's own QUANTIZE kernel) and ``half_even`` (XNNPACK's, ``np.round``) round
    ``value / scale`` to the nearest integer and then add the zero point; ``truncate`` (what
    ``(value / scale + zero_point).astype(…)`` does) and ``floor`` add the zero point first.
    A tensor without a scale takes the numbers as they are: cast if float, else rounded and
    saturated. NaN has no stored value: the caller keeps it out.
    """
    numbers = _floating(np.asarray(values))
    if not np.issubdtype(np.dtype(spec.dtype), np.integer):
        return numbers.astype(spec.dtype)
    if spec.quantized:
        numbers = numbers / numbers.dtype.type(spec.scale)
    offset = spec.zero_point if spec.quantized else 0
    return _saturate(_integers(numbers, offset, rounding), spec.dtype)


def dequantize(array: Array, spec: TensorSpec) -> NDArray[np.float32]:
    """Stored numbers to real ones, float32; a tensor without a scale is only cast."""
    if not spec.quantized:
        return array.astype(np.float32)
    if array.dtype.itemsize == 1:
        # One look-up instead of four passes: most outputs are 8-bit, and every frame has some.
        return _table(array.dtype.str, spec.scale, spec.zero_point)[array.view(np.uint8)]
    return _dequantize(array, spec.scale, spec.zero_point)


def _dequantize(array: Array, scale: float, zero_point: int) -> NDArray[np.float32]:
    offset = array.astype(np.int32) - np.int32(zero_point)
    return offset.astype(np.float32) * np.float32(scale)


@lru_cache(maxsize=32)
def _table(dtype: str, scale: float, zero_point: int) -> NDArray[np.float32]:
    """The value of each of the 256 bytes a tensor of ``dtype`` can store."""
    return _dequantize(np.arange(256, dtype=np.uint8).view(dtype), scale, zero_point)


def _floating(values: Array) -> NDArray[Any]:
    if values.dtype == np.float64 or values.dtype == np.float32:
        return values
    return values.astype(np.float32 if values.dtype.itemsize <= 2 else np.float64)


def _integers(numbers: NDArray[Any], offset: int, rounding: Rounding) -> NDArray[Any]:
    shift = numbers.dtype.type(offset)
    if rounding == "half_even":
        return np.asarray(np.rint(numbers) + shift)
    if rounding == "half_away":
        # Not trunc(x + copysign(.5, x)): for the largest float below .5 that sum rounds up to 1.
        whole = np.trunc(numbers)
        away = np.abs(numbers - whole) >= 0.5
        return np.asarray(whole + np.where(away, np.copysign(1, numbers), 0).astype(numbers.dtype) + shift)
    if rounding == "truncate":
        return np.asarray(np.trunc(numbers + shift))
    return np.asarray(np.floor(numbers + shift))


def _saturate(numbers: NDArray[Any], dtype: str) -> Array:
    limits = np.iinfo(dtype)
    low, high = numbers.dtype.type(limits.min), numbers.dtype.type(limits.max)
    stored: Array = np.clip(numbers, low, high).astype(dtype)
    return stored
