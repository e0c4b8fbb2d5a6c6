"""8-bit pixels as a file that gives back the same ones: lossless WebP, or PNG where WebP cannot.

Photographs take about a fifth less as WebP. Channels are stored as they come: what cv2 takes for
blue is simply the first one. Pure: bytes in, arrays out, and back.
"""

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.contracts import Array
from agent.errors import FrameError
from agent.preprocess.image_header import read_header
from agent.preprocess.limits import MAX_PIXELS

_LONGEST_WEBP_SIDE = 16383
_LOSSLESS = 101
"""cv2's quality above 100: WebP without loss."""


class PixelFileError(ValueError):
    """The bytes are no such file."""


def fits(shape: tuple[int, ...]) -> bool:
    """Whether pixels of this shape (H×W×C) can be stored."""
    return len(shape) == 3 and shape[2] in (1, 3) and 0 < shape[0] * shape[1] <= MAX_PIXELS


def encode(pixels: Array) -> tuple[bytes, str]:
    """``pixels`` (uint8, H×W×C, C 1 or 3) as a file, and its suffix. ValueError when they do not fit."""
    if pixels.dtype != np.uint8 or not fits(pixels.shape):
        raise ValueError(f"expected uint8 pixels H×W×1 or H×W×3, got {pixels.dtype} {pixels.shape}")
    return _encode(np.ascontiguousarray(pixels).tobytes(), pixels.shape)


# Whoever packs weighs each file before all are written, and WebP takes 70 ms for 224x224 pixels.
@lru_cache(maxsize=256)
def _encode(content: bytes, shape: tuple[int, ...]) -> tuple[bytes, str]:
    pixels = np.frombuffer(content, np.uint8).reshape(shape)
    if pixels.shape[2] == 3 and max(pixels.shape) <= _LONGEST_WEBP_SIDE:
        made, file = cv2.imencode(".webp", pixels, [cv2.IMWRITE_WEBP_QUALITY, _LOSSLESS])
        if made and np.array_equal(decode(file.tobytes()), pixels):
            return file.tobytes(), ".webp"
    made, file = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    if not made:
        raise ValueError("this OpenCV cannot write PNG")
    return file.tobytes(), ".png"


def unpacked_bytes(data: bytes) -> int:
    """What ``decode`` will allocate for the pixels at most, by the file's header. PixelFileError."""
    try:
        header = read_header(data)
    except FrameError as error:
        raise PixelFileError("; ".join(error.problems)) from None
    if header.format not in ("WebP", "PNG") or header.width * header.height > MAX_PIXELS:
        raise PixelFileError(f"{header.width}x{header.height} pixels as {header.format} are not taken")
    return header.width * header.height * 3


def decode(data: bytes) -> NDArray[np.uint8]:
    """The pixels, H×W×C, uint8. Raises PixelFileError."""
    unpacked_bytes(data)
    try:
        pixels: Array | None = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        pixels = None
    if pixels is None or pixels.dtype != np.uint8:
        raise PixelFileError("damaged, or not of 8 bits")
    made = pixels[..., None] if pixels.ndim == 2 else pixels
    if made.shape[2] not in (1, 3):
        raise PixelFileError(f"{made.shape[2]} channels, expected 1 or 3")
    return made
