"""What a model's outputs mean: guessed from their form, so that most people need not say.

A guess is always stated to the user, with its ground, and can be overridden.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from agent.contracts import Array, Decoder, TensorSpec
from agent.decode.classification import ClassificationDecoder
from agent.decode.detection import DetectionDecoder
from agent.decode.regression import RegressionDecoder
from agent.errors import BundleError
from agent.quantize import dequantize

Task: TypeAlias = Literal["classification", "detection", "regression"]
Values: TypeAlias = Literal["scores", "logits"]
SUM_TOLERANCE = 0.01
"""How far the sum of unquantized scores may be from 1."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Choice:
    """What the user said about the outputs; None: to be guessed."""

    task: Task | None = None
    values: Values | None = None
    unit: str = ""
    threshold: float = 0.5


@dataclass(frozen=True, kw_only=True, slots=True)
class Guess:
    """A decoder and why it was chosen."""

    decoder: Decoder
    reason: str


def output_count(specs: Sequence[TensorSpec], index: int = 0) -> int:
    """How many numbers an output tensor holds."""
    return math.prod(specs[index].shape)


def guess_task(specs: Sequence[TensorSpec], detection_outputs: tuple[int, ...] | None) -> tuple[Task, str]:
    """The task and its ground. Raises BundleError when the outputs fit none."""
    if detection_outputs is not None:
        return "detection", "its outputs come from TFLite_Detection_PostProcess"
    if len(specs) == 4 and _looks_like_detection(specs):
        return "detection", "four outputs shaped as boxes, classes, scores and count"
    if len(specs) == 1:
        count = output_count(specs)
        if count > 1:
            return "classification", f"one output of {count} numbers"
        return "regression", "one output of a single number"
    raise BundleError(f"the model has {len(specs)} outputs: say what it does with --task")


def decoder_for(
    task: Task,
    specs: tuple[TensorSpec, ...],
    detection_outputs: tuple[int, ...] | None,
    choice: Choice,
    values: Values = "scores",
) -> Decoder:
    """The decoder of ``task`` for a model with these outputs. Raises BundleError when they do not fit."""
    decoder: ClassificationDecoder | DetectionDecoder | RegressionDecoder
    if task == "classification":
        decoder = ClassificationDecoder(values=choice.values or values)
    elif task == "detection":
        boxes, classes, scores, count = detection_outputs or (0, 1, 2, 3)
        decoder = DetectionDecoder(
            boxes=boxes, classes=classes, scores=scores, count=count, threshold=choice.threshold
        )
    else:
        decoder = RegressionDecoder(unit=choice.unit)
    problems = decoder.check(specs)
    if problems:
        raise BundleError(*(f"{task}: {problem}" for problem in problems))
    return decoder


def guess_values(outputs: Sequence[Array], spec: TensorSpec) -> tuple[Values, str]:
    """Whether a classifier gives scores or logits, from its raw outputs over some real inputs."""
    rows: NDArray[np.float64] = np.stack([dequantize(output.reshape(-1), spec) for output in outputs]).astype(
        np.float64
    )
    step = spec.scale / 2
    if rows.min() < -step or rows.max() > 1 + step:
        return "logits", f"outputs range from {rows.min():.3g} to {rows.max():.3g}, beyond 0..1"
    sums = rows.sum(axis=1)
    # Each stored score may be rounded by half a step: a thousand small ones add up.
    if np.abs(sums - 1).max() <= SUM_TOLERANCE + min(step * rows.shape[1], 0.5):
        return "scores", "they lie in 0..1 and sum to 1"
    return "scores", f"they lie in 0..1 (each for itself: sums are {sums.min():.3g} to {sums.max():.3g})"


def _looks_like_detection(specs: Sequence[TensorSpec]) -> bool:
    boxes, classes, scores, count = (spec.shape for spec in specs)
    return len(boxes) == 3 and boxes[2] == 4 and classes == scores == boxes[:2] and math.prod(count) == 1
