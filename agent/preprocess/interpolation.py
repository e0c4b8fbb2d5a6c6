"""Separable resampling exactly as Pillow and TensorFlow do it, without either of them.

Pillow: antialiased, the kernel widened by the scale; 8-bit images with coefficients in fixed
point of 22 bits, rounded and saturated to 8 bits between the two passes. Sums are integers below
2^53, so float64 arithmetic is exact in whatever order it adds, and the result is Pillow's bit for
bit. The order of the passes shows in the rounding: up to version 12 horizontal first; since
version 13 vertical first where the height shrinks by more than twice as many pixels as the width.

TensorFlow (op ``ResizeBilinear`` with ``half_pixel_centers``): no antialias, float32 throughout,
``top = a + (b - a) * x``, ``bottom`` likewise, ``top + (bottom - top) * y``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.contracts import Array, Image

Kernel: TypeAlias = Literal["bilinear", "bicubic"]
_PRECISION_BITS = 22
_BICUBIC_A = -0.5


@dataclass(frozen=True, slots=True)
class _Taps:
    """Which inputs each output sums: ``first[i]`` onwards, weighted by ``weights[i]``."""

    first: tuple[int, ...]
    weights: tuple[NDArray[np.float64], ...]


def resize_pillow(image: Image, width: int, height: int, kernel: Kernel, *, pillow13: bool) -> Image:
    """What ``PIL.Image.resize((width, height), kernel)`` gives for 8-bit H×W×C pixels."""
    fewer_rows, fewer_columns = image.shape[0] - height, image.shape[1] - width
    if pillow13 and fewer_rows > max(2 * fewer_columns, 0):
        return _horizontal(_vertical(image, height, kernel), width, kernel)
    return _vertical(_horizontal(image, width, kernel), height, kernel)


def resize_tf_bilinear(image: Array, width: int, height: int) -> NDArray[np.float32]:
    """What ``tf.image.resize(image, (height, width))`` gives (bilinear, antialias=False)."""
    top, bottom, down = _neighbours(image.shape[0], height)
    left, right, across = _neighbours(image.shape[1], width)
    upper = _lerp_columns(image[top], left, right, across)
    lower = _lerp_columns(image[bottom], left, right, across)
    lower -= upper
    lower *= down[:, None, None]
    upper += lower
    return upper


def _lerp_columns(
    rows: Array, left: NDArray[np.intp], right: NDArray[np.intp], across: NDArray[np.float32]
) -> NDArray[np.float32]:
    start = rows.take(left, axis=1).astype(np.float32)
    step = rows.take(right, axis=1).astype(np.float32)
    step -= start
    step *= across[:, None]
    start += step
    return start


@lru_cache(maxsize=32)
def _neighbours(size: int, wanted: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Lower and upper neighbour and the weight of the upper, per output position."""
    scale = np.float32(size) / np.float32(wanted)
    position = (np.arange(wanted, dtype=np.float32) + np.float32(0.5)) * scale - np.float32(0.5)
    below = np.floor(position)
    lower = np.maximum(below, 0).astype(np.intp)
    upper = np.minimum(np.ceil(position), size - 1).astype(np.intp)
    return lower, upper, position - below


def _horizontal(image: Image, width: int, kernel: Kernel) -> Image:
    if image.shape[1] == width:
        return image
    # Columns become rows: each output column is then one small product along memory.
    turned = _vertical(_transposed(image), width, kernel)
    return _transposed(turned)


def _transposed(image: Image) -> Image:
    """H×W×C to W×H×C; OpenCV's is many times faster than numpy's copy."""
    height, width, channels = image.shape
    return cv2.transpose(image).reshape(width, height, channels).view(np.uint8)


def _vertical(image: Image, height: int, kernel: Kernel) -> Image:
    if image.shape[0] == height:
        return image
    return _pass(image.reshape(image.shape[0], -1), height, kernel).reshape(height, *image.shape[1:])


def _pass(rows: Image, wanted: int, kernel: Kernel) -> Image:
    """Resample ``rows`` (n, m) to ``wanted`` rows."""
    taps = _taps(rows.shape[0], wanted, kernel)
    flat = rows.astype(np.float64)
    sums = np.empty((wanted, flat.shape[1]))
    for i, (first, weights) in enumerate(zip(taps.first, taps.weights, strict=True)):
        np.dot(weights, flat[first : first + len(weights)], out=sums[i])
    # 255 · 2^22 times the coefficients' absolute sum (1.3 at most) stays below 2^31.
    fixed = sums.astype(np.int32)
    fixed += 1 << (_PRECISION_BITS - 1)
    fixed >>= _PRECISION_BITS
    return np.clip(fixed, 0, 255).astype(np.uint8)


@lru_cache(maxsize=32)
def _taps(size: int, wanted: int, kernel: Kernel) -> _Taps:
    shape, radius = _KERNELS[kernel]
    scale = size / wanted
    widened = max(scale, 1.0)
    center = (np.arange(wanted) + 0.5) * scale
    first = np.maximum((center - radius * widened + 0.5).astype(np.int64), 0)
    last = np.minimum((center + radius * widened + 0.5).astype(np.int64), size)
    at = first[:, None] + np.arange(int((last - first).max()))
    weights = shape((at - center[:, None] + 0.5) * (1.0 / widened))
    weights[at >= last[:, None]] = 0.0
    # cumsum adds in order, as a loop does; np.sum pairs and may differ in the last bit.
    weights /= np.cumsum(weights, axis=1)[:, -1:]
    fixed = weights * (1 << _PRECISION_BITS)
    fixed = np.trunc(fixed + np.where(fixed < 0, -0.5, 0.5))
    counts = (last - first).tolist()
    return _Taps(
        tuple(first.tolist()), tuple(row[:count].copy() for row, count in zip(fixed, counts, strict=True))
    )


def _bilinear(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.maximum(1.0 - np.abs(x), 0.0)


def _bicubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    x = np.abs(x)
    near = ((_BICUBIC_A + 2.0) * x - (_BICUBIC_A + 3.0)) * x * x + 1.0
    far = (((x - 5.0) * x + 8.0) * x - 4.0) * _BICUBIC_A
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


_Shape: TypeAlias = Callable[[NDArray[np.float64]], NDArray[Any]]
_KERNELS: dict[Kernel, tuple[_Shape, float]] = {"bilinear": (_bilinear, 1.0), "bicubic": (_bicubic, 2.0)}
