"""Preprocessing got wrong, step by step: what a team that deploys a model does by mistake.

Where the spec can say the mistake (another interpolation, no crop) the spec is changed; otherwise
the picture, the numbers or the tensor are.
"""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.contracts import Array, Image, TensorSpec
from agent.preprocess.geometry import Box, CenterCrop, CenterSquare, CentralFraction
from agent.preprocess.resize import Method, Resize
from agent.preprocess.spec import PreprocessSpec
from agent.preprocess.steps import Step
from calibration.replay.fault import Draws, Fault, ImageFault, Numbers, Respecified, TensorFault, bytes_of

_METHODS: Final[tuple[Method, ...]] = ("nearest", "linear", "cubic", "pillow_bilinear")
_MEAN: Final = np.array([0.485, 0.456, 0.406], np.float32)
_STD: Final = np.array([0.229, 0.224, 0.225], np.float32)


def step_faults() -> Iterator[Fault]:
    """Families ``preprocess:<step>``, the step of an image spec that was got wrong."""
    for family, by_name in (("color", _COLOR), ("decode", _DECODE_VIEW)):
        for name, view in by_name.items():
            yield Fault(family=f"preprocess:{family}", name=name, view=view)
    for family, by_name in _PICTURES.items():
        for name, picture in by_name.items():
            yield Fault(family=f"preprocess:{family}", name=name, picture=picture)
    for method in _METHODS:
        yield Fault(family="preprocess:resize", name=f"method {method}", spec=_resized(method))
    for part in (2, 4):
        yield Fault(family="preprocess:resize", name=f"resized through 1/{part}", view=through(part))
    yield Fault(family="preprocess:resize", name="nearest through 1/2", view=through(2, cv2.INTER_NEAREST))
    yield Fault(family="preprocess:crop", name="not cropped", spec=_uncropped)
    for name, numbers in _NUMBERS.items():
        yield Fault(family="preprocess:normalize", name=name, numbers=numbers)
    # What cast gets wrong shows as wrong numbers do, in the answers alone: one family, not two to confuse.
    for name, tensor in _TENSORS.items():
        yield Fault(family="preprocess:normalize", name=name, tensor=tensor)


def channels(order: str) -> ImageFault:
    """The channels of RGB given in another order, such as ``bgr``."""
    at = ["rgb".index(channel) for channel in order]
    return lambda image, _: np.ascontiguousarray(image[..., at])


def _converted(code: int) -> ImageFault:
    return lambda image, _: cv2.cvtColor(image, code)


def _planes(image: Image, _: Draws) -> Array:
    """NV12 read as NV21: the two chroma planes in each other's place."""
    luma, red, blue = cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb))
    return cv2.cvtColor(cv2.merge([luma, blue, red]), cv2.COLOR_YCrCb2RGB)


_COLOR: Final[dict[str, ImageFault]] = {
    "chroma planes swapped": _planes,
    **{f"channels {order}": channels(order) for order in ("bgr", "gbr", "brg", "rbg")},
    "YCrCb as RGB": _converted(cv2.COLOR_RGB2YCrCb),
    "YUV as RGB": _converted(cv2.COLOR_RGB2YUV),
    "HSV as RGB": _converted(cv2.COLOR_RGB2HSV),
    "HSV as RGB, full scale": _converted(cv2.COLOR_RGB2HSV_FULL),
}


def _luma(gain: float, offset: float) -> ImageFault:
    """The luma's range mistaken, the chroma's not."""

    def fault(image: Image, _: Draws) -> Array:
        planes = cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb)
        planes[..., 0] = bytes_of(gain * planes[..., 0] + offset)
        return cv2.cvtColor(planes, cv2.COLOR_YCrCb2RGB)

    return fault


_DECODE_VIEW: Final[dict[str, ImageFault]] = {
    "limited range not widened": lambda image, _: bytes_of(image * (219 / 255) + 16),
    "full range widened": lambda image, _: bytes_of((image - 16.0) * (255 / 219)),
    "limited luma not widened": _luma(219 / 255, 16.0),
    "full luma widened": _luma(255 / 219, -16 * 255 / 219),
}


def _reduced(part: int) -> ImageFault:
    def fault(image: Image, _: Draws) -> Array:
        height, width = image.shape[:2]
        size = max(width // part, 1), max(height // part, 1)
        return cv2.resize(image, size, interpolation=cv2.INTER_AREA)

    return fault


def kept(top: float, left: float, side: float) -> ImageFault:
    """A part of the picture: ``side`` of its height and width, from (top, left); all as shares."""

    def fault(image: Image, _: Draws) -> Array:
        height, width = image.shape[:2]
        tall, wide = max(round(side * height), 1), max(round(side * width), 1)
        row, column = min(round(top * height), height - tall), min(round(left * width), width - wide)
        return np.ascontiguousarray(image[row : row + tall, column : column + wide])

    return fault


def _square(image: Image, _: Draws) -> Array:
    height, width = image.shape[:2]
    side = min(height, width)
    row, column = (height - side) // 2, (width - side) // 2
    return np.ascontiguousarray(image[row : row + side, column : column + side])


def _letterboxed(value: int | None) -> ImageFault:
    """Made square by bars of ``value``; None repeats the edge."""

    def fault(image: Image, _: Draws) -> Array:
        height, width = image.shape[:2]
        side = max(height, width)
        down, across = side - height, side - width
        return _bordered(image, down // 2, down - down // 2, across // 2, across - across // 2, value)

    return fault


def _framed(share: float, value: int | None) -> ImageFault:
    def fault(image: Image, _: Draws) -> Array:
        down, across = (max(round(share * length), 1) for length in image.shape[:2])
        return _bordered(image, down, down, across, across, value)

    return fault


def _bordered(image: Image, top: int, bottom: int, left: int, right: int, value: int | None) -> Array:
    kind = cv2.BORDER_REPLICATE if value is None else cv2.BORDER_CONSTANT
    return cv2.copyMakeBorder(image, top, bottom, left, right, kind, value=(value or 0,) * 3)


def _rotated(code: int) -> ImageFault:
    return lambda image, _: cv2.rotate(image, code)


def _flipped(code: int) -> ImageFault:
    return lambda image, _: cv2.flip(image, code)


_PICTURES: Final[dict[str, dict[str, ImageFault]]] = {
    "resize": {"decoded at 1/8": _reduced(8)},
    "crop": {
        **{f"central {side:g}": kept((1 - side) / 2, (1 - side) / 2, side) for side in (0.75, 0.6, 0.4)},
        "upper left .7": kept(0, 0, 0.7),
        "lower right .7": kept(0.3, 0.3, 0.7),
        "central square": _square,
    },
    "pad": {
        "black bars": _letterboxed(0),
        "grey bars": _letterboxed(114),
        "edge repeated": _letterboxed(None),
        "white bars": _letterboxed(255),
        "black frame .12": _framed(0.12, 0),
        "grey frame .25": _framed(0.25, 114),
        "grey frame .16": _framed(0.16, 114),
        "white frame .08": _framed(0.08, 255),
        "white frame .15": _framed(0.15, 255),
        "edge repeated .2": _framed(0.2, None),
        "edge repeated .4": _framed(0.4, None),
    },
    "rotate": {
        "90° clockwise": _rotated(cv2.ROTATE_90_CLOCKWISE),
        "180°": _rotated(cv2.ROTATE_180),
        "90° anticlockwise": _rotated(cv2.ROTATE_90_COUNTERCLOCKWISE),
        "upside down": _flipped(0),
        "rows for columns": lambda image, _: cv2.transpose(image),
        "rows for columns, backwards": lambda image, _: cv2.rotate(cv2.transpose(image), cv2.ROTATE_180),
    },
}


def _resized(method: Method) -> Respecified:
    def respecified(spec: PreprocessSpec) -> PreprocessSpec | None:
        steps = tuple(
            dataclasses.replace(step, method=method) if isinstance(step, Resize) else step
            for step in spec.steps
        )
        return None if steps == spec.steps else dataclasses.replace(spec, steps=steps)

    return respecified


def _uncropped(spec: PreprocessSpec) -> PreprocessSpec | None:
    """Without any crop; a crop behind the resize leaves it to stretch to the crop's size."""
    size: tuple[int, int] | None = None
    kept_steps: list[Step] = []
    for step in reversed(spec.steps):
        if isinstance(step, CenterCrop):
            size = size or (step.width, step.height)
        elif isinstance(step, Resize) and size is not None:
            kept_steps.append(dataclasses.replace(step, width=size[0], height=size[1], aspect="stretch"))
            size = None
        elif not isinstance(step, (CentralFraction, CenterSquare, Box)):
            kept_steps.append(step)
    if len(kept_steps) == len(spec.steps):
        return None
    return dataclasses.replace(spec, steps=tuple(reversed(kept_steps)))


def through(part: int, method: int = cv2.INTER_AREA) -> ImageFault:
    """Resized to one ``part``-th of the model's size first, and up from there."""

    def fault(image: Image, _: Draws) -> Array:
        height, width = image.shape[:2]
        small = cv2.resize(image, (max(width // part, 1), max(height // part, 1)), interpolation=method)
        up = cv2.INTER_NEAREST if method == cv2.INTER_NEAREST else cv2.INTER_LINEAR
        return cv2.resize(small, (width, height), interpolation=up)

    return fault


def _standardised(shares: NDArray[np.float32]) -> NDArray[np.float32]:
    if shares.shape[-1] != len(_MEAN):
        return (shares - np.float32(_MEAN.mean())) / np.float32(_STD.mean())
    return (shares - _MEAN) / _STD


_NUMBERS: Final[dict[str, Numbers]] = {
    "0 … 1": lambda shares: shares,
    "-1 … 1": lambda shares: 2 * shares - 1,
    "0 … 255": lambda shares: 255 * shares,
    "1 … -1 (sign)": lambda shares: 1 - 2 * shares,
    "1 … 0 (negative)": lambda shares: 1 - shares,
    "ImageNet's mean and std": _standardised,
}


def _scale(tensor: Array) -> float:
    """The width of the tensor's range."""
    return 255.0 if tensor.dtype.kind in "iu" else float(np.ptp(tensor)) or 1.0


def _stored(values: Array, like: Array) -> Array:
    if like.dtype.kind not in "iu":
        return values.astype(like.dtype)
    limits = np.iinfo(like.dtype)
    return np.clip(np.rint(values), limits.min, limits.max).astype(like.dtype)


def _stretched(factor: float) -> TensorFault:
    def fault(tensor: Array, spec: TensorSpec) -> Array:
        return _stored(factor * (tensor.astype(np.float64) - spec.zero_point) + spec.zero_point, tensor)

    return fault


def _wrapped(tensor: Array, _: TensorSpec) -> Array:
    """uint8 taken for int8, or the other way round: half of the range lands at its other end."""
    if tensor.dtype.itemsize == 1:
        return (tensor.view(np.uint8) ^ 0x80).view(tensor.dtype)
    low, wide = float(tensor.min()), _scale(tensor)
    return (low + (tensor - low + wide / 2) % wide).astype(tensor.dtype)


def _planar(tensor: Array, spec: TensorSpec) -> Array:
    """The last axis written first: planes where the model expects pixels."""
    return np.ascontiguousarray(np.moveaxis(tensor, -1, 1)).reshape(spec.shape)


_TENSORS: Final[dict[str, Callable[[Array, TensorSpec], Array]]] = {
    "sign bit": _wrapped,
    "planes for pixels": _planar,
    "scale halved": _stretched(0.5),
    "scale doubled": _stretched(2.0),
}
