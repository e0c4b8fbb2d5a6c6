"""A captured frame as a JPEG file that tells no more than it must. Pure: pixels in, bytes out.

The file is made anew from pixels: no EXIF, no place, no camera, no thumbnail of the original survives.
"""

import cv2
import numpy as np

from agent.contracts import Array, Image
from agent.monitor.capture import CaptureOptions

SHRINK = 0.75
SMALLEST_SIDE = 16


def sample_picture(image: Image, options: CaptureOptions, *, max_bytes: int | None = None) -> bytes:
    """``image`` (RGB) as a JPEG: made smaller, then blurred, then encoded as ``options`` say.

    With ``max_bytes`` it is made smaller still until it fits. ValueError when it cannot be encoded.
    """
    longest = max(image.shape[:2])
    side = min(longest, options.longest_side or longest)
    data = _jpeg(image, side, options)
    while max_bytes is not None and len(data) > max_bytes and side > SMALLEST_SIDE:
        side = max(SMALLEST_SIDE, int(side * SHRINK))
        data = _jpeg(image, side, options)
    return data


def _jpeg(image: Image, side: int, options: CaptureOptions) -> bytes:
    pixels: Array = _fitted(image, side)
    if options.blur:
        sigma = options.blur * max(pixels.shape[:2])
        pixels = cv2.GaussianBlur(pixels, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    made, file = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, options.quality])
    if not made:
        raise ValueError(f"{image.shape[1]}x{image.shape[0]} pixels cannot be written as JPEG")
    return bytes(np.asarray(file).tobytes())


def _fitted(image: Image, side: int) -> Array:
    height, width = image.shape[:2]
    if side >= max(height, width):
        return image
    scale = side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
