"""What a decoder may do otherwise: another JPEG generation, of the original or of the model's input."""

from typing import Final

import cv2
import numpy as np

from agent.contracts import Image
from calibration.hypothesis.hypothesis import Difference
from calibration.hypothesis.recipe import Fault

QUALITIES: Final = (5, 8, 10, 12, 15, 18, 20, 25, 30, 35, 40, 45, 50, 55, 60, 65, 70, 75, 80, 85, 90, 95)
"""Close enough together that one of them explains some of any quality between."""


def recompressed(quality: int, *, late: bool = False) -> Fault:
    """``late``: the model's input picture was compressed, not the original."""
    what = "the model's input pictures" if late else "the pictures"
    text = f"{what} were compressed again as JPEG (quality about {quality})"
    return Fault(
        difference=Difference(step="decode", kind="jpeg", text=text),
        apply=lambda pixels: jpeg(pixels, quality),
        late=late,
    )


def jpeg(pixels: Image, quality: int) -> Image:
    """Through the encoder and back, with the usual tables and halved chroma."""
    bgr = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    ok, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert ok
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    assert decoded is not None
    return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB).astype(np.uint8)
