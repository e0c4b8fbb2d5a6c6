"""Does this machine reproduce what the bundle recorded? Asked once, at start.

Two questions: does preprocessing give the recorded tensors (OpenCV and the image decoder of this
machine against the packing machine's), and does the model give the recorded answer.
"""

from dataclasses import dataclass

import numpy as np

from agent.bundle import Bundle
from agent.contracts import Array, Classification, Prediction, Runner, TensorSpec
from agent.errors import FrameError
from agent.golden import GoldenInput
from agent.golden_tensor import restore
from agent.preprocess.compiled import Compiled
from agent.preprocess.trace import Comparison, compare, trace
from agent.quantize import dequantize

VECTORS = 4
"""Packed vectors compared at start; the first golden inputs of the bundle."""
TRIES = 3
"""A golden input whose top two classes are close may flip between kernels; three do not all."""
GOLDEN = max(VECTORS, TRIES)
"""How many golden inputs an agent needs in memory."""
OUTPUT_TOLERANCE = 0.1
"""Allowed difference of an output without classes, as a share of the recorded output's range."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """Whether a golden input came out right; ``detail`` says what came instead."""

    right: bool
    detail: str = ""


def reproduces(bundle: Bundle, tensor: TensorSpec) -> Comparison:
    """Compare this machine's preprocessing with the recorded traces, step by step."""
    chosen = [golden for golden in bundle.golden.inputs if golden.traces][:VECTORS]
    if not chosen:
        return Comparison(verdict="not checked", step=None, detail="the bundle has no packed vectors")
    try:
        here = [trace(bundle.spec, tensor, golden.payload) for golden in chosen]
    except FrameError as error:
        # What was decoded while packing cannot be read here at all.
        return Comparison(verdict="differs", step=chosen[0].traces[0].step, detail="; ".join(error.problems))
    return compare([golden.traces for golden in chosen], here)


def answers(bundle: Bundle, preprocess: Compiled, runner: Runner) -> Answer:
    """Run golden inputs through the bundle's own preprocessing and this runner."""
    chosen = [golden for golden in bundle.golden.inputs if golden.outputs][:TRIES]
    recording = bundle.golden.recording
    # Where training is known to prepare otherwise, its answers are to be had from its tensors alone.
    from_tensors = recording is not None and bool(recording.difference)
    if not chosen:
        return Answer(right=True, detail="the bundle has no recorded outputs")
    found = ""
    for golden in chosen:
        try:
            raw = runner.run(_tensor(golden, preprocess, runner.input, from_tensors))
            found = _difference(bundle, golden, raw, runner.outputs)
        except FrameError as error:
            found = f"{golden.name}: {'; '.join(error.problems)}"
        if not found:
            return Answer(right=True)
    return Answer(right=False, detail=found)


def _tensor(golden: GoldenInput, preprocess: Compiled, spec: TensorSpec, from_tensors: bool) -> Array:
    if from_tensors and golden.tensor is not None:
        return restore(golden.tensor, preprocess, spec)
    return preprocess(golden.payload).tensor


def _difference(
    bundle: Bundle, golden: GoldenInput, raw: tuple[Array, ...], specs: tuple[TensorSpec, ...]
) -> str:
    wanted = bundle.decoder.decode(golden.outputs, specs)
    given = bundle.decoder.decode(raw, specs)
    if isinstance(wanted, Classification) and isinstance(given, Classification):
        return "" if wanted.top == given.top else f"{golden.name}: class {given.top} instead of {wanted.top}"
    return _numeric_difference(golden, raw, specs, given)


def _numeric_difference(
    golden: GoldenInput, raw: tuple[Array, ...], specs: tuple[TensorSpec, ...], given: Prediction
) -> str:
    for recorded, value, spec in zip(golden.outputs, raw, specs, strict=True):
        was, now = dequantize(recorded, spec), dequantize(value, spec)
        allowed = OUTPUT_TOLERANCE * max(float(np.ptp(was)), float(np.abs(was).max()), 1e-6)
        # Written so that NaN, which is not less than anything, counts as different.
        if was.shape != now.shape or not float(np.abs(was - now).max()) <= allowed:
            return f"{golden.name}: {type(given).__name__.lower()} differs from the recorded one"
    return ""
