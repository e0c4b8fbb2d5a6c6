"""Faults between the scene and the sensor: blur, motion, dirt, things in the way, weather, tilt."""

from collections.abc import Iterator

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.contracts import Array, Image
from calibration.replay.fault import Draws, Fault, ImageFault, bytes_of, standing, unit

_BORDER = cv2.BORDER_REFLECT_101


def lens_faults() -> Iterator[Fault]:
    """Blur, sharpness, motion, dirt, occlusion, weather and tilt."""
    for sigma in (0.8, 1.6, 3.2):
        yield Fault(family="data:blur", name=f"Gaussian {sigma:g} px", view=blurred(sigma))
    for radius in (2.5, 5.0):
        yield Fault(family="data:blur", name=f"defocus {radius:g} px", view=_defocused(radius))
    yield Fault(family="data:blur", name="box 5 px", view=_box(5))
    for share in (0.4, 0.65):
        yield Fault(family="data:blur", name=f"soft focus {share:g}", view=_soft_focus(share))
    yield Fault(family="data:sharpness", name="sharpened 1", view=_sharpened(1.0, 1.0))
    yield Fault(family="data:sharpness", name="sharpened 3", view=_sharpened(3.0, 1.0))
    yield Fault(family="data:sharpness", name="halos", view=_sharpened(1.5, 3.0))
    for length, degrees in ((7, 0), (17, 0), (9, 90), (17, 90), (9, 45), (17, 45), (9, 135), (17, 135)):
        name = f"{length} px at {degrees}°"
        yield Fault(family="data:motion", name=name, view=moved(float(length), degrees))
    yield from _dirt()
    yield from _occlusion()
    yield Fault(family="data:weather", name="rain", view=_rain(60))
    yield Fault(family="data:weather", name="heavy rain", view=_rain(220))
    yield Fault(family="data:weather", name="snow", view=_snow(90))
    yield Fault(family="data:weather", name="heavy snow", view=_snow(350))
    for degrees in (15, -25, 40):
        yield Fault(family="data:tilt", name=f"turned {degrees}°", view=_turned(degrees))
    yield Fault(family="data:tilt", name="shifted", view=_shifted(0.25, 0.15))
    yield Fault(family="data:tilt", name="shifted up", view=_shifted(-0.2, -0.1))
    yield Fault(family="data:tilt", name="from below", view=_from_below)


def _dirt() -> Iterator[Fault]:
    for count in (6, 25):
        view = standing(_spots(count), "spots", str(count))
        yield Fault(family="data:dirt", name=f"{count} dark spots", view=view)
    for count in (14, 30):
        view = standing(_drops(count), "drops", str(count))
        yield Fault(family="data:dirt", name=f"{count} drops", view=view)
    for share in (0.33, 0.5):
        view = standing(_dust(share), "dust")
        yield Fault(family="data:dirt", name=f"dust film {share:g}", view=view)


def _occlusion() -> Iterator[Fault]:
    family = "data:occlusion"
    yield Fault(family=family, name="black square", view=_covered(0.3, 0.3, 0.7, 0.7, 0))
    yield Fault(family=family, name="grey square", view=_covered(0.25, 0.25, 0.75, 0.75, 128))
    yield Fault(family=family, name="left third", view=_covered(0, 0, 1, 0.35, 30))
    yield Fault(family=family, name="lower half", view=_covered(0.5, 0, 1, 1, 70))
    yield Fault(family=family, name="cut short at .5", view=_covered(0.5, 0, 1, 1, 128))
    yield Fault(family=family, name="18 blocks", view=_blocks(18, 30))
    yield Fault(family=family, name="40 small blocks", view=_blocks(40, 16))


def _pixels(length: float, image: Image) -> int:
    """An odd number of pixels, at least 3."""
    return max(3, 2 * round(length * unit(image) / 2) + 1)


def blurred(sigma: float) -> ImageFault:
    """Gaussian blur; ``sigma`` in pixels of a 224-pixel picture, as every length here."""

    def fault(image: Image, _: Draws) -> Array:
        scaled = max(sigma * unit(image), 0.35)
        return cv2.GaussianBlur(image, (0, 0), scaled, borderType=_BORDER)

    return fault


def filtered(image: Image, kernel: NDArray[np.float64]) -> Array:
    """The picture under ``kernel``, made to sum to 1."""
    return cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=_BORDER)


def _defocused(radius: float) -> ImageFault:
    def fault(image: Image, _: Draws) -> Array:
        at = max(radius * unit(image), 1.0)
        reach = np.arange(-int(np.ceil(at)), int(np.ceil(at)) + 1)
        # A soft edge of one pixel, so that small discs have a size between whole pixels.
        disc = np.clip(at + 0.5 - np.hypot(reach[:, None], reach[None]), 0, 1)
        return filtered(image, disc)

    return fault


def _box(side: float) -> ImageFault:
    def fault(image: Image, _: Draws) -> Array:
        length = _pixels(side, image)
        return cv2.blur(image, (length, length), borderType=_BORDER)

    return fault


def _soft_focus(share: float) -> ImageFault:
    def fault(image: Image, draws: Draws) -> Array:
        smooth = blurred(6.0)(image, draws)
        return cv2.addWeighted(image, 1 - share, smooth.astype(np.uint8), share, 0)

    return fault


def _sharpened(amount: float, sigma: float) -> ImageFault:
    def fault(image: Image, draws: Draws) -> Array:
        smooth = blurred(sigma)(image, draws).astype(np.float32)
        return bytes_of(image + amount * (image - smooth))

    return fault


def moved(length: float, degrees: float) -> ImageFault:
    """Straight motion blur."""

    def fault(image: Image, _: Draws) -> Array:
        side = _pixels(length, image)
        kernel = np.zeros((side, side))
        middle = (side - 1) / 2
        across, down = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        for step in np.linspace(-middle, middle, 4 * side):
            kernel[round(middle - step * down), round(middle + step * across)] += 1
        return filtered(image, kernel)

    return fault


def _places(image: Image, draws: Draws, count: int) -> NDArray[np.int64]:
    """``count`` random (row, column)."""
    return (draws.random((count, 2)) * image.shape[:2]).astype(np.int64)


def _mask(image: Image, places: NDArray[np.int64], radii: NDArray[np.float64]) -> NDArray[np.float64]:
    """H×W×1, 1 on the discs and 0 elsewhere, with soft edges."""
    mask = np.zeros(image.shape[:2], np.float32)
    for (row, column), radius in zip(places.tolist(), radii.tolist(), strict=True):
        cv2.circle(mask, (column, row), max(round(radius * unit(image)), 1), 1.0, -1)
    soft = cv2.GaussianBlur(mask, (0, 0), max(1.5 * unit(image), 0.3))
    return soft[..., None].astype(np.float64)


def _spots(count: int) -> ImageFault:
    def fault(image: Image, draws: Draws) -> Array:
        mask = _mask(image, _places(image, draws, count), draws.uniform(4, 16, count))
        return bytes_of(image * (1 - 0.85 * mask))

    return fault


def _drops(count: int) -> ImageFault:
    def fault(image: Image, draws: Draws) -> Array:
        mask = _mask(image, _places(image, draws, count), draws.uniform(10, 26, count))
        return bytes_of(image * (1 - mask) + mask * (20 + blurred(8.0)(image, draws)))

    return fault


def _dust(amount: float) -> ImageFault:
    def fault(image: Image, draws: Draws) -> Array:
        grains = cv2.GaussianBlur(draws.normal(0, 1, image.shape[:2]), (0, 0), max(1.2 * unit(image), 0.4))
        grains = amount * (1 + 0.5 * grains / max(float(grains.std()), 1e-9))
        share = np.clip(grains, 0, 0.8)[..., None]
        return bytes_of(image * (1 - share) + share * np.array([150.0, 135.0, 110.0]))

    return fault


def _covered(top: float, left: float, bottom: float, right: float, value: int) -> ImageFault:
    def fault(image: Image, _: Draws) -> Array:
        height, width = image.shape[:2]
        made = image.copy()
        rows = slice(round(top * height), max(round(bottom * height), 1))
        made[rows, round(left * width) : max(round(right * width), 1)] = value
        return made

    return fault


def _blocks(count: int, length: float) -> ImageFault:
    def fault(image: Image, draws: Draws) -> Array:
        made = image.copy()
        side = max(round(length * unit(image)), 1)
        for row, column in _places(image, draws, count).tolist():
            made[row : row + side, column : column + side] = draws.integers(0, 256, 3)
        return made

    return fault


def _rain(count: int) -> ImageFault:
    def fault(image: Image, draws: Draws) -> Array:
        streaks = np.zeros(image.shape[:2], np.float32)
        length = max(round(22 * unit(image)), 2)
        for row, column in _places(image, draws, count).tolist():
            cv2.line(streaks, (column, row), (column + length // 4, row + length), 1.0, 1, cv2.LINE_AA)
        return bytes_of(0.85 * image + 90 * streaks[..., None] + 12)

    return fault


def _snow(count: int) -> ImageFault:
    def fault(image: Image, draws: Draws) -> Array:
        mask = _mask(image, _places(image, draws, count), draws.uniform(0.6, 3.5, count))
        return bytes_of((0.95 * image + 6) * (1 - mask) + 245 * mask)

    return fault


def warped(image: Image, matrix: Array) -> Array:
    """The picture seen through an affine ``matrix`` (2×3), mirrored beyond its edges."""
    size = image.shape[1::-1]
    return cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=_BORDER)


def _turned(degrees: float) -> ImageFault:
    def fault(image: Image, _: Draws) -> Array:
        height, width = image.shape[:2]
        return warped(image, cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1.0))

    return fault


def _shifted(down: float, right: float) -> ImageFault:
    def fault(image: Image, _: Draws) -> Array:
        height, width = image.shape[:2]
        return warped(image, np.array([[1.0, 0.0, right * width], [0.0, 1.0, down * height]]))

    return fault


def _from_below(image: Image, _: Draws) -> Array:
    height, width = image.shape[:2]
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    seen = corners + np.array([[0.2, 0.1], [-0.2, 0.1], [0.05, 0], [-0.05, 0]], np.float32) * [width, height]
    matrix = cv2.getPerspectiveTransform(corners, seen.astype(np.float32))
    return cv2.warpPerspective(image, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE)
