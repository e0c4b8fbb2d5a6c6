"""The step ``decode``: an encoded image file becomes RGB pixels."""

from dataclasses import dataclass, field
from typing import Final, Literal

import cv2
import numpy as np

from agent.contracts import Array, Image
from agent.errors import FrameError
from agent.preprocess.image_header import Header, read_header
from agent.preprocess.limits import MAX_PIXELS

# OpenCV 4.9 has no flag for RGB; where it exists the decoder writes RGB itself.
_RGB: Final[int | None] = getattr(cv2, "IMREAD_COLOR_RGB", None)


@dataclass(frozen=True, kw_only=True, slots=True)
class Decode:
    """JPEG, PNG, WebP, BMP, GIF (first picture) or PNM to H×W×3 RGB uint8.

    ``exif: apply`` turns the picture as its orientation tag says (cv2.imread, phones' viewers);
    ``ignore`` keeps the pixels as stored (Pillow, TensorFlow). Grey files get three equal
    channels, transparency is dropped (not blended), 16-bit samples keep their upper 8 bits.
    Pixels that are decoded already (uint8 RGB) pass unchanged.

    ``max_pixels`` bounds what a file may unpack to. It is read from the header before anything
    is decoded, cannot change a pixel, and so is no part of the fingerprint.
    """

    NAME = "decode"
    KIND = ""
    REVISION = 1

    exif: Literal["apply", "ignore"]
    max_pixels: int = field(default=MAX_PIXELS, metadata={"fingerprint": False})

    def problems(self) -> list[str]:
        return [] if self.max_pixels >= 1 else [f"max_pixels: expected at least 1, got {self.max_pixels}"]

    def apply(self, payload: object) -> Image:
        """RGB pixels. Raises FrameError when the payload is damaged, too large or no image."""
        if isinstance(payload, bytes):
            return self._decode(payload)
        if isinstance(payload, np.ndarray) and _is_rgb(payload):
            return payload
        raise FrameError(f"decode: expected an image file or H×W×3 uint8 pixels, got {_describe(payload)}")

    def _decode(self, data: bytes) -> Image:
        header = read_header(data)
        if header.width * header.height > self.max_pixels:
            size = f"{header.width}x{header.height}"
            raise FrameError(f"decode: {size} pixels, more than max_pixels ({self.max_pixels:,})")
        if not header.complete:
            raise FrameError(f"decode: the {header.format} file is cut short ({len(data):,} bytes)")
        image = self._pixels(data)
        if image is None:
            kind = header.format
            raise FrameError(f"decode: the {kind} file is damaged, or this OpenCV cannot read {kind}")
        self._check_size(image, header)
        return image

    def _check_size(self, image: Image, header: Header) -> None:
        """``max_pixels`` was asked of the header: pixels of another size have passed no limit."""
        height, width = image.shape[:2]
        promised = {(header.width, header.height)}
        if self.exif == "apply":
            promised.add((header.height, header.width))
        if (width, height) not in promised:
            size = f"{header.width}x{header.height}"
            raise FrameError(f"decode: {width}x{height} pixels, the {header.format} header says {size}")

    def _pixels(self, data: bytes) -> Image | None:
        flags = cv2.IMREAD_COLOR if _RGB is None else _RGB
        if self.exif == "ignore":
            flags |= cv2.IMREAD_IGNORE_ORIENTATION
        try:
            decoded: Array | None = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        except cv2.error:
            return None
        if decoded is None or _RGB is not None:
            return decoded
        rgb: Image = cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB, dst=decoded).view(np.uint8)
        return rgb


def _is_rgb(pixels: Array) -> bool:
    return pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.size > 0


def _describe(payload: object) -> str:
    if isinstance(payload, np.ndarray):
        return f"an array of shape {payload.shape} and type {payload.dtype}"
    return type(payload).__name__
