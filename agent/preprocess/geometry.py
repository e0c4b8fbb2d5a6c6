"""The steps ``crop``, ``pad`` and ``rotate``: pixels move, their values stay.

Images are H×W×C arrays; a size is (height, width). ``size_after`` says what a step makes of a
known size (None: not known before the frame arrives), and like ``apply`` raises FrameError where
the step refuses an image of that size.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import cv2

from agent.contracts import Array
from agent.errors import FrameError
from agent.preprocess.limits import MAX_PIXELS, MAX_SIDE, require_pixels, size_problems

Size: TypeAlias = tuple[int, int]
"""(height, width)"""


@dataclass(frozen=True, kw_only=True, slots=True)
class CentralFraction:
    """Keep the central ``fraction`` of the height and, separately, of the width.

    ``tensorflow`` is the rule of tf.image.central_crop: the margin is
    ``int((side - side * fraction) / 2)`` on either side. ``floor`` keeps
    ``floor(side * fraction)`` pixels behind a margin of half the rest, rounded down.
    """

    NAME = "crop"
    KIND = "central_fraction"
    REVISION = 1

    fraction: float
    rounding: Literal["tensorflow", "floor"]

    def problems(self) -> list[str]:
        fits = 0.0 < self.fraction <= 1.0
        return [] if fits else [f"fraction: expected more than 0 and at most 1, got {self.fraction}"]

    def size_after(self, size: Size | None) -> Size | None:
        if size is None:
            return None
        (_, height), (_, width) = self._spans(size)
        return height, width

    def apply(self, image: Array) -> Array:
        (top, height), (left, width) = self._spans(_size(image))
        return image[top : top + height, left : left + width]

    def _spans(self, size: Size) -> tuple[tuple[int, int], tuple[int, int]]:
        (top, height), (left, width) = self._span(size[0]), self._span(size[1])
        if height < 1 or width < 1:
            raise FrameError(f"crop: nothing is left of {_shown(size)} at fraction {self.fraction}")
        return (top, height), (left, width)

    def _span(self, side: int) -> tuple[int, int]:
        if self.rounding == "tensorflow":
            start = int((side - side * self.fraction) / 2)
            return start, side - 2 * start
        kept = int(side * self.fraction)
        return (side - kept) // 2, kept


@dataclass(frozen=True, kw_only=True, slots=True)
class CenterSquare:
    """Keep the largest square around the centre; ``rounding`` places it where the margin is odd."""

    NAME = "crop"
    KIND = "center_square"
    REVISION = 1

    rounding: Literal["floor", "half_even"]

    def problems(self) -> list[str]:
        return []

    def size_after(self, size: Size | None) -> Size | None:
        return size and (min(size), min(size))

    def apply(self, image: Array) -> Array:
        side = min(image.shape[:2])
        top, left = (_margin(length - side, self.rounding) for length in image.shape[:2])
        return image[top : top + side, left : left + side]


@dataclass(frozen=True, kw_only=True, slots=True)
class CenterCrop:
    """Keep ``width`` × ``height`` pixels around the centre.

    An odd margin is halved down (``floor``) or to even (``half_even``, torchvision's CenterCrop).
    """

    NAME = "crop"
    KIND = "center"
    REVISION = 1

    width: int
    height: int
    rounding: Literal["floor", "half_even"]

    def problems(self) -> list[str]:
        return size_problems(self.width, self.height)

    def size_after(self, size: Size | None) -> Size | None:
        if size is not None and (size[0] < self.height or size[1] < self.width):
            raise FrameError(f"crop: {_shown(size)} is smaller than {self.width}x{self.height}")
        return self.height, self.width

    def apply(self, image: Array) -> Array:
        self.size_after(_size(image))
        top = _margin(image.shape[0] - self.height, self.rounding)
        left = _margin(image.shape[1] - self.width, self.rounding)
        return image[top : top + self.height, left : left + self.width]


@dataclass(frozen=True, kw_only=True, slots=True)
class Box:
    """Keep what lies between ``left`` and ``right``, ``top`` and ``bottom`` (both ends exclusive).

    In ``pixels``, or ``relative`` to the image (0..1), then rounded half up to whole pixels.
    """

    NAME = "crop"
    KIND = "box"
    REVISION = 1

    units: Literal["pixels", "relative"]
    left: float
    top: float
    right: float
    bottom: float

    def problems(self) -> list[str]:
        edges = {"left": self.left, "top": self.top, "right": self.right, "bottom": self.bottom}
        if self.units == "relative":
            found = [f"{k}: expected 0 to 1, got {v}" for k, v in edges.items() if not 0 <= v <= 1]
        else:
            found = [
                f"{k}: expected whole pixels from 0 to {MAX_SIDE}, got {v}"
                for k, v in edges.items()
                if not 0 <= v <= MAX_SIDE or v != int(v)
            ]
            if not found and (self.right - self.left) * (self.bottom - self.top) > MAX_PIXELS:
                found = [f"right: the box holds more than {MAX_PIXELS:,} pixels"]
        if self.left >= self.right:
            found.append(f"right: expected more than left ({self.left}), got {self.right}")
        if self.top >= self.bottom:
            found.append(f"bottom: expected more than top ({self.top}), got {self.bottom}")
        return found

    def size_after(self, size: Size | None) -> Size | None:
        if size is None and self.units == "relative":
            return None
        top, bottom, left, right = self._edges(size) if size is not None else self._rounded((0, 0))
        return bottom - top, right - left

    def apply(self, image: Array) -> Array:
        top, bottom, left, right = self._edges(_size(image))
        return image[top:bottom, left:right]

    def _edges(self, size: Size) -> tuple[int, int, int, int]:
        top, bottom, left, right = self._rounded(size)
        if bottom > size[0] or right > size[1] or top >= bottom or left >= right:
            raise FrameError(f"crop: the box {left},{top} to {right},{bottom} does not fit {_shown(size)}")
        return top, bottom, left, right

    def _rounded(self, size: Size) -> tuple[int, int, int, int]:
        if self.units == "pixels":
            return int(self.top), int(self.bottom), int(self.left), int(self.right)
        height, width = size
        return (
            int(self.top * height + 0.5),
            int(self.bottom * height + 0.5),
            int(self.left * width + 0.5),
            int(self.right * width + 0.5),
        )


Position: TypeAlias = Literal["center", "top_left"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PadToSize:
    """Surround the image with ``value`` until it is ``width`` × ``height`` (letterbox).

    ``center`` puts the odd pixel of a margin to the right and the bottom; ``top_left`` pads only
    there. ``value``: one number, or one per channel, in the image's channel order at this step.
    """

    NAME = "pad"
    KIND = "size"
    REVISION = 1

    width: int
    height: int
    value: tuple[float, ...]
    position: Position

    def problems(self) -> list[str]:
        sides = size_problems(self.width, self.height)
        return sides + _value_problems(self.value)

    def size_after(self, size: Size | None) -> Size | None:
        if size is not None and (size[0] > self.height or size[1] > self.width):
            raise FrameError(f"pad: {_shown(size)} is larger than {self.width}x{self.height}")
        return self.height, self.width

    def apply(self, image: Array) -> Array:
        self.size_after(_size(image))
        return _padded(image, (self.height, self.width), self.value, self.position)


@dataclass(frozen=True, kw_only=True, slots=True)
class PadToSquare:
    """Surround the image with ``value`` until it is as wide as high; see PadToSize."""

    NAME = "pad"
    KIND = "square"
    REVISION = 1

    value: tuple[float, ...]
    position: Position

    def problems(self) -> list[str]:
        return _value_problems(self.value)

    def size_after(self, size: Size | None) -> Size | None:
        if size is None:
            return None
        side = max(size)
        require_pixels("pad", side, side)
        return side, side

    def apply(self, image: Array) -> Array:
        size = _size(image)
        return _padded(image, self.size_after(size) or size, self.value, self.position)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rotate:
    """Turn the image ``clockwise`` degrees, then mirror it left-right or top-bottom."""

    NAME = "rotate"
    KIND = ""
    REVISION = 1

    clockwise: Literal[0, 90, 180, 270]
    flip: Literal["none", "horizontal", "vertical"]

    def problems(self) -> list[str]:
        return []

    def size_after(self, size: Size | None) -> Size | None:
        return size and ((size[1], size[0]) if self.clockwise in (90, 270) else size)

    def apply(self, image: Array) -> Array:
        channels = image.shape[2]
        if self.clockwise:
            image = cv2.rotate(image, _TURNS[self.clockwise])
        if self.flip != "none":
            image = cv2.flip(image, 1 if self.flip == "horizontal" else 0)
        return with_channels(image, channels)


def with_channels(image: Array, channels: int) -> Array:
    """H×W×C again: OpenCV returns one-channel images without their last axis."""
    return image if image.ndim == 3 else image.reshape(*image.shape, channels)


_TURNS = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}


def _padded(image: Array, size: Size, value: tuple[float, ...], position: Position) -> Array:
    height, width, channels = image.shape
    spare_y, spare_x = size[0] - height, size[1] - width
    if not spare_y and not spare_x:
        return image
    top, left = (spare_y // 2, spare_x // 2) if position == "center" else (0, 0)
    border = (top, spare_y - top, left, spare_x - left)
    color = value if len(value) == channels else value * channels
    return with_channels(cv2.copyMakeBorder(image, *border, cv2.BORDER_CONSTANT, value=color), channels)


def _margin(spare: int, rounding: Literal["floor", "half_even"]) -> int:
    return spare // 2 if rounding == "floor" else round(spare / 2)


def _value_problems(value: tuple[float, ...]) -> list[str]:
    found = [] if len(value) in (1, 3) else [f"value: expected 1 or 3 numbers, got {len(value)}"]
    return found + [f"value: expected 0 to 255, got {v}" for v in value if not 0 <= v <= 255]


def _size(image: Array) -> Size:
    return image.shape[0], image.shape[1]


def _shown(size: Size) -> str:
    return f"an image of {size[1]}x{size[0]}"
