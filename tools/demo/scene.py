"""The demo's camera: handwritten digits photographed on coloured paper, from a seed.

The digits are the 1,797 test samples of the UCI "Optical Recognition of Handwritten Digits" set
(Alpaydin and Kaynak, 1998), 8×8 pixels of 0..16, committed as one sprite sheet. Every picture is
drawn from its random generator alone, so two runs with one seed see the same scene, and pictures
from one generator are independent of each other.
"""

import colorsys
import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.contracts import Array, Image

ASSETS = Path(__file__).resolve().parent / "assets"
SIZE = 64
"""Height and width of a picture in pixels."""
TILE = 8
COLUMNS = 43
"""Tiles in a row of the sprite sheet."""
HELD_OUT_SHARE = 1 / 3
DUSK_DARKNESS = 0.5
DUSK_BLUR = 1.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Digits:
    """Digit samples: ``pixels`` uint8 (n, 8, 8) of 0..16, ``labels`` int64 (n,) of 0..9."""

    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def where(self, mask: NDArray[np.bool_]) -> "Digits":
        return Digits(pixels=self.pixels[mask], labels=self.labels[mask])


def digits() -> Digits:
    """All samples, in the order of the original set."""
    labels = np.array([int(digit) for digit in (ASSETS / "digits.txt").read_text("ascii").strip()])
    encoded = np.frombuffer((ASSETS / "digits.png").read_bytes(), np.uint8)
    sheet = np.asarray(cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE), np.uint8)
    tiles = sheet.reshape(-1, TILE, COLUMNS, TILE).swapaxes(1, 2).reshape(-1, TILE, TILE)
    return Digits(pixels=tiles[: len(labels)], labels=labels.astype(np.int64))


def sprite_sheet(pixels: NDArray[np.uint8]) -> bytes:
    """The PNG that ``digits`` reads, from samples of shape (n, 8, 8)."""
    rows = math.ceil(len(pixels) / COLUMNS)
    tiles = np.zeros((rows * COLUMNS, TILE, TILE), np.uint8)
    tiles[: len(pixels)] = pixels
    sheet = tiles.reshape(rows, COLUMNS, TILE, TILE).swapaxes(1, 2).reshape(rows * TILE, COLUMNS * TILE)
    return bytes(cv2.imencode(".png", sheet, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1])


def held_out() -> Digits:
    """The third of the samples no model was fitted on: all that the demo shows or packs."""
    everything = digits()
    return everything.where(_is_held_out(len(everything)))


def training() -> Digits:
    """The samples the model may be fitted on."""
    everything = digits()
    return everything.where(~_is_held_out(len(everything)))


def _is_held_out(count: int) -> NDArray[np.bool_]:
    # Multiplicative hash (Knuth, TAOCP 3, 6.4): fixed for ever, and blind to the set's order by writer.
    hashed = (np.arange(count, dtype=np.uint64) * np.uint64(2654435761)) % np.uint64(2**32)
    return hashed < HELD_OUT_SHARE * 2**32


def render(digit: Array, rng: np.random.Generator) -> Image:
    """Photograph one 8×8 sample of 0..16: 64×64 RGB, uint8.

    Paper and ink colour, position, size, rotation, perspective, the fall of light, focus and
    sensor noise are all drawn from ``rng``.
    """
    ink = _lay_down(digit, rng)[..., None]
    lit = (_paper(rng) * (1 - ink) + _ink(rng) * ink) * _light(rng)[..., None]
    focused = np.asarray(cv2.GaussianBlur(lit, (0, 0), rng.uniform(0.4, 0.8)))
    noise = rng.normal(0, rng.uniform(0.01, 0.02), focused.shape)
    return _to_bytes(255 * (focused + noise))


def darken(image: Image, amount: float) -> Image:
    """The scene with ``amount`` (0..1) of its light gone."""
    return _to_bytes(image * (1 - amount))


def blur(image: Image, sigma: float) -> Image:
    """The scene out of focus by a Gaussian of ``sigma`` pixels; 0 leaves it as it is."""
    if sigma <= 0:
        return image
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8)


def dusk(image: Image, amount: float = 1.0) -> Image:
    """The demo's drift: night falls and the lens fogs; ``amount`` 0 is day, 1 the worst of it."""
    return darken(blur(image, DUSK_BLUR * amount), DUSK_DARKNESS * amount)


def jpeg(image: Image, quality: int = 90) -> bytes:
    """The picture as the camera stores it."""
    return bytes(cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1])


def _lay_down(digit: Array, rng: np.random.Generator) -> NDArray[np.float32]:
    """Ink coverage (64, 64) of 0..1: the sample enlarged, turned, tilted and moved."""
    stroke = cv2.resize(np.pad(digit.astype(np.float32) / 16, 1), (SIZE, SIZE), interpolation=cv2.INTER_CUBIC)
    half = rng.uniform(0.78, 0.96) * SIZE / 2
    turn = math.radians(rng.uniform(-12, 12))
    corners = np.array([(-half, -half), (half, -half), (half, half), (-half, half)])
    corners = corners @ np.array([(math.cos(turn), math.sin(turn)), (-math.sin(turn), math.cos(turn))])
    corners += rng.uniform(-3, 3, (4, 2)) + rng.uniform(-3, 3, 2) + SIZE / 2
    flat = np.array([(0, 0), (SIZE, 0), (SIZE, SIZE), (0, SIZE)], np.float32)
    tilt = cv2.getPerspectiveTransform(flat, corners.astype(np.float32))
    laid = cv2.warpPerspective(stroke, tilt, (SIZE, SIZE), flags=cv2.INTER_LINEAR)
    return np.asarray(np.clip(laid, 0, 1), np.float32)


def _paper(rng: np.random.Generator) -> NDArray[np.float64]:
    return _colour(rng, saturation=(0.05, 0.35), value=(0.75, 0.95))


def _ink(rng: np.random.Generator) -> NDArray[np.float64]:
    return _colour(rng, saturation=(0.3, 0.9), value=(0.1, 0.45))


def _colour(
    rng: np.random.Generator, *, saturation: tuple[float, float], value: tuple[float, float]
) -> NDArray[np.float64]:
    return np.array(colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(*saturation), rng.uniform(*value)))


def _light(rng: np.random.Generator) -> NDArray[np.float64]:
    """Brightness (64, 64) falling off evenly to one side."""
    side = rng.uniform(0, 2 * math.pi)
    fall = rng.uniform(0, 0.25)
    across = np.linspace(-1, 1, SIZE)
    slope = math.cos(side) * across[None, :] + math.sin(side) * across[:, None]
    return rng.uniform(0.85, 1.05) * (1 - fall * slope)


def _to_bytes(picture: Array) -> Image:
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)
