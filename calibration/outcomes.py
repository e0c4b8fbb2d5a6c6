"""What a rung answered to the golden inputs, and how that differs from the rung above. Pure.

The unit of a *flip* depends on the task. Classification: an input whose top class changed. Detection:
a box that has no partner on the other rung (same class, intersection over union of at least .5,
matched greedily by score). Regression: an input with a value that moved beyond the tolerance.

The *distance* of two answers is one number an input, see ``agent.monitor.answer_distance``.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.contracts import Array, Classification, Decoder, Detections, Prediction, Regression, TensorSpec
from agent.errors import FrameError
from agent.monitor.answer_distance import distance, partners
from agent.quantize import dequantize
from calibration.check_result import OutputError


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """One rung's answers, one entry an input. ``predictions`` are None where the model gave no number
    or could not be fed; ``numbers`` are its outputs dequantized, float64, one after the other."""

    predictions: tuple[Prediction | None, ...]
    numbers: tuple[NDArray[np.float64], ...]

    def take(self, places: Sequence[int]) -> "Answers":
        return Answers(
            predictions=tuple(self.predictions[i] for i in places),
            numbers=tuple(self.numbers[i] for i in places),
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Truth:
    """Labels of the inputs (None: unknown); ``tolerance``: the largest error of a value that counts as
    right, None when no error was recorded as such."""

    labels: tuple[int | float | None, ...]
    tolerance: float | None = None

    def take(self, places: Sequence[int]) -> "Truth":
        return Truth(labels=tuple(self.labels[i] for i in places), tolerance=self.tolerance)


def read_answers(
    raw: Sequence[tuple[Array, ...] | None], specs: tuple[TensorSpec, ...], decoder: Decoder
) -> Answers:
    """Raw outputs as answers; None stands for an input that could not be run."""
    predictions: list[Prediction | None] = []
    numbers: list[NDArray[np.float64]] = []
    for outputs in raw:
        if outputs is None:
            predictions.append(None)
            numbers.append(np.empty(0))
            continue
        flat = [dequantize(o.reshape(-1), spec) for o, spec in zip(outputs, specs, strict=True)]
        numbers.append(np.concatenate(flat).astype(np.float64))
        try:
            predictions.append(decoder.decode(outputs, specs))
        except FrameError:
            predictions.append(None)
    return Answers(predictions=tuple(predictions), numbers=tuple(numbers))


def flips(above: Prediction | None, here: Prediction | None, tolerance: float | None = None) -> int:
    """Units that flipped for one input; no answer on one side flips everything on the other."""
    if isinstance(above, Detections) or isinstance(here, Detections):
        return _lone_boxes(above, here)
    if above is None or here is None:
        return int(above is not here)
    if isinstance(above, Classification) and isinstance(here, Classification):
        return int(above.top != here.top)
    return int(distance(above, here) > (tolerance or 0.0))


def units(above: Prediction | None, here: Prediction | None) -> int:
    """How many could have flipped: boxes of both rungs, partners counted once, else 1."""
    if isinstance(above, Detections) or isinstance(here, Detections):
        pairs, alone_above, alone_here = partners(_boxes(above), _boxes(here))
        return len(pairs) + len(alone_above) + len(alone_here)
    return 1


def distances(above: Answers, here: Answers) -> NDArray[np.float64]:
    """The distance of each input's two answers, shape (n,); one that is missing on one side counts
    as 1 for classes and boxes, and as infinite for values."""
    pairs = zip(above.predictions, here.predictions, strict=True)
    return np.array([distance(a, b) for a, b in pairs], np.float64)


def right(answers: Answers, truth: Truth) -> NDArray[np.bool_]:
    """Whether each input was answered right, shape (n,); False where no label can say. Of a regression
    with several values each has to lie within the tolerance."""
    pairs = zip(answers.predictions, truth.labels, strict=True)
    return np.array([_right(given, label, truth.tolerance) for given, label in pairs], np.bool_)


def labelled(answers: Answers, truth: Truth) -> NDArray[np.bool_]:
    """Which inputs have a label that can say right or wrong; no box has one."""
    kinds = {type(given) for given in answers.predictions}
    if Detections in kinds or (Regression in kinds and truth.tolerance is None):
        return np.zeros(len(truth.labels), np.bool_)
    return np.array([label is not None for label in truth.labels], np.bool_)


def output_error(above: Answers, here: Answers) -> OutputError | None:
    """Differences of the numbers over all inputs that both answered; None without any.

    The signal-to-noise ratio is 10 log10 of the sum of squares above over that of the differences.
    """
    signal = noise = total = largest = 0.0
    count = 0
    for a, b in _comparable(above, here):
        difference = np.abs(a - b)
        signal += float(a @ a)
        noise += float(difference @ difference)
        total += float(difference.sum())
        largest = max(largest, float(difference.max(initial=0.0)))
        count += a.size
    if not count or not math.isfinite(noise + signal):
        return None
    snr = 10 * math.log10(max(signal, 1e-300) / noise) if noise > 0 else None
    return OutputError(largest=largest, mean=total / count, snr_db=snr)


def _comparable(above: Answers, here: Answers) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
    """Numbers that mean the same on both sides: boxes are compared with their partners."""
    found = []
    for i, (a, b) in enumerate(zip(above.predictions, here.predictions, strict=True)):
        if isinstance(a, Detections) and isinstance(b, Detections):
            found.append(_partner_numbers(a, b))
        elif a is not None and b is not None and above.numbers[i].size == here.numbers[i].size:
            found.append((above.numbers[i], here.numbers[i]))
    return found


def _partner_numbers(a: Detections, b: Detections) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Boxes and scores of partners; a box without one stands against a score of 0."""
    pairs, alone_a, alone_b = partners(a, b)
    left = [*(a.boxes[i] for i, _ in pairs), [a.scores[i] for i, _ in pairs], a.scores[alone_a]]
    right_ = [*(b.boxes[j] for _, j in pairs), [b.scores[j] for _, j in pairs], np.zeros(len(alone_a))]
    left.append(np.zeros(len(alone_b)))
    right_.append(b.scores[alone_b])
    return _joined(left), _joined(right_)


def _joined(parts: Sequence[object]) -> NDArray[np.float64]:
    return np.concatenate([np.asarray(part, np.float64).reshape(-1) for part in parts])


def _right(given: Prediction | None, label: int | float | None, tolerance: float | None) -> bool:
    if label is None or given is None:
        return False
    if isinstance(given, Classification):
        return given.top == label
    if isinstance(given, Regression) and tolerance is not None:
        return bool(given.values.size and float(np.abs(given.values - label).max()) <= tolerance)
    return False


def _lone_boxes(above: Prediction | None, here: Prediction | None) -> int:
    _, alone_above, alone_here = partners(_boxes(above), _boxes(here))
    return len(alone_above) + len(alone_here)


def _boxes(given: Prediction | None) -> Detections:
    if isinstance(given, Detections):
        return given
    return Detections(
        boxes=np.zeros((0, 4), np.float32), classes=np.zeros(0, np.int64), scores=np.zeros(0, np.float32)
    )
