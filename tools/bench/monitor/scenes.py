"""What the cameras of the bench look at: parts of photographs, at every hour of the day.

Each photograph is cut in two halves that share no pixel. A scene is a half; two framings of it stand
for the camera's motion, six levels of light for the day and the night.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from agent.contracts import Array
from tools.bench.diagnosis.photographs import Photograph, photographs
from tools.bench.diagnosis.shot import SIDE, Shot, rounded

HALVES = 2
FRAMINGS = 2
_KEPT = 0.9
"""Share of a half's height and width that a framing shows."""
GAINS = (1.1, 1.0, 0.8, 0.6, 0.42, 0.3)
"""Noon to night: what the light leaves of each grey level ..."""
NOISES = (1.0, 1.5, 2.0, 3.0, 4.5, 6.0)
"""... and the standard deviation of the noise that the sensor's own gain brings with it."""
_WARMTH = (0.0, 0.0, 0.01, 0.03, 0.05, 0.06)
"""How much redder, and less blue, lamps are than the sun."""
LIGHTS = len(GAINS)
BUNDLE_SHARE = 0.4
"""Of the photographs, what the bundle is made from; the device sees only the others."""


@dataclass(frozen=True, kw_only=True, slots=True)
class World:
    """``training``: photographs the bundle is made from. ``device``: those the device sees."""

    training: tuple[Photograph, ...]
    device: tuple[Photograph, ...]


def world(pack: Path, limit: int | None) -> World:
    """Split the labelled photographs at random, always in the same way. Raises MachineError."""
    every = photographs(pack, limit)
    order = np.random.default_rng(11).permutation(len(every)).tolist()
    bundled = round(len(every) * BUNDLE_SHARE)
    return World(
        training=tuple(every[at] for at in order[:bundled]),
        device=tuple(every[at] for at in order[bundled:]),
    )


def halves(photograph: Photograph) -> tuple[Array, Array]:
    """The photograph cut across its longer side: H×W×3 RGB uint8 each."""
    picture = Shot(photograph.encoded).opencv
    height, width = picture.shape[:2]
    if width >= height:
        return picture[:, : width // 2], picture[:, width - width // 2 :]
    return picture[: height // 2], picture[height - height // 2 :]


def framed(half: Array, framing: int) -> Array:
    """What the camera shows of a half: its upper left, or its lower right nine tenths."""
    height, width = (int(length * _KEPT) for length in half.shape[:2])
    return half[:height, :width] if framing == 0 else half[-height:, -width:]


def lit(picture: Array, light: int) -> Array:
    """The picture at a level of light, without noise."""
    red, blue = 1 + _WARMTH[light], 1 - _WARMTH[light]
    return rounded(picture * np.array([red, 1.0, blue], np.float32) * np.float32(GAINS[light]))


def noisy(picture: Array, light: int, seed: Sequence[int]) -> Array:
    """The same with the sensor's noise at that light."""
    grain = np.random.default_rng([*seed, light]).normal(0.0, NOISES[light], picture.shape)
    return rounded(picture + grain.astype(np.float32))


def view(picture: Array) -> Array:
    """The picture as the model's input: 224×224×3 RGB uint8."""
    return np.asarray(cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR))
