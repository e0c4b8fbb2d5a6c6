"""A golden input's training-side and device-side tensor as two pictures, and their difference.

Both sides are shown by the training side's own value range, so that a wrong range is seen as what it
is: a washed-out or blackened picture. The difference has a fixed scale: black where the two agree,
brightest from ``AMPLIFIED_TO`` of 256 grey levels on, so that pictures compare with each other.
"""

import base64
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.contracts import Array, Image, TensorSpec
from agent.preprocess.compiled import lookup_table
from agent.preprocess.spec import PreprocessSpec, is_image
from agent.preprocess.values import Cast, Color, Normalize
from calibration.check_result import Picture

AMPLIFIED_TO = 32
"""Grey levels (of 256) apart at which the difference is brightest."""
_LARGEST_SIDE, _JPEG_FROM_PIXELS, _JPEG_QUALITY = 320, 128 * 128, 88
_NOT_A_NUMBER = np.array([255, 0, 255], np.uint8)
_RANGES = ((0.0, 1.0), (-1.0, 1.0), (0.0, 255.0), (-128.0, 127.0))
"""What images usually span; the narrowest that the training side fills to a fifth is taken."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Look:
    """How a tensor becomes grey levels: ``low`` and ``high`` per channel (or one for all) are black
    and white."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    planar: bool | None
    reversed: bool

    def levels(self, tensor: Array) -> NDArray[np.float64]:
        """H×W×C, 0 to 255 where the training side's values lie; not clipped, NaN stays."""
        values = _pixels(tensor, self.planar).astype(np.float64)
        span = np.where(self.high == self.low, 1.0, self.high - self.low)
        bounds = (self.low, span) if values.shape[2] == self.low.size else (self.low.min(), span.max())
        shown: NDArray[np.float64] = (values - bounds[0]) / bounds[1] * 255
        return shown[:, :, ::-1] if self.reversed and shown.shape[2] == 3 else shown


def picture(
    *,
    name: str,
    rung: str,
    was: str,
    now: str,
    label: str | None,
    training: Array,
    device: Array,
    tensor: TensorSpec,
    spec: PreprocessSpec | None = None,
) -> Picture:
    """Both sides of one input as they reach the model, as JPEG (PNG when small), base64.

    ``training`` and ``device`` are input tensors of any number type, with or without batch axis, with
    one or three channels last or first; others are averaged, a vector becomes a strip. With ``spec``
    the range, layout and colour order are taken from it and ``tensor``; without it they are guessed
    from ``training`` and ``tensor``. Values outside the range are clipped, NaN is magenta. A device
    tensor of another shape is scaled to the training side's before the two are compared. Where either
    is empty there is nothing to show: all three are "".
    """
    if not training.size or not device.size:
        return Picture(
            name=name, rung=rung, was=was, now=now, label=label, training="", device="", difference=""
        )
    look = _look(training, tensor, spec)
    ours, theirs = look.levels(training), look.levels(device)
    return Picture(
        name=name,
        rung=rung,
        was=was,
        now=now,
        label=label,
        training=_encoded(_rgb(ours)),
        device=_encoded(_rgb(theirs)),
        difference=_encoded(_heat(ours, theirs)),
    )


def _look(training: Array, tensor: TensorSpec, spec: PreprocessSpec | None) -> _Look:
    if spec is not None and is_image(spec):
        cast = next(step for step in spec.steps if isinstance(step, Cast))
        normalize = next((step for step in spec.steps if isinstance(step, Normalize)), None)
        order = next((step.order for step in spec.steps if isinstance(step, Color)), "rgb")
        table = lookup_table(normalize, cast, tensor, 1 if order == "gray" else 3).astype(np.float64)
        if np.all(table[0] != table[255]):
            planar = cast.layout == "nchw"
            return _Look(low=table[0], high=table[255], planar=planar, reversed=order == "bgr")
    low, high = _guessed_range(training)
    return _Look(low=np.array([low]), high=np.array([high]), planar=None, reversed=False)


def _guessed_range(training: Array) -> tuple[float, float]:
    if training.dtype == np.uint8:
        return 0.0, 255.0
    if training.dtype == np.int8:
        return -128.0, 127.0
    finite = training[np.isfinite(training)].astype(np.float64)
    if not finite.size:
        return 0.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    usual = (
        each
        for each in _RANGES
        if each[0] <= low and high <= each[1] and high - low >= (each[1] - each[0]) / 5
    )
    return min(usual, key=lambda each: each[1] - each[0], default=(low, high))


def _pixels(tensor: Array, planar: bool | None) -> Array:
    """H×W×C of a tensor with or without a batch axis; a vector becomes one row."""
    while tensor.ndim > 2 and tensor.shape[0] == 1 and (tensor.ndim > 3 or tensor.shape[2] not in (1, 3)):
        tensor = tensor[0]
    if tensor.ndim < 3:
        return np.atleast_2d(tensor)[:, :, None]
    tensor = tensor.reshape(-1, *tensor.shape[-2:]) if tensor.ndim > 3 else tensor
    if planar is None:
        planar = tensor.shape[2] not in (1, 3) and tensor.shape[0] in (1, 3)
    arranged = np.moveaxis(tensor, 0, 2) if planar else tensor
    return arranged if arranged.shape[2] in (1, 3) else arranged.mean(axis=2, keepdims=True)


def _rgb(levels: NDArray[np.float64]) -> Image:
    broken = ~np.isfinite(levels).all(axis=2)
    clipped = np.clip(np.rint(np.nan_to_num(levels, nan=0.0)), 0, 255).astype(np.uint8)
    shown: Image = np.repeat(clipped, 3, axis=2) if clipped.shape[2] == 1 else clipped.copy()
    shown[broken] = _NOT_A_NUMBER
    return shown


def _heat(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> Image:
    """The largest channel's difference, square root of its share of AMPLIFIED_TO, dark to bright."""
    if theirs.shape[:2] != ours.shape[:2]:
        theirs = _resized(theirs, (ours.shape[1], ours.shape[0]))
    if theirs.shape[2] != ours.shape[2]:
        ours, theirs = ours.mean(axis=2, keepdims=True), theirs.mean(axis=2, keepdims=True)
    apart = np.nan_to_num(np.abs(ours - theirs), nan=np.inf, posinf=AMPLIFIED_TO).max(axis=2)
    share = np.sqrt(np.clip(apart / AMPLIFIED_TO, 0, 1))
    heat = cv2.applyColorMap(np.rint(share * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)
    shown: Image = cv2.cvtColor(heat, cv2.COLOR_BGR2RGB).astype(np.uint8)
    return shown


def _resized(levels: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float64]:
    made = cv2.resize(levels, size, interpolation=cv2.INTER_NEAREST)
    return made.reshape(size[1], size[0], levels.shape[2]).astype(np.float64)


def _encoded(rgb: Image) -> str:
    height, width = rgb.shape[:2]
    if max(height, width) > _LARGEST_SIDE:
        scale = _LARGEST_SIDE / max(height, width)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
    jpeg = rgb.shape[0] * rgb.shape[1] >= _JPEG_FROM_PIXELS
    options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY] if jpeg else []
    made, data = cv2.imencode(".jpg" if jpeg else ".png", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), options)
    if not made:
        raise RuntimeError(f"OpenCV cannot encode a picture of {width}×{height}")
    return base64.b64encode(data.tobytes()).decode()
