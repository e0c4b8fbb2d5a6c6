"""The step ``resize``: as OpenCV, Pillow (torchvision on PIL images) or TensorFlow do it."""

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import cv2

from agent.contracts import Array
from agent.preprocess.geometry import Size, with_channels
from agent.preprocess.interpolation import Kernel, resize_pillow, resize_tf_bilinear
from agent.preprocess.limits import require_pixels, size_problems

Method: TypeAlias = Literal[
    "nearest",
    "linear",
    "linear_exact",
    "area",
    "cubic",
    "lanczos4",
    "tf_bilinear",
    "pillow_bilinear",
    "pillow_bicubic",
    "pillow13_bilinear",
    "pillow13_bicubic",
]
Aspect: TypeAlias = Literal["stretch", "shorter_side", "fit", "fit_floor"]

_OPENCV: Final = {
    "nearest": cv2.INTER_NEAREST,
    "linear": cv2.INTER_LINEAR,
    "linear_exact": cv2.INTER_LINEAR_EXACT,
    "area": cv2.INTER_AREA,
    "cubic": cv2.INTER_CUBIC,
    "lanczos4": cv2.INTER_LANCZOS4,
}
_PILLOW: Final[dict[str, tuple[Kernel, bool]]] = {
    "pillow_bilinear": ("bilinear", False),
    "pillow_bicubic": ("bicubic", False),
    "pillow13_bilinear": ("bilinear", True),
    "pillow13_bicubic": ("bicubic", True),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Resize:
    """Resample to ``width`` × ``height``; the method says by whose arithmetic.

    ``nearest`` to ``lanczos4`` are cv2.resize's (``area`` is its antialiased one);
    ``tf_bilinear`` is tf.image.resize's default (half-pixel centres, no antialias), whose result
    is float32; ``pillow_*`` are PIL.Image.resize's (antialiased, 8 bit), what torchvision does
    to PIL images, as Pillow up to 12 rounds them; ``pillow13_*`` the same since Pillow 13, which
    differs where the height shrinks by more than twice as many pixels as the width.

    ``aspect``: ``stretch`` makes exactly width × height. ``shorter_side`` makes the shorter side
    that long and the other ``int(length * long / short)``: torchvision's Resize(length), so width
    and height must be equal. ``fit`` makes the largest image of the same aspect that fits, sides
    rounded half to even; ``fit_floor`` the same rounded down (at least 1 pixel).
    """

    NAME = "resize"
    KIND = ""
    REVISION = 1

    width: int
    height: int
    method: Method
    aspect: Aspect

    def problems(self) -> list[str]:
        found = size_problems(self.width, self.height)
        if self.aspect == "shorter_side" and self.width != self.height:
            sides = f"{self.width} and {self.height}"
            found.append(f"aspect: shorter_side needs width and height to be equal, got {sides}")
        return found

    def size_after(self, size: Size | None) -> Size | None:
        if self.aspect == "stretch":
            return self.height, self.width
        return size and self._target(*size)

    def apply(self, image: Array) -> Array:
        """H×W×C, uint8 or float32; float32 after ``tf_bilinear``, else of the image's dtype."""
        height, width = self._target(*image.shape[:2])
        if self.method == "tf_bilinear":
            return resize_tf_bilinear(image, width, height)
        if self.method in _PILLOW:
            kernel, pillow13 = _PILLOW[self.method]
            return resize_pillow(image, width, height, kernel, pillow13=pillow13)
        resized = cv2.resize(image, (width, height), interpolation=_OPENCV[self.method])
        return with_channels(resized, image.shape[2])

    def _target(self, height: int, width: int) -> Size:
        if self.aspect == "stretch":
            return self.height, self.width
        if self.aspect == "shorter_side":
            long = int(self.width * max(height, width) / min(height, width))
            made = (long, self.width) if height > width else (self.width, long)
            require_pixels("resize", *made)
            return made
        ratio = min(self.height / height, self.width / width)
        whole = round if self.aspect == "fit" else int
        # A ratio such as 224/500 may bring the limiting side to 223.99…: that side is exact.
        tall = self.height if ratio == self.height / height else max(whole(height * ratio), 1)
        wide = self.width if ratio == self.width / width else max(whole(width * ratio), 1)
        return tall, wide
