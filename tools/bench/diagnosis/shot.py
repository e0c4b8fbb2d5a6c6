"""Healthy picture stages, each in several toolkits: decode, crop, resize.

A picture is H×W×3 RGB, uint8 (float32 in 0..255 where said). Nothing here is shared with the
preprocessing under test.
"""

from functools import cached_property
from io import BytesIO

import cv2
import numpy as np
from PIL import Image as Pillow

from agent.contracts import Array

SIDE = 224
KEPT = 0.875
"""Share of height and of width that the models were trained on."""
SHORTER = 256
"""Shorter side before the centre crop, in pipelines that keep the aspect."""


class Shot:
    """One encoded photograph, decoded at most once by each decoder."""

    def __init__(self, encoded: bytes) -> None:
        self.encoded = encoded

    @cached_property
    def opencv(self) -> Array:
        return np.ascontiguousarray(self.bgr[:, :, ::-1])

    @cached_property
    def bgr(self) -> Array:
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        return np.asarray(cv2.imdecode(np.frombuffer(self.encoded, np.uint8), flags))

    @cached_property
    def pillow(self) -> Array:
        return np.asarray(Pillow.open(BytesIO(self.encoded)).convert("RGB"))


def central(picture: Array) -> Array:
    """The central part; odd pixels are left away, as the data pack's own table does."""
    height, width = picture.shape[:2]
    return middle(picture, int(height * KEPT), int(width * KEPT))


def squeezed(picture: Array, interpolation: int = cv2.INTER_LINEAR) -> Array:
    return np.asarray(cv2.resize(picture, (SIDE, SIDE), interpolation=interpolation))


def bilinear(picture: Array, height: int = SIDE, width: int = SIDE) -> Array:
    """float32: four neighbours around half-pixel centres, no antialias; written out in NumPy."""
    top, bottom, down = _neighbours(picture.shape[0], height)
    left, right, across = _neighbours(picture.shape[1], width)
    down, across = down[:, None, None], across[None, :, None]
    rows = picture[top] * (1 - down) + picture[bottom] * down
    return np.asarray(rows[:, left] * (1 - across) + rows[:, right] * across, np.float32)


def _neighbours(length: int, wanted: int) -> tuple[Array, Array, Array]:
    at = (np.arange(wanted, dtype=np.float64) + 0.5) * length / wanted - 0.5
    low = np.floor(at)
    first = np.clip(low, 0, length - 1).astype(int)
    return first, np.clip(low + 1, 0, length - 1).astype(int), (at - low).astype(np.float32)


def rounded(picture: Array) -> Array:
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def shorter_side(picture: Array) -> Array:
    """Aspect kept: the shorter side becomes 256 pixels, the central 224×224 stay."""
    height, width = picture.shape[:2]
    scale = SHORTER / min(height, width)
    size = (
        SHORTER if width <= height else int(width * scale),
        SHORTER if height <= width else int(height * scale),
    )
    return middle(np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_LINEAR)), SIDE, SIDE)


def middle(picture: Array, height: int, width: int) -> Array:
    top, left = (picture.shape[0] - height) // 2, (picture.shape[1] - width) // 2
    return np.ascontiguousarray(picture[top : top + height, left : left + width])
