"""The resampling of ``resize`` as taps: every method is a short weighted sum along each axis.

One generic resampler covers the libraries: a kernel (Keys 1981 for the cubics, Duchon 1979 for
Lanczos), widened by the scale where the method is antialiased, and a rule for where pixel centres lie
(half-pixel centres, TF1's asymmetric rule, aligned corners). Rounding to 8 bits is left out, which
is at most half a level a pass.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from agent.contracts import Array
from calibration.hypothesis.hypothesis import Floats

Centres = Literal["half", "asymmetric", "corners"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """Which part of the source (pixels, may be fractions or lie outside) becomes which part of the
    tensor: ``source`` and ``target`` are (left, top, right, bottom)."""

    source: tuple[float, float, float, float]
    target: tuple[int, int, int, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Method:
    """How a resampler weighs. ``coarse``: pixels along each side of the tensor that the picture was
    first brought down to, by the kernel ``first``; 0: none."""

    name: str
    kernel: str
    antialias: bool = False
    centres: Centres = "half"
    coarse: int = 0
    first: str = "area"


@dataclass(frozen=True, slots=True)
class Taps:
    index: NDArray[np.intp]
    weight: Floats


def taps(method: Method, start: float, length: float, wanted: int, size: int, at: NDArray[np.intp]) -> Taps:
    """For outputs ``at`` of ``wanted`` over ``start``…``start + length`` of ``size`` input pixels."""
    scale = length / wanted
    if method.kernel == "nearest":
        spot = (at + 0.5) * scale if method.centres == "half" else at * scale
        index = np.floor(start + spot + 1e-9).astype(np.intp)[:, None]
        return Taps(np.clip(index, 0, size - 1), np.ones((len(at), 1), np.float32))
    if method.kernel == "area" and scale > 1.0:
        return _area(start + at * scale, scale, size)
    shape, radius = _KERNELS["linear" if method.kernel == "area" else method.kernel]
    wide = max(scale, 1.0) if method.antialias else 1.0
    centre = _centres(method.centres, start, length, wanted, at)
    first = np.floor(centre - radius * wide).astype(np.intp) + 1
    index = first[:, None] + np.arange(int(np.ceil(2 * radius * wide)) + 1)
    weight = shape(np.abs((index - centre[:, None]) / wide))
    if method.antialias:
        weight = np.where((index < 0) | (index >= size), 0.0, weight)
    total = weight.sum(1, keepdims=True)
    weight = weight / np.where(np.abs(total) < 1e-6, 1.0, total)
    return Taps(np.clip(index, 0, size - 1), weight.astype(np.float32))


def render(
    pixels: Array, place: Placement, method: Method, rows: NDArray[np.intp], columns: NDArray[np.intp]
) -> Floats:
    """The tensor's pixels at ``rows`` × ``columns`` (indices inside ``place.target``), float32 levels."""
    left, top, right, bottom = place.source
    wide, tall = place.target[2] - place.target[0], place.target[3] - place.target[1]
    height, width = pixels.shape[:2]
    if method.coarse:
        return _render_coarse(pixels, place, method, rows, columns)
    down = taps(method, top, bottom - top, tall, height, rows)
    across = taps(method, left, right - left, wide, width, columns)
    return _along(_along(pixels, down, 0), across, 1)


def full(pixels: Array, place: Placement, method: Method, size: tuple[int, int]) -> Floats:
    """The whole tensor's picture (height, width of ``size``); 0 where the placement puts nothing."""
    left, top, right, bottom = place.target
    made = np.zeros((*size, 3), np.float32)
    rows, columns = np.arange(bottom - top), np.arange(right - left)
    made[top:bottom, left:right] = render(pixels, place, method, rows, columns)
    return made


def _render_coarse(
    pixels: Array, place: Placement, method: Method, rows: NDArray[np.intp], columns: NDArray[np.intp]
) -> Floats:
    """First down to ``coarse`` pixels a side, antialiased, then up by the method."""
    n = method.coarse
    left, top, right, bottom = place.source
    wide, tall = place.target[2] - place.target[0], place.target[3] - place.target[1]
    height, width = pixels.shape[:2]
    first = Method(name="", kernel=method.first)
    every = np.arange(n)
    down = _along(pixels, taps(first, top, bottom - top, n, height, every), 0)
    down = _along(down, taps(first, left, right - left, n, width, every), 1)
    up = _along(down, taps(method, 0, n, tall, n, rows), 0)
    return _along(up, taps(method, 0, n, wide, n, columns), 1)


def _along(pixels: Array, along: Taps, axis: int) -> Floats:
    made: Floats | None = None
    for k in range(along.index.shape[1]):
        weight = along.weight[:, k]
        if not weight.any():
            continue
        part = pixels.take(along.index[:, k], axis=axis).astype(np.float32)
        part *= weight[:, None, None] if axis == 0 else weight[None, :, None]
        made = part if made is None else made + part
    assert made is not None
    return made


def _centres(rule: Centres, start: float, length: float, wanted: int, at: NDArray[np.intp]) -> Floats:
    if rule == "half":
        return np.asarray(start + (at + 0.5) * (length / wanted) - 0.5)
    if rule == "asymmetric":
        return np.asarray(start + at * (length / wanted))
    return np.asarray(start + at * ((length - 1) / max(wanted - 1, 1)))


def _area(begin: Floats, scale: float, size: int) -> Taps:
    first = np.floor(begin).astype(np.intp)
    index = first[:, None] + np.arange(int(np.ceil(scale)) + 2)
    covered = np.minimum(index + 1, begin[:, None] + scale) - np.maximum(index, begin[:, None])
    weight = np.clip(covered, 0.0, None)
    weight = np.where((index < 0) | (index >= size), 0.0, weight)
    weight /= np.maximum(weight.sum(1, keepdims=True), 1e-6)
    return Taps(np.clip(index, 0, size - 1), weight.astype(np.float32))


def _linear(x: Floats) -> Floats:
    return np.asarray(np.maximum(1.0 - x, 0.0))


def _cubic(a: float) -> Callable[[Floats], Floats]:
    def shape(x: Floats) -> Floats:
        near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
        far = (((x - 5.0) * x + 8.0) * x - 4.0) * a
        return np.asarray(np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0)))

    return shape


def _lanczos(a: int) -> Callable[[Floats], Floats]:
    def shape(x: Floats) -> Floats:
        return np.where(x < a, np.sinc(x) * np.sinc(x / a), 0.0)

    return shape


def _box(x: Floats) -> Floats:
    return np.where(x <= 0.5, 1.0, 0.0)


def _hamming(x: Floats) -> Floats:
    return np.where(x < 1.0, np.sinc(x) * (0.54 + 0.46 * np.cos(np.pi * x)), 0.0)


_KERNELS: Final[dict[str, tuple[Callable[[Floats], Floats], float]]] = {
    "linear": (_linear, 1.0),
    "cubic75": (_cubic(-0.75), 2.0),
    "cubic50": (_cubic(-0.5), 2.0),
    "lanczos3": (_lanczos(3), 3.0),
    "lanczos4": (_lanczos(4), 4.0),
    "box": (_box, 0.5),
    "hamming": (_hamming, 1.0),
}
METHODS: Final[Sequence[Method]] = (
    Method(name="bilinear without antialiasing", kernel="linear"),
    Method(name="nearest neighbour", kernel="nearest", centres="asymmetric"),
    Method(name="nearest neighbour (half-pixel centres)", kernel="nearest"),
    Method(name="area averaging", kernel="area"),
    Method(name="bicubic without antialiasing (a = -0.75, OpenCV's)", kernel="cubic75"),
    Method(name="bicubic without antialiasing (a = -0.5, TensorFlow's)", kernel="cubic50"),
    Method(name="Lanczos without antialiasing", kernel="lanczos4"),
    Method(name="bilinear with antialiasing", kernel="linear", antialias=True),
    Method(name="bicubic with antialiasing", kernel="cubic50", antialias=True),
    Method(name="Lanczos with antialiasing", kernel="lanczos3", antialias=True),
    Method(name="box filter", kernel="box", antialias=True),
    Method(name="Hamming filter", kernel="hamming", antialias=True),
    Method(name="bilinear without half-pixel centres", kernel="linear", centres="asymmetric"),
    Method(name="bilinear with aligned corners", kernel="linear", centres="corners"),
)
BY_SPEC: Final[dict[str, Method]] = {
    "nearest": METHODS[1],
    "linear": METHODS[0],
    "linear_exact": METHODS[0],
    "tf_bilinear": METHODS[0],
    "area": METHODS[3],
    "cubic": METHODS[4],
    "lanczos4": METHODS[6],
    "pillow_bilinear": METHODS[7],
    "pillow13_bilinear": METHODS[7],
    "pillow_bicubic": METHODS[8],
    "pillow13_bicubic": METHODS[8],
}
"""The method here that is the one of a spec's ``resize``."""


def coarse(n: int, up: Method, first: str) -> Method:
    """Down to ``n`` pixels a side by kernel ``first``, then up as ``up`` does."""
    name = f"{up.name} from only about {n} pixels a side"
    return Method(name=name, kernel=up.kernel, centres=up.centres, coarse=n, first=first)
