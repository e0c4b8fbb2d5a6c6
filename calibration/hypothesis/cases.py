"""One sample compared: equal, within tolerance or not, and what small differences come from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

import numpy as np

from agent.contracts import Array, Image, Payload, TensorSpec
from agent.preprocess.compiled import compile_spec
from agent.preprocess.decoding import Decode
from agent.preprocess.resize import Resize
from agent.preprocess.spec import PreprocessSpec
from agent.preprocess.trace import DECODE_TOLERANCE, GRAY_TOLERANCE, RESIZE_TOLERANCE
from agent.preprocess.values import Color
from calibration.hypothesis.form import Picture, unbatched
from calibration.hypothesis.geometry import spec_placement
from calibration.hypothesis.hypothesis import Difference, Floats
from calibration.hypothesis.recipe import base_of
from calibration.hypothesis.values import name_exactly, spec_scale, steps_of

Within: TypeAlias = Literal["exact", "tolerance", "no"]
_MOST_RMS: Final = 1.25
_LAST_BITS: Final = 1e-3
"""Levels: what float arithmetic in another order may change."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """``payload``: the encoded original; ``found``: the tensor that the other code made of it;
    ``expected``: the training-side tensor, or None for what the spec makes here."""

    payload: Payload
    found: Array
    expected: Array | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """The spec and the tensor that samples are held against."""

    spec: PreprocessSpec
    tensor: TensorSpec
    picture: Picture
    decode: Decode


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """A difference in levels of 0..255: root mean square, 99th percentile, largest; infinite where the
    arrays cannot be compared. ``tolerance``: what the 99th percentile may be."""

    rms: float
    high: float
    largest: float
    tolerance: float

    @property
    def within(self) -> Within:
        if self.largest <= _LAST_BITS:
            return "exact"
        most = min(0.75 * self.tolerance, _MOST_RMS)
        return "tolerance" if self.high <= self.tolerance and self.rms <= most else "no"


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """``pixels``: the decoded original; ``made``: the spec's tensor; ``expected``: training's, or that."""

    sample: Sample
    pixels: Image
    made: Array
    expected: Array
    compared: Compared


def lossy(payload: Payload) -> bool:
    """Whether decoders may differ on it."""
    return isinstance(payload, bytes) and (payload[:2] == b"\xff\xd8" or payload[8:12] == b"WEBP")


def compare(found: Array, expected: Array, subject: Subject, from_lossy: bool) -> Compared:
    """``found`` may lack the batch axis, and hold the real numbers of a tensor that stores integers."""
    picture = subject.picture
    image = unbatched(found)
    if image.shape != picture.axes:
        return Compared(rms=np.inf, high=np.inf, largest=np.inf, tolerance=0.0)
    scale = spec_scale(subject.spec, subject.tensor, picture.channels)
    gain = scale.gain if picture.layout == "nhwc" else scale.gain[:, None, None]
    wanted = unbatched(expected).astype(np.float64)
    numbers: Floats = image.astype(np.float64)
    if (
        image.dtype.kind == "f"
        and subject.tensor.dtype != "float32"
        and steps_of(subject.spec)[1].mode == "quantize"
    ):
        stored = numbers / subject.tensor.scale + subject.tensor.zero_point
        if np.abs(stored - wanted).mean() < np.abs(numbers - wanted).mean():
            numbers = _stored(image, subject.tensor)
    difference = np.abs((numbers - wanted) / gain)
    return Compared(
        rms=float(np.sqrt(np.mean(difference**2))),
        high=float(np.quantile(difference, 0.99)) if difference.any() else 0.0,
        largest=float(difference.max(initial=0.0)),
        tolerance=_tolerance(subject, from_lossy, float(np.abs(scale.gain).min())),
    )


def exif_alone(differing: Sequence[Case], subject: Subject) -> Difference | None:
    """Whether all that differs is how pictures with an orientation tag are turned."""
    other: Literal["apply", "ignore"] = "ignore" if subject.decode.exif == "apply" else "apply"
    decode = replace(subject.decode, exif=other)
    compiled = compile_spec(replace(subject.spec, steps=(decode, *subject.spec.steps[1:])), subject.tensor)
    for case in differing:
        pixels = decode.apply(case.sample.payload)
        if pixels.shape == case.pixels.shape and np.array_equal(pixels, case.pixels):
            return None
        made = compiled(pixels).tensor
        if compare(case.sample.found, made, subject, lossy(case.sample.payload)).within == "no":
            return None
    applied = "is applied" if other == "apply" else "is ignored"
    return Difference(
        step="decode",
        kind="exif",
        text=f"the EXIF orientation {applied}, the spec says {subject.decode.exif}",
    )


def padding_alone(differing: Sequence[Case], subject: Subject) -> Difference | None:
    """Whether all that differs is the value around a letterboxed picture."""
    if not any(step.NAME == "pad" for step in subject.spec.steps):
        return None
    picture = subject.picture
    scale = spec_scale(subject.spec, subject.tensor, picture.channels)
    values = []
    for case in differing:
        found, wanted = (unbatched(array) for array in (case.sample.found, case.expected))
        if found.shape != picture.axes:
            return None
        if picture.layout == "nchw":
            found, wanted = found.transpose(1, 2, 0), wanted.transpose(1, 2, 0)
        left, top, right, bottom = spec_placement(subject.spec.steps, case.pixels.shape[:2]).target
        outside = np.ones(found.shape[:2], bool)
        outside[top:bottom, left:right] = False
        apart = np.abs((found.astype(np.float64) - wanted) / scale.gain)
        if not outside.any() or float(np.quantile(apart[~outside], 0.99)) > case.compared.tolerance:
            return None
        if float(np.ptp(found[outside], axis=0).max()) > 1e-6:
            return None
        values.append(scale.levels(found[outside][0].astype(np.float64)))
    shown = ", ".join(f"{value:.3g}" for value in np.median(values, axis=0))
    text = f"the picture is surrounded with other values than the spec's ({shown} in levels of 255)"
    return Difference(step="pad", kind="padding value", text=text)


def small_difference(cases: Sequence[Case], subject: Subject) -> Difference:
    """The likeliest origin of differences within tolerance."""
    named = _named(cases, subject)
    if named:
        return named
    resizes = any(isinstance(step, Resize) for step in subject.spec.steps)
    beyond = max(case.compared.largest for case in cases) > 1.01
    if all(lossy(case.sample.payload) for case in cases) and (beyond or not resizes):
        return Difference(step="decode", kind="decoder", text="another decoder of lossy files")
    if resizes:
        text = "the same resampling in other arithmetic (rounding)"
        return Difference(step="resize", kind="rounding", text=text)
    return Difference(step="cast", kind="rounding", text="other rounding")


def unknown(differing: Sequence[Case], total: float) -> Difference:
    """What to say when nothing explains."""
    levels = float(np.sqrt(total))
    if all(lossy(case.sample.payload) for case in differing) and levels <= 5.0:
        text = (
            f"the pixels differ by {levels:.2g} levels of 255 (root mean square) though the same part is "
            "shown, turned, resampled and scaled alike: another JPEG decoder, or other settings of it"
        )
        return Difference(step="decode", kind="decoder", text=text)
    text = (
        f"the tensors differ by {levels:.3g} levels of 255 (root mean square), by none of the known "
        "differences"
    )
    return Difference(step="decode", kind="unknown", text=text)


def _named(cases: Sequence[Case], subject: Subject) -> Difference | None:
    """A rounding or normalisation that gives exactly these numbers."""
    picture = subject.picture
    if picture.channels != 3:
        return None
    levels, numbers = [], []
    order = next(step.order for step in subject.spec.steps if isinstance(step, Color))
    for case in cases[:4]:
        base = base_of(subject.spec, case.pixels)
        levels.append((base[..., ::-1] if order == "bgr" else base)[::2, ::2].reshape(-1, 3))
        image = unbatched(case.sample.found)
        image = image if picture.layout == "nhwc" else image.transpose(1, 2, 0)
        numbers.append(image[::2, ::2].reshape(-1, 3))
    exact = name_exactly(np.concatenate(levels), np.concatenate(numbers), subject.spec, subject.tensor)
    return exact[0] if exact and exact[1] < 1e-5 else None


def _stored(real: Array, tensor: TensorSpec) -> Floats:
    info = np.iinfo(tensor.dtype)
    stored = np.rint(real.astype(np.float64) / tensor.scale) + tensor.zero_point
    return np.asarray(np.clip(stored, info.min, info.max))


def _tolerance(subject: Subject, from_lossy: bool, gain: float) -> float:
    """Levels that the spec's steps may differ by between machines, at least one."""
    allowed = DECODE_TOLERANCE if from_lossy else 0.0
    for step in subject.spec.steps:
        if isinstance(step, Resize):
            allowed += RESIZE_TOLERANCE[step.method]
        elif isinstance(step, Color) and step.order == "gray":
            allowed += GRAY_TOLERANCE
    if subject.tensor.dtype != "float32":
        allowed += 1.0 / gain  # one stored number
    return max(allowed, 1.0) + _LAST_BITS
