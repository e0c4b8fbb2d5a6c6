"""Mistakes in the picture: what reaches the model is not what it was trained on.

Each takes a ``Shot`` and gives 224×224×3 RGB uint8. They are written out here, mostly twice, with
NumPy, OpenCV or Pillow, and share nothing with the preprocessing and the diagnosis under test.
"""

from io import BytesIO

import cv2
import numpy as np
from PIL import Image as Pillow

from agent.contracts import Array
from tools.bench.diagnosis.shot import SIDE, Shot, bilinear, central, middle, rounded, squeezed

_RESAMPLING = Pillow.Resampling
LOW = 64
"""Pixels a side of a low-resolution picture."""


def trained(shot: Shot) -> Array:
    """The right picture."""
    return squeezed(central(shot.opencv))


def pillow_resized(picture: Array, method: Pillow.Resampling) -> Array:
    return np.asarray(Pillow.fromarray(picture).resize((SIDE, SIDE), method))


def antialiased(picture: Array) -> Array:
    """A triangle filter as wide as the reduction, horizontally, then vertically; in NumPy."""
    across = _triangle(picture.shape[1]) @ picture.transpose(1, 0, 2).reshape(picture.shape[1], -1)
    columns = across.reshape(SIDE, picture.shape[0], 3).transpose(1, 0, 2).reshape(picture.shape[0], -1)
    return rounded((_triangle(picture.shape[0]) @ columns).reshape(SIDE, SIDE, 3))


def _triangle(length: int) -> Array:
    step = length / SIDE
    centre = (np.arange(SIDE, dtype=np.float32)[:, None] + 0.5) * step
    distance = np.abs(np.arange(length, dtype=np.float32)[None] + 0.5 - centre) / max(step, 1.0)
    weights = np.clip(1 - distance, 0, None)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float32)


def letterbox(picture: Array, grey: int) -> Array:
    """Fits into the square with its aspect kept, on bars of ``grey``."""
    height, width = picture.shape[:2]
    ratio = SIDE / max(height, width)
    small = cv2.resize(picture, (round(width * ratio), round(height * ratio)), interpolation=cv2.INTER_LINEAR)
    canvas = np.full((SIDE, SIDE, 3), grey, np.uint8)
    top, left = (SIDE - small.shape[0]) // 2, (SIDE - small.shape[1]) // 2
    canvas[top : top + small.shape[0], left : left + small.shape[1]] = small
    return canvas


def bordered(picture: Array, grey: int) -> Array:
    """The same by padding to a square first; resized by NumPy."""
    height, width = picture.shape[:2]
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    edges = (top, side - height - top, left, side - width - left)
    return rounded(bilinear(cv2.copyMakeBorder(picture, *edges, cv2.BORDER_CONSTANT, value=(grey,) * 3)))


_TO_YCC = np.array(
    [[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], np.float32
)
_FROM_YCC = np.linalg.inv(_TO_YCC).astype(np.float32)


def limited_read_as_full(picture: Array) -> Array:
    """Luma in 16–235 and chroma in 16–240 (BT.601), taken for 0–255; in NumPy."""
    ycc = picture.astype(np.float32) @ _TO_YCC.T
    limited = ycc * np.array([219 / 255, 224 / 255, 224 / 255], np.float32) + np.array([16, 0, 0], np.float32)
    return rounded(limited @ _FROM_YCC.T)


def limited_read_as_full_i420(picture: Array) -> Array:
    """The same from a video frame (I420, half the chroma), by OpenCV's conversions."""
    luma, first, second = _planes(picture)
    ycrcb = np.dstack([luma, second, first])
    return _cut(np.asarray(cv2.cvtColor(ycrcb, cv2.COLOR_YCrCb2RGB)), picture)


def full_read_as_limited(picture: Array) -> Array:
    """The other way about: 0–255 taken for 16–235, so darks and lights are cut off."""
    ycc = picture.astype(np.float32) @ _TO_YCC.T
    stretched = (ycc - np.array([16, 0, 0], np.float32)) * np.array(
        [255 / 219, 255 / 224, 255 / 224], np.float32
    )
    return rounded(stretched @ _FROM_YCC.T)


def uv_swapped(picture: Array) -> Array:
    """Chroma planes exchanged at full resolution; in NumPy."""
    ycc = picture.astype(np.float32) @ _TO_YCC.T
    return rounded(ycc[:, :, [0, 2, 1]] @ _FROM_YCC.T)


def uv_swapped_i420(picture: Array) -> Array:
    """A frame written as I420 and read as YV12, by OpenCV's conversions."""
    frame = cv2.cvtColor(_even(picture), cv2.COLOR_RGB2YUV_I420)
    return _cut(np.asarray(cv2.cvtColor(frame, cv2.COLOR_YUV2RGB_YV12)), picture)


def _even(picture: Array) -> Array:
    height, width = picture.shape[:2]
    return np.asarray(cv2.copyMakeBorder(picture, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE))


def _cut(picture: Array, like: Array) -> Array:
    return np.ascontiguousarray(picture[: like.shape[0], : like.shape[1]])


def _planes(picture: Array) -> tuple[Array, Array, Array]:
    """Limited-range luma and both chroma planes, these enlarged to luma's size."""
    even = _even(picture)
    height, width = even.shape[:2]
    frame = cv2.cvtColor(even, cv2.COLOR_RGB2YUV_I420)
    chroma = frame[height:].reshape(2, height // 2, width // 2)
    first, second = (
        np.asarray(cv2.resize(plane, (width, height), interpolation=cv2.INTER_LINEAR)) for plane in chroma
    )
    return np.asarray(frame[:height]), first, second


def darkened(picture: Array) -> Array:
    """Gamma 2.2 applied once too often."""
    return rounded(255 * (picture.astype(np.float32) / 255) ** 2.2)


def linear_light(picture: Array) -> Array:
    """The sRGB curve undone (IEC 61966-2-1), through OpenCV's look-up."""
    value = np.arange(256) / 255
    table = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return np.asarray(cv2.LUT(picture, rounded(255 * table)))


def jpeg_opencv(picture: Array, quality: int = 10) -> Array:
    encoded = cv2.imencode(".jpg", picture[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.ascontiguousarray(np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR))[:, :, ::-1])


def jpeg_pillow(picture: Array, quality: int = 10) -> Array:
    file = BytesIO()
    Pillow.fromarray(picture).save(file, "JPEG", quality=quality)
    return np.asarray(Pillow.open(file).convert("RGB"))


def low_opencv(picture: Array) -> Array:
    return squeezed(np.asarray(cv2.resize(picture, (LOW, LOW), interpolation=cv2.INTER_AREA)))


def low_pillow(picture: Array) -> Array:
    """A thumbnail, its aspect kept, enlarged again."""
    small = Pillow.fromarray(picture)
    small.thumbnail((LOW, LOW), _RESAMPLING.BICUBIC)
    return rounded(bilinear(np.asarray(small)))


def square(picture: Array) -> Array:
    """The largest central square."""
    side = min(picture.shape[:2])
    return middle(picture, side, side)
