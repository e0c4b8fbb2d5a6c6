"""Faults of light and colour, on the model's 8-bit picture."""

import math
from collections.abc import Callable, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.contracts import Array, Image
from calibration.replay.fault import Draws, Fault, ImageFault, bytes_of

Curve = Callable[[NDArray[np.float64]], NDArray[np.float64]]


def light_faults() -> Iterator[Fault]:
    """Dark, bright, contrast, fog, tint, saturation, glare and vignette."""
    yield from _curves("data:dark", _DARK)
    yield from _curves("data:bright", _BRIGHT)
    yield from _curves("data:contrast", _CONTRAST)
    yield Fault(family="data:contrast", name="equalised", view=equalised)
    yield Fault(family="data:contrast", name="equalised in tiles", view=_equalised_in_tiles)
    for amount in (0.3, 0.55, 0.75):
        yield Fault(family="data:fog", name=f"even fog {amount:g}", view=_fog(amount))
    yield Fault(family="data:fog", name="fog above", view=_fog_above)
    yield Fault(family="data:fog", name="drifting fog", view=_drifting_fog)
    for name, gains in _TINTS.items():
        yield Fault(family="data:tint", name=name, view=gained(gains))
    for amount in (0.0, 0.35, 0.65, 1.8, 2.8):
        yield Fault(family="data:saturation", name=f"saturation {amount:g}", view=saturated(amount))
    for radius, strength in ((0.2, 0.9), (0.35, 0.8), (0.35, 1.4)):
        name = f"lamp of {radius:g}, {strength:g} bright"
        yield Fault(family="data:glare", name=name, view=_lamp(radius, strength))
    yield Fault(family="data:glare", name="low sun", view=_lamp(0.6, 1.2))
    for strength in (0.5, 0.9):
        yield Fault(family="data:vignette", name=f"corners {strength:g} darker", view=vignette(strength))
    for radius in (0.75, 0.9):
        yield Fault(family="data:vignette", name=f"tube of {radius:g}", view=_tube(radius))
    yield Fault(family="data:glare", name="light from the side", view=_side_light(1.7, 0.4))
    yield Fault(family="data:vignette", name="off centre", view=vignette(0.9, 0.3, 0.3))


def _linear_light(gain: float) -> Curve:
    """Exposure changed on the sensor, where values are proportional to light (gamma 2.2)."""
    return lambda share: np.clip(gain * share**2.2, 0, 1) ** (1 / 2.2)


_DARK: dict[str, Curve] = {
    "gain .6": lambda share: 0.6 * share,
    "gain .35": lambda share: 0.35 * share,
    "gain .15": lambda share: 0.15 * share,
    "gamma 2": lambda share: share**2,
    "gamma 3.5": lambda share: share**3.5,
    "offset -60": lambda share: share - 60 / 255,
    "exposure -3 EV": _linear_light(1 / 8),
}
_BRIGHT: dict[str, Curve] = {
    "gain 1.4": lambda share: 1.4 * share,
    "gain 2": lambda share: 2.0 * share,
    "gamma .5": lambda share: share**0.5,
    "gamma .35": lambda share: share**0.35,
    "offset +75": lambda share: share + 75 / 255,
    "exposure +2 EV": _linear_light(4.0),
}
_CONTRAST: dict[str, Curve] = {
    "contrast .6": lambda share: 0.5 + 0.6 * (share - 0.5),
    "contrast .35": lambda share: 0.5 + 0.35 * (share - 0.5),
    "contrast .15": lambda share: 0.5 + 0.15 * (share - 0.5),
    "contrast 1.8": lambda share: 0.5 + 1.8 * (share - 0.5),
    "contrast 2.6": lambda share: 0.5 + 2.6 * (share - 0.5),
}
_TINTS: dict[str, tuple[float, float, float]] = {
    "warm": (1.15, 1.0, 0.75),
    "very warm": (1.3, 0.95, 0.45),
    "cold": (0.75, 1.0, 1.2),
    "very cold": (0.5, 0.9, 1.35),
    "green": (0.85, 1.1, 0.85),
    "very green": (0.65, 1.2, 0.7),
    "pink": (1.1, 0.8, 1.1),
    "very pink": (1.25, 0.6, 1.15),
}


def _curves(family: str, curves: dict[str, Curve]) -> Iterator[Fault]:
    for name, curve in curves.items():
        yield Fault(family=family, name=name, view=curved(curve))


def curved(curve: Curve) -> ImageFault:
    """Every channel through ``curve``, given and giving shares of the 8-bit scale."""
    table = bytes_of(255 * curve(np.arange(256) / 255))

    def fault(image: Image, _: Draws) -> Array:
        return cv2.LUT(image, table).reshape(image.shape)

    return fault


def gained(gains: tuple[float, float, float]) -> ImageFault:
    """White balance: each channel times its gain."""
    return lambda image, _: bytes_of(image * np.array(gains))


def saturated(amount: float) -> ImageFault:
    """Colour differences from the luma times ``amount``: 0 is grey."""

    def fault(image: Image, _: Draws) -> Array:
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)[..., None]
        return bytes_of(grey + amount * (image - grey))

    return fault


def equalised(image: Image, _: Draws) -> Array:
    """The luma's histogram made flat."""
    luma, *chroma = cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb))
    flat = cv2.merge([cv2.equalizeHist(luma), *chroma])
    return cv2.cvtColor(flat, cv2.COLOR_YCrCb2RGB)


def _equalised_in_tiles(image: Image, _: Draws) -> Array:
    """The luma equalised within tiles, to a limit (CLAHE; Zuiderveld 1994)."""
    luma, *chroma = cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb))
    flat = cv2.createCLAHE(clipLimit=8.0, tileGridSize=(4, 4)).apply(luma)
    return cv2.cvtColor(cv2.merge([flat, *chroma]), cv2.COLOR_YCrCb2RGB)


def _fog(amount: float) -> ImageFault:
    return lambda image, _: veiled(image, np.full(image.shape[:2], amount))


def _fog_above(image: Image, _: Draws) -> Array:
    rows = np.linspace(0.9, 0.2, image.shape[0])[:, None]
    return veiled(image, np.broadcast_to(rows, image.shape[:2]))


def _drifting_fog(image: Image, draws: Draws) -> Array:
    clouds = cv2.resize(draws.uniform(0.1, 0.9, (4, 4)), image.shape[1::-1], interpolation=cv2.INTER_CUBIC)
    return veiled(image, np.clip(clouds, 0, 1))


def veiled(image: Image, amount: NDArray[np.float64], veil: float = 205.0) -> Array:
    """``amount`` (H×W, 0 … 1) of the picture replaced by an even grey ``veil``."""
    share = amount[..., None]
    return bytes_of(image * (1 - share) + veil * share)


def _distance(image: Image, row: float, column: float) -> NDArray[np.float64]:
    """Of each pixel from (row, column), both 0 … 1 of the picture; 1 is half its diagonal."""
    height, width = image.shape[:2]
    down = (np.arange(height)[:, None] + 0.5) / height - row
    right = (np.arange(width)[None] + 0.5) / width - column
    away: NDArray[np.float64] = np.hypot(down, right) / math.sqrt(0.5)
    return away


def _lamp(radius: float, strength: float) -> ImageFault:
    """A bright spot that blooms, at a place that differs from picture to picture."""

    def fault(image: Image, draws: Draws) -> Array:
        spot = np.exp(-((_distance(image, *draws.uniform(0.1, 0.6, 2)) / radius) ** 2))
        return bytes_of(image + 255 * strength * spot[..., None])

    return fault


def _side_light(left: float, right: float) -> ImageFault:
    return lambda image, _: bytes_of(image * np.linspace(left, right, image.shape[1])[None, :, None])


def vignette(strength: float, row: float = 0.5, column: float = 0.5) -> ImageFault:
    """Light falls off with the square of the distance from (row, column)."""

    def fault(image: Image, _: Draws) -> Array:
        kept = np.clip(1 - strength * _distance(image, row, column) ** 2, 0, 1)
        return bytes_of(image * kept[..., None])

    return fault


def _tube(radius: float) -> ImageFault:
    """Nothing is seen beyond ``radius`` half diagonals."""

    def fault(image: Image, _: Draws) -> Array:
        kept = np.clip((radius - _distance(image, 0.5, 0.5)) / 0.1, 0, 1)
        return bytes_of(image * kept[..., None])

    return fault
