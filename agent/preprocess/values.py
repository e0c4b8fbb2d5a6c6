"""The steps ``color``, ``normalize`` and ``cast``: values change, pixels stay."""

import math
from dataclasses import dataclass
from typing import Final, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.contracts import Array, TensorSpec
from agent.errors import FrameError
from agent.preprocess.geometry import Size, with_channels
from agent.quantize import Rounding, quantize

_LARGEST: Final = 1e30
"""Far below float32's limit, so that nothing a later division by a tensor's scale does overflows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Color:
    """From RGB to the order the model was trained on.

    ``gray`` makes one channel by cv2.cvtColor's weights (BT.601: .299 R + .587 G + .114 B, in
    14-bit fixed point for 8-bit images).
    """

    NAME = "color"
    KIND = ""
    REVISION = 1

    order: Literal["rgb", "bgr", "gray"]

    @property
    def channels(self) -> int:
        return 1 if self.order == "gray" else 3

    def problems(self) -> list[str]:
        return []

    def size_after(self, size: Size | None) -> Size | None:
        return size

    def apply(self, image: Array) -> Array:
        if self.order == "rgb":
            return image
        if self.order == "bgr":
            return cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        return with_channels(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Normalize:
    """``((value * scale) / divisor - mean) / std``, in float32, rounded after each operation.

    ``mean`` and ``std``: one number, or one per channel in the order ``color`` gave.
    ``scale`` and ``divisor`` are 1 (which changes nothing) unless given. Both exist because
    frameworks differ in the last bit: torchvision's ToTensor divides by 255, Keras' Rescaling
    multiplies by 1/255.
    """

    NAME = "normalize"
    KIND = ""
    REVISION = 1

    mean: tuple[float, ...]
    std: tuple[float, ...]
    scale: float = 1.0
    divisor: float = 1.0

    def problems(self) -> list[str]:
        found = []
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, 3):
                found.append(f"{name}: expected 1 or 3 numbers, got {len(values)}")
        if any(not _usable_divisor(value) for value in self.std):
            found.append("std: expected numbers whose size float32 can hold, none of them 0")
        if not _usable_divisor(self.divisor):
            found.append(f"divisor: expected a number other than 0, got {self.divisor}")
        if not _usable_divisor(self.scale):
            found.append(f"scale: expected a number other than 0, got {self.scale}")
        return found or self._overflow_problems()

    def _overflow_problems(self) -> list[str]:
        with np.errstate(all="ignore"):
            ends = self.apply(np.repeat(np.array([[0], [255]]), max(len(self.mean), len(self.std)), axis=1))
        # NaN compares as False: it is refused as well.
        fits = bool(np.all(np.abs(ends) <= _LARGEST))
        return [] if fits else ["std: the numbers become larger than float32 can take"]

    def apply(self, image: Array) -> NDArray[np.float32]:
        """float32 of the image's shape (…×C)."""
        values = image.astype(np.float32)
        values *= np.float32(self.scale)
        values /= np.float32(self.divisor)
        values -= np.asarray(self.mean, np.float32)
        values /= np.asarray(self.std, np.float32)
        return values


@dataclass(frozen=True, kw_only=True, slots=True)
class Cast:
    """Into the model's input tensor.

    ``quantize`` stores the real numbers by the tensor's scale and zero point (a float tensor
    takes them as they are); ``raw`` stores the numbers themselves, whatever the tensor's scale:
    for models fed with bytes. ``rounding``: see ``agent.quantize.quantize``. ``layout`` is the
    order of the tensor's axes; images only, and there required.
    """

    NAME = "cast"
    KIND = ""
    REVISION = 1

    mode: Literal["quantize", "raw"]
    rounding: Rounding
    layout: Literal["nhwc", "nchw"] | None = None

    def problems(self) -> list[str]:
        return []

    def numbers(self, values: Array, tensor: TensorSpec) -> Array:
        """What the tensor stores for ``values``, elementwise, in the tensor's dtype."""
        if self.mode == "raw":
            tensor = TensorSpec(name=tensor.name, shape=tensor.shape, dtype=tensor.dtype)
        return quantize(values, tensor, self.rounding)

    def arrange(self, numbers: Array, tensor: TensorSpec) -> Array:
        """The stored numbers in the tensor's shape, contiguous; FrameError when they do not fit."""
        if self.layout == "nchw":
            numbers = numbers.transpose(2, 0, 1)
        if self.layout is not None and numbers.shape != tensor.shape[1:]:
            found, wanted = _shape(numbers.shape), _shape(tensor.shape[1:])
            raise FrameError(f"cast: the image became {found}, the model's tensor is {wanted}")
        if numbers.size != math.prod(tensor.shape):
            raise FrameError(f"cast: {numbers.size} elements, the model's tensor is {_shape(tensor.shape)}")
        return np.ascontiguousarray(numbers).reshape(tensor.shape)

    def apply(self, values: Array, tensor: TensorSpec) -> Array:
        return self.arrange(self.numbers(values, tensor), tensor)


def _usable_divisor(value: float) -> bool:
    with np.errstate(over="ignore"):
        return bool(0.0 < abs(np.float32(value)) < np.inf)


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
