"""What each step made of a known input, recorded in training and compared on the device.

The fingerprint says that two machines run the same steps; a trace says whether their OpenCV and
file decoders make the same numbers of them. Every step's result is kept as a hash, which shows
equality of all values, and as a *probe* of up to 256 of them, which shows by how much they moved.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agent.contracts import Array, Payload, TensorSpec
from agent.preprocess.compiled import walk
from agent.preprocess.decoding import Decode
from agent.preprocess.image_header import read_header
from agent.preprocess.resize import Resize
from agent.preprocess.spec import PreprocessSpec
from agent.preprocess.steps import Step
from agent.preprocess.values import Cast, Color, Normalize
from agent.preprocess.vectors import Standardize
from agent.telemetry.messages import Reproduction

PROBES: Final = 256
DECODE_TOLERANCE: Final = 2.0
"""8-bit levels by which decoders of a lossy format may differ (rounding of the inverse transform)."""
RESIZE_TOLERANCE: Final = {
    "nearest": 0.0,
    "linear": 1.0,
    "linear_exact": 0.0,
    "area": 1.0,
    "cubic": 1.0,
    "lanczos4": 1.0,
    "tf_bilinear": 1e-4,
    "pillow_bilinear": 0.0,
    "pillow_bicubic": 0.0,
    "pillow13_bilinear": 0.0,
    "pillow13_bicubic": 0.0,
}
"""Levels of 0..255 by which versions and architectures differ, where the arithmetic is not fixed."""
GRAY_TOLERANCE: Final = 1.0
FLOAT_TOLERANCE: Final = 1e-5
"""Relative; float steps are fixed operation by operation, but compilers may fuse two of them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StepTrace:
    """One step's result: its hash, values at up to 256 fixed places spread over it, and
    ``tolerance``, the largest difference of a value that this and the earlier steps explain."""

    step: str
    revision: int
    shape: tuple[int, ...]
    dtype: str
    sha256: str
    probe: tuple[float, ...]
    tolerance: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """``step``: where values first moved (within tolerance) or moved too far (differs)."""

    verdict: Reproduction
    step: str | None
    detail: str


def trace(spec: PreprocessSpec, tensor: TensorSpec, payload: Payload) -> tuple[StepTrace, ...]:
    """One record per step. Raises SpecError or FrameError as preparing the frame would."""
    made = []
    tolerance = 0.0
    for step, value in walk(spec, tensor, payload):
        own = _decode_tolerance(payload) if isinstance(step, Decode) else 0.0
        tolerance = _tolerance_after(tolerance + own, step, tensor)
        made.append(_record(step, value, tolerance))
    return tuple(made)


def compare(recorded: Sequence[Sequence[StepTrace]], here: Sequence[Sequence[StepTrace]]) -> Comparison:
    """The worst verdict over several inputs, ``recorded`` against what this machine made of them."""
    if len(recorded) != len(here):
        detail = f"{len(recorded)} inputs recorded, {len(here)} run"
        return Comparison(verdict="differs", step=None, detail=detail)
    if not recorded:
        return Comparison(verdict="not checked", step=None, detail="no recorded inputs")
    found = [_compare_one(a, b) for a, b in zip(recorded, here, strict=True)]
    for verdict in ("differs", "within tolerance"):
        worst = [comparison for comparison in found if comparison.verdict == verdict]
        if worst:
            several = f" ({len(worst)} of {len(found)} inputs)" if len(found) > 1 else ""
            return Comparison(verdict=verdict, step=worst[0].step, detail=worst[0].detail + several)
    return Comparison(verdict="exact", step=None, detail=f"{len(found)} inputs")


def _compare_one(recorded: Sequence[StepTrace], here: Sequence[StepTrace]) -> Comparison:
    moved: Comparison | None = None
    for a, b in zip(recorded, here, strict=False):
        problem = _form_problem(a, b)
        if problem:
            return Comparison(verdict="differs", step=a.step, detail=f"{a.step}: {problem}")
        if a.sha256 == b.sha256:
            continue
        distance = np.abs(np.asarray(a.probe) - np.asarray(b.probe))
        # The probe may have missed every value that moved; the hash has not.
        worst = float(distance.max(initial=0.0))
        detail = (
            f"{a.step}: {np.count_nonzero(distance)} of {len(distance)} probed values moved, "
            f"by at most {worst:.3g} (tolerance {a.tolerance:.3g})"
        )
        # Written so that NaN, which compares as False, is out of tolerance.
        if a.tolerance == 0.0 or not worst <= a.tolerance:
            return Comparison(verdict="differs", step=a.step, detail=detail)
        moved = moved or Comparison(verdict="within tolerance", step=a.step, detail=detail)
    if len(recorded) != len(here):
        steps = f"{len(recorded)} steps recorded, {len(here)} run"
        return Comparison(verdict="differs", step=None, detail=steps)
    return moved or Comparison(verdict="exact", step=None, detail="")


def _form_problem(a: StepTrace, b: StepTrace) -> str:
    if (a.step, a.revision) != (b.step, b.revision):
        return f"revision {a.revision} recorded, here {b.step} revision {b.revision} runs"
    if (a.shape, a.dtype, len(a.probe)) != (b.shape, b.dtype, len(b.probe)):
        return f"{a.dtype} {_shown(a.shape)} recorded, {b.dtype} {_shown(b.shape)} here"
    return ""


def _record(step: Step, value: Array, tolerance: float) -> StepTrace:
    value = np.ascontiguousarray(value)
    return StepTrace(
        step=step.NAME,
        revision=step.REVISION,
        shape=value.shape,
        dtype=value.dtype.name,
        sha256=hashlib.sha256(value.tobytes()).hexdigest(),
        # float32 numbers are exact as Python floats; NaN (a reading not yet imputed) is not JSON.
        probe=tuple(np.nan_to_num(value.reshape(-1)[_places(value.size)].astype(np.float64)).tolist()),
        tolerance=tolerance,
    )


def _places(size: int) -> NDArray[np.intp]:
    """Up to 256 places spread evenly but not regularly (multiples of the golden ratio)."""
    if size <= PROBES:
        return np.arange(size)
    steps = np.arange(PROBES, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return (steps % np.uint64(size)).astype(np.intp)


def _decode_tolerance(payload: Payload) -> float:
    lossy = isinstance(payload, bytes) and read_header(payload).format in ("JPEG", "WebP")
    return DECODE_TOLERANCE if lossy else 0.0


def _tolerance_after(before: float, step: Step, tensor: TensorSpec) -> float:
    """What differences of up to ``before``, and this step's own, may amount to behind it."""
    if isinstance(step, Resize):
        return before + RESIZE_TOLERANCE[step.method]
    if isinstance(step, Color):
        return before + (GRAY_TOLERANCE if step.order == "gray" else 0.0)
    if isinstance(step, Normalize):
        gain = abs(step.scale / step.divisor) / min(map(abs, step.std))
        return gain * (before + 255 * FLOAT_TOLERANCE)
    if isinstance(step, Standardize):
        return before / min(map(abs, step.std)) + FLOAT_TOLERANCE
    if isinstance(step, Cast):
        return _tolerance_cast(before, step, tensor)
    return before


def _tolerance_cast(before: float, step: Cast, tensor: TensorSpec) -> float:
    if tensor.dtype == "float32":
        return before
    moved = before / tensor.scale if step.mode == "quantize" else before
    # A difference however small may cross the place where rounding changes its mind.
    return float(np.floor(moved)) + 1.0 if moved else 0.0


def _shown(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
