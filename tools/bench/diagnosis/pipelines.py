"""Every pipeline of the bench: the healthy ones and those with one mistake, with the right answer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

import cv2
import numpy as np
from PIL import Image as Pillow

from agent.contracts import Array, TensorSpec
from tools.bench.diagnosis import picture_faults as picture
from tools.bench.diagnosis import value_faults as value
from tools.bench.diagnosis.shot import Shot, bilinear, central, middle, rounded, shorter_side, squeezed

Training: TypeAlias = Literal["central", "aspect"]
"""What the model's training did: the central 87.5 % squeezed into the square (as the data pack says),
or, to show a lost aspect, the shorter side to 256 pixels and the central square of that."""
Picture: TypeAlias = Callable[[Shot], Array]
Stage: TypeAlias = Callable[[Array], Array]
Values: TypeAlias = Callable[[Array, TensorSpec], Array]
_ANY: Final = ("float32", "uint8", "int8")
_REAL: Final = ("float32", "int8")
_BYTES: Final = ("uint8", "int8")
_RIGHT: Final[dict[Training, Picture]] = {
    "central": picture.trained,
    "aspect": lambda shot: shorter_side(shot.opencv),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Pipeline:
    """From an encoded photograph to the tensor. ``step``: the step of the spec that is wrong, None
    when nothing is; ``also``: other steps that would be as right an answer. ``dtypes``: the input
    tensors it exists for."""

    name: str
    by: str
    step: str | None
    picture: Picture
    values: Values = value.trained
    also: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = _ANY
    training: Training = "central"

    @property
    def key(self) -> str:
        return f"{self.name} ({self.by})"

    @property
    def causes(self) -> tuple[str, ...]:
        steps = () if self.step is None else (self.step, *self.also)
        return tuple(f"preprocess:{step}" for step in steps)

    def tensor(self, shot: Shot, tensor: TensorSpec) -> Array:
        return self.values(self.picture(shot), tensor)


def right(training: Training) -> Pipeline:
    """The training side itself."""
    return Pipeline(name="trained", by=training, step=None, picture=_RIGHT[training], training=training)


def _healthy(
    by: str,
    made: Picture,
    values: Values = value.trained,
    dtypes: tuple[str, ...] = _ANY,
    training: Training = "central",
) -> Pipeline:
    return Pipeline(
        name="healthy", by=by, step=None, picture=made, values=values, dtypes=dtypes, training=training
    )


_HEALTHY: Final = (
    _healthy("OpenCV, linear", picture.trained),
    _healthy("OpenCV, exact linear", lambda shot: squeezed(central(shot.opencv), cv2.INTER_LINEAR_EXACT)),
    _healthy("Pillow's decoder", lambda shot: squeezed(central(shot.pillow))),
    _healthy("NumPy, linear", lambda shot: rounded(bilinear(central(shot.opencv)))),
    _healthy("Pillow's decoder, NumPy, linear", lambda shot: rounded(bilinear(central(shot.pillow)))),
    _healthy("NumPy, linear, not rounded", lambda shot: bilinear(central(shot.opencv)), dtypes=_REAL),
    _healthy("other arithmetic", picture.trained, values=value.trained_otherwise, dtypes=_REAL),
    _healthy("aspect kept, Pillow's decoder", lambda shot: shorter_side(shot.pillow), training="aspect"),
)


def _values(
    name: str, step: str, by: str, made: Values, also: tuple[str, ...] = (), dtypes: tuple[str, ...] = _ANY
) -> Pipeline:
    return Pipeline(
        name=name, by=by, step=step, picture=picture.trained, values=made, also=also, dtypes=dtypes
    )


_RANGE = ("cast",)
"""A spec that takes the bytes as they are has no normalize: then its cast is the step that is wrong."""
_VALUES: Final = (
    _values("NCHW", "cast", "planes written", value.planar),
    _values("NCHW", "cast", "planes read", value.planar_read),
    _values("[0, 1]", "normalize", "NumPy", value.unit, _RANGE),
    _values("[0, 1]", "normalize", "OpenCV", value.unit_opencv, _RANGE),
    _values("mean and std", "normalize", "NumPy", value.mean_std, _RANGE),
    _values("mean and std", "normalize", "OpenCV", value.mean_std_opencv, _RANGE),
    _values("signedness", "cast", "bit", value.sign_flipped, dtypes=_BYTES),
    _values("signedness", "cast", "negative numbers cut off", value.sign_cut_off, dtypes=("uint8",)),
    # Bytes as they are, in a model that wants [-1, 1]: nothing was normalized either.
    _values("signedness", "cast", "bytes cut off", value.bytes_cut_off, ("normalize",), dtypes=("int8",)),
)


def _whole(name: str, step: str, by: str, stage: Stage, also: tuple[str, ...] = ()) -> Pipeline:
    """``stage`` makes the 224×224 picture of the whole decoded photograph."""
    return Pipeline(name=name, by=by, step=step, picture=lambda shot: stage(shot.opencv), also=also)


def _cropped(name: str, step: str, by: str, stage: Stage, also: tuple[str, ...] = ()) -> Pipeline:
    """``stage`` makes it of the rightly cropped photograph."""
    return _whole(name, step, by, lambda image: stage(central(image)), also)


def _decoded(name: str, step: str, by: str, stage: Stage) -> Pipeline:
    """``stage`` spoils the decoded photograph; the rest is right."""
    return _whole(name, step, by, lambda image: squeezed(central(stage(image))))


def _squashed(by: str, stage: Stage) -> Pipeline:
    """An aspect that training kept; the same picture is had by another crop, so that is as right."""
    return Pipeline(
        name="squash",
        by=by,
        step="resize",
        also=("crop",),
        picture=lambda shot: stage(shot.opencv),
        training="aspect",
    )


_BOXED = ("resize",)
_GEOMETRY: Final = (
    _whole("no crop", "crop", "OpenCV", squeezed),
    _whole("no crop", "crop", "NumPy", lambda image: rounded(bilinear(image))),
    _whole("central square", "crop", "OpenCV", lambda image: squeezed(picture.square(image))),
    _squashed("OpenCV", squeezed),
    _squashed("NumPy, then crop", lambda image: middle(rounded(bilinear(image, 256, 256)), 224, 224)),
    _cropped("letterbox", "pad", "OpenCV, black", lambda image: picture.letterbox(image, 0), _BOXED),
    _cropped("letterbox", "pad", "NumPy, grey", lambda image: picture.bordered(image, 114), _BOXED),
    _whole(
        "letterbox", "pad", "whole picture", lambda image: picture.letterbox(image, 0), ("resize", "crop")
    ),
    _cropped("rotate 90", "rotate", "OpenCV", lambda image: cv2.rotate(squeezed(image), 0)),
    _cropped("rotate 90", "rotate", "NumPy", lambda image: np.rot90(squeezed(image))),
    _cropped("rotate 180", "rotate", "OpenCV", lambda image: squeezed(np.asarray(cv2.rotate(image, 1)))),
    _cropped("rotate 180", "rotate", "NumPy", lambda image: squeezed(image)[::-1, ::-1]),
    _cropped("horizontal flip", "rotate", "OpenCV", lambda image: cv2.flip(squeezed(image), 1)),
    _cropped("horizontal flip", "rotate", "NumPy", lambda image: squeezed(image[:, ::-1].copy())),
)


def _flagged(flag: int) -> Stage:
    return lambda image: squeezed(image, flag)


def _by_pillow(method: Pillow.Resampling) -> Stage:
    return lambda image: picture.pillow_resized(image, method)


_BY_PILLOW = Pillow.Resampling
_RESAMPLING: Final = (
    _cropped("nearest", "resize", "OpenCV", _flagged(cv2.INTER_NEAREST)),
    _cropped("nearest", "resize", "Pillow", _by_pillow(_BY_PILLOW.NEAREST)),
    _cropped("area", "resize", "OpenCV", _flagged(cv2.INTER_AREA)),
    _cropped("area", "resize", "Pillow", _by_pillow(_BY_PILLOW.BOX)),
    _cropped("cubic", "resize", "OpenCV", _flagged(cv2.INTER_CUBIC)),
    _cropped("cubic", "resize", "Pillow", _by_pillow(_BY_PILLOW.BICUBIC)),
    _cropped("antialias", "resize", "Pillow", _by_pillow(_BY_PILLOW.BILINEAR)),
    _cropped("antialias", "resize", "NumPy", picture.antialiased),
    _cropped("low resolution", "resize", "OpenCV", picture.low_opencv),
    _cropped("low resolution", "resize", "Pillow", picture.low_pillow),
)
_DECODING: Final = (
    _decoded("BGR", "color", "OpenCV", lambda image: np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2BGR))),
    _decoded("BGR", "color", "NumPy", lambda image: image[:, :, ::-1].copy()),
    _decoded("limited range", "decode", "NumPy", picture.limited_read_as_full),
    _decoded("limited range", "decode", "OpenCV I420", picture.limited_read_as_full_i420),
    _decoded("limited range", "decode", "cut off", picture.full_read_as_limited),
    _decoded("UV swap", "decode", "NumPy", picture.uv_swapped),
    _decoded("UV swap", "decode", "OpenCV YV12", picture.uv_swapped_i420),
    _decoded("gamma", "decode", "2.2", picture.darkened),
    _decoded("gamma", "decode", "sRGB undone", picture.linear_light),
    _decoded("JPEG quality 10", "decode", "OpenCV", picture.jpeg_opencv),
    _decoded("JPEG quality 10", "decode", "Pillow", picture.jpeg_pillow),
)
PIPELINES: Final[tuple[Pipeline, ...]] = (
    right("central"),
    right("aspect"),
    *_HEALTHY,
    *_DECODING,
    *_GEOMETRY,
    *_RESAMPLING,
    *_VALUES,
)
BY_KEY: Final = {pipeline.key: pipeline for pipeline in PIPELINES}
"""Workers are told keys: functions cannot be sent."""
