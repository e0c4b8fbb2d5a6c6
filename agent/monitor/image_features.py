"""The 30 numbers that describe one 8-bit RGB image, each cheap enough for every sampled frame.

Computed on what the model sees after the geometric steps and before normalise. All are finite for
every image of at least one pixel: logarithms carry the variance that rounding to 8 bits puts into
a difference, and a structure that an image is too small to show counts as absent (0).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.contracts import Image

Plane: TypeAlias = NDArray[Any]
"""One channel, H×W, uint8."""

IMAGE_FEATURES: tuple[tuple[str, str], ...] = (
    ("red_mean", "light"),
    ("green_mean", "light"),
    ("blue_mean", "light"),
    ("red_std", "light"),
    ("green_std", "light"),
    ("blue_std", "light"),
    ("luma_mean", "light"),
    ("luma_std", "light"),
    ("luma_p5", "light"),
    ("luma_p95", "light"),
    ("bright_share", "light"),
    ("dark_share", "light"),
    ("luma_entropy", "light"),
    ("saturation_mean", "colour"),
    ("saturation_std", "colour"),
    ("red_minus_green", "colour"),
    ("yellow_minus_blue", "colour"),
    ("red_tint", "colour"),
    ("blue_tint", "colour"),
    ("chroma_step", "sharpness"),
    ("step_1", "sharpness"),
    ("step_2_to_1", "sharpness"),
    ("step_4_to_2", "sharpness"),
    ("x_to_y_1", "texture"),
    ("x_to_y_4", "texture"),
    ("diagonals", "texture"),
    ("blockiness", "texture"),
    ("top_minus_bottom", "layout"),
    ("left_minus_right", "layout"),
    ("centre_minus_mean", "layout"),
)
"""Name and family of each feature, in the order ``image_features`` returns them."""

ROUNDING = 1 / 6
"""Mean square that rounding adds to the difference of two 8-bit values (2 · 1/12)."""
DARK = 8.0
"""Grey levels added to a brightness before dividing by it, so that black divides nothing by nothing."""
BRIGHT_ABOVE, DARK_BELOW = 250, 6
JPEG_BLOCK = 8

_LEVELS = np.arange(256, dtype=np.float64)
_SQUARES = _LEVELS**2


def image_features(view: Image) -> tuple[float, ...]:
    """The features of ``view`` (H×W×3 RGB uint8, H and W at least 1), named by IMAGE_FEATURES."""
    planes = cv2.split(view)
    luma = cv2.cvtColor(view, cv2.COLOR_RGB2GRAY)
    means, stds = _moments(planes)
    light = _light(luma)
    return (
        *means,
        *stds,
        *light,
        *_colour(planes, means, light[0]),
        *_structure(luma),
        *_layout(luma, light[0]),
    )


def _moments(planes: Sequence[Plane]) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each plane, in grey levels."""
    means, stds = [], []
    for plane in planes:
        mean, std = cv2.meanStdDev(plane)
        means.append(float(mean[0, 0]))
        stds.append(float(std[0, 0]))
    return means, stds


def _light(luma: Plane) -> tuple[float, ...]:
    """Luma mean, std, 5th and 95th percentile (smallest level that at least that share does not
    exceed), shares above 250 and below 6, and entropy of the levels in nats: all from one histogram."""
    levels = cv2.calcHist([luma], [0], None, [256], [0, 256]).ravel().astype(np.float64)
    n = float(luma.size)
    mean = float(levels @ _LEVELS) / n
    variance = max(float(levels @ _SQUARES) / n - mean**2, 0.0)
    cumulative = levels.cumsum()
    p5, p95 = cumulative.searchsorted((0.05 * n, 0.95 * n)).tolist()
    bright = 1.0 - float(cumulative[BRIGHT_ABOVE]) / n
    dark = float(cumulative[DARK_BELOW - 1]) / n
    entropy = math.log(n) - float(levels @ np.log(np.maximum(levels, 1.0))) / n
    return mean, math.sqrt(variance), p5, p95, max(bright, 0.0), dark, max(entropy, 0.0)


def _colour(planes: Sequence[Plane], means: Sequence[float], luma_mean: float) -> tuple[float, ...]:
    """Saturation (max − min of the channels, over the mean max) mean and std; mean R−G and
    (R+G)/2−B; mean R−G and B−G relative to brightness; log mean squared step of (R−G)/2."""
    red, green, blue = planes
    top = cv2.max(cv2.max(red, green), blue)
    chroma = cv2.subtract(top, cv2.min(cv2.min(red, green), blue))
    mean, std = cv2.meanStdDev(chroma)
    value = _mean(top) + DARK
    r, g, b = means
    opponent = cv2.addWeighted(red, 0.5, green, -0.5, 128.0)
    step = _mean_square(opponent[:, 1:], opponent[:, :-1]) + _mean_square(opponent[1:], opponent[:-1])
    return (
        float(mean[0, 0]) / value,
        float(std[0, 0]) / value,
        r - g,
        (r + g) / 2 - b,
        (r - g) / (luma_mean + DARK),
        (b - g) / (luma_mean + DARK),
        math.log(step + 2 * ROUNDING),
    )


@dataclass(frozen=True, slots=True)
class _Steps:
    """Mean squared difference of pixels that lie ``lag`` apart, along x and y, plus rounding."""

    x: float
    y: float

    @property
    def both(self) -> float:
        return self.x + self.y


def _steps(luma: Plane, lag: int) -> _Steps:
    x = _mean_square(luma[:, lag:], luma[:, :-lag])
    y = _mean_square(luma[lag:], luma[:-lag])
    return _Steps(x + ROUNDING, y + ROUNDING)


def _structure(luma: Plane) -> tuple[float, ...]:
    """Sharpness (log D1, D2/D1, D4/D2), direction (log x/y at lag 1 and 4, log of the two
    diagonals) and blockiness (log of steps across 8-pixel borders over all steps)."""
    one, two, four = _steps(luma, 1), _steps(luma, 2), _steps(luma, 4)
    falling = _mean_square(luma[1:, 1:], luma[:-1, :-1]) + ROUNDING
    rising = _mean_square(luma[1:, :-1], luma[:-1, 1:]) + ROUNDING
    return (
        math.log(one.both),
        math.log(two.both / one.both),
        math.log(four.both / two.both),
        math.log(one.x / one.y),
        math.log(four.x / four.y),
        math.log(falling / rising),
        _blockiness(luma, one),
    )


def _blockiness(luma: Plane, one: _Steps) -> float:
    last, first = JPEG_BLOCK - 1, JPEG_BLOCK
    if min(luma.shape) <= first:
        return 0.0
    across_x = _mean_square(luma[:, last:-1:JPEG_BLOCK], luma[:, first::JPEG_BLOCK])
    across_y = _mean_square(luma[last:-1:JPEG_BLOCK], luma[first::JPEG_BLOCK])
    return math.log((across_x + across_y + 2 * ROUNDING) / one.both)


def _layout(luma: Plane, mean: float) -> tuple[float, ...]:
    """Where the light lies: twice the mean of the upper half, of the left half, less that of all
    (upper minus lower, left minus right), and mean of the central half-by-half box less that of all."""
    height, width = luma.shape
    upper, left = luma[: height // 2], luma[:, : width // 2]
    centre = luma[height // 4 : height - height // 4, width // 4 : width - width // 4]
    return (
        2.0 * (_mean(upper) - mean) if upper.size else 0.0,
        2.0 * (_mean(left) - mean) if left.size else 0.0,
        _mean(centre) - mean,
    )


def _mean(plane: Plane) -> float:
    """Mean of a plane of at least one pixel. Its L1 norm is its sum, and on a part of an image the
    norm is several times as fast as cv2.mean."""
    return float(cv2.norm(plane, cv2.NORM_L1)) / plane.size


def _mean_square(a: Plane, b: Plane) -> float:
    """Mean squared difference of two planes; 0 when the image is too small to have any."""
    return float(cv2.norm(a, b, cv2.NORM_L2SQR)) / a.size if a.size else 0.0
