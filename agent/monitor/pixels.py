"""Exact counts of the 8-bit model input, per channel."""

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.contracts import Image

_EXACT = 2**24
"""OpenCV returns counts as float32, which holds every integer only up to here."""


def pixel_counts(view: Image) -> NDArray[np.int64]:
    """How often each value occurs in each channel of ``view`` (H×W×3 uint8): int64 (3, 256)."""
    if view.shape[0] * view.shape[1] > _EXACT:
        return np.stack([np.bincount(view[..., channel].ravel(), minlength=256) for channel in range(3)])
    counts = [cv2.calcHist([view], [channel], None, [256], [0, 256]) for channel in range(3)]
    # OpenCV 4 gives a column, OpenCV 5 a row.
    return np.stack([count.ravel() for count in counts]).astype(np.int64)
