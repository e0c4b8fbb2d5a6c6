"""Accuracy from labels that arrive later, over the newest labelled frames."""

import math
from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeVar

from agent.contracts import Classification, Prediction, Regression
from agent.errors import LabelError
from agent.telemetry import messages

_T = TypeVar("_T")

CONFIDENCE = 0.90
ECE_BINS = 15
LARGEST_TRUTH = 1e60
"""A larger true value is a mistake, and the variance of its squared error would overflow."""


def wilson(successes: int, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Score interval of a share: low and high, 0 … 1 without observations.

    Source: E. B. Wilson, "Probable inference, the law of succession, and statistical inference",
    Journal of the American Statistical Association 22 (1927).
    """
    if n == 0:
        return 0.0, 1.0
    z = _normal_quantile(confidence)
    share = successes / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    # At the ends the formula gives exactly 0 and 1, but for rounding.
    low = 0.0 if successes == 0 else max(centre - half, 0.0)
    high = 1.0 if successes == n else min(centre + half, 1.0)
    return low, high


def _normal_quantile(confidence: float) -> float:
    """How many standard deviations a two-sided interval reaches."""
    # Imported here: it brings fractions and decimals, which an agent without labels never needs.
    from statistics import NormalDist

    return NormalDist().inv_cdf((1.0 + confidence) / 2.0)


def _mean_and_half_width(values: list[float]) -> tuple[float, float | None]:
    """The mean, and half its interval by the central limit theorem with the values' own spread:
    squared errors have long tails, so no distribution is assumed. None for a single value."""
    n = len(values)
    mean = math.fsum(values) / n
    if n < 2:
        return mean, None
    variance = math.fsum((value - mean) ** 2 for value in values) / (n - 1)
    return mean, _normal_quantile(CONFIDENCE) * math.sqrt(variance / n)


class RollingAccuracy:
    """Classification: the newest ``capacity`` labelled frames, each counted once."""

    def __init__(self, capacity: int = 1000) -> None:
        self._capacity = capacity
        self._frames: OrderedDict[str, tuple[int, int, float]] = OrderedDict()

    @property
    def n(self) -> int:
        return len(self._frames)

    def add(self, frame: str, *, truth: int, predicted: int, score: float) -> None:
        """A labelled frame: true and predicted class index, and the predicted one's score (0 … 1).
        A frame labelled before is counted anew with this label."""
        _put_newest(self._frames, frame, (truth, predicted, score), self._capacity)

    def report(self, reference: float | None = None) -> messages.Accuracy | None:
        """Accuracy, Wilson interval, ECE and confusion counts (only pairs that occur, sorted);
        ``reference`` is the held-out inputs' accuracy. None without labels."""
        if not self._frames:
            return None
        rows = self._frames.values()
        right = sum(truth == predicted for truth, predicted, _ in rows)
        low, high = wilson(right, self.n)
        confusion = Counter((truth, predicted) for truth, predicted, _ in rows)
        return messages.Accuracy(
            n=self.n,
            accuracy=right / self.n,
            low=low,
            high=high,
            ece=calibration_error([(score, truth == predicted) for truth, predicted, score in rows]),
            confusion=tuple((truth, predicted, n) for (truth, predicted), n in sorted(confusion.items())),
            reference=reference,
        )


class RollingError:
    """Regression: the newest ``capacity`` labelled frames, each counted once."""

    def __init__(self, capacity: int = 1000) -> None:
        self._capacity = capacity
        self._errors: OrderedDict[str, float] = OrderedDict()

    @property
    def n(self) -> int:
        return len(self._errors)

    def add(self, frame: str, *, truth: float, predicted: float) -> None:
        """A labelled frame. One labelled before is counted anew with this label."""
        _put_newest(self._errors, frame, predicted - truth, self._capacity)

    def report(self, reference: float | None = None) -> messages.Accuracy | None:
        """Mean absolute and mean squared error, and the latter's interval; ``reference`` is the
        held-out inputs' MSE. None without labels."""
        if not self._errors:
            return None
        errors = self._errors.values()
        squares = [error**2 for error in errors]
        mse, half = _mean_and_half_width(squares)
        return messages.Accuracy(
            n=self.n,
            mae=math.fsum(abs(error) for error in errors) / self.n,
            mse=mse,
            low=None if half is None else max(mse - half, 0.0),
            high=None if half is None else mse + half,
            reference=reference,
        )


def calibration_error(scored: list[tuple[float, bool]], bins: int = ECE_BINS) -> float:
    """Expected calibration error of (score, right) pairs: the mean distance of score and accuracy
    over ``bins`` equal bins of the score, weighted by their size.

    Source: M. P. Naeini et al., "Obtaining well calibrated probabilities using Bayesian binning",
    AAAI 2015. Bin i holds scores in (i / bins, (i + 1) / bins], the first one 0 as well.
    """
    gaps = [0.0] * bins
    for score, right in scored:
        at = min(max(math.ceil(score * bins) - 1, 0), bins - 1)
        gaps[at] += score - right
    return sum(abs(gap) for gap in gaps) / len(scored) if scored else 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Remembered:
    """What of a prediction a label is compared with: the winning class and its score, or the value
    of a regression with one output. Both are None where labels mean nothing (detections)."""

    frame: str
    name: str
    top: int | None = None
    score: float = 0.0
    value: float | None = None


class PredictionLog:
    """The newest ``capacity`` predictions, for labels that arrive late."""

    def __init__(self, capacity: int = 10_000) -> None:
        self._capacity = capacity
        self._frames: OrderedDict[str, Remembered] = OrderedDict()
        self._frame_of: dict[str, str] = {}
        self.joined = 0
        """Labels that found their frame."""
        self.unknown = 0
        """Labels for frames never seen, or too long ago."""

    def __len__(self) -> int:
        return len(self._frames)

    def remember(self, *, frame: str, name: str, prediction: Prediction) -> None:
        """A prediction for frame id ``frame``, which the source calls ``name`` (the newest frame of
        a name is the one a label means)."""
        if len(self._frames) == self._capacity and frame not in self._frames:
            _, oldest = self._frames.popitem(last=False)
            if self._frame_of.get(oldest.name) == oldest.frame:
                del self._frame_of[oldest.name]
        self._frames[frame] = _remembered(frame, name, prediction)
        self._frame_of[name] = frame

    def join(self, label: messages.Label) -> Remembered | None:
        """The prediction a label is for, by frame id if it has one, else by name; None (and counted)
        when it is not known. Raises LabelError when the label names no frame at all."""
        if label.frame is None and label.name is None:
            raise LabelError(f"label {label.label!r}: names neither a frame nor a name")
        frame = label.frame if label.frame is not None else self._frame_of.get(label.name or "")
        found = self._frames.get(frame) if frame is not None else None
        self.joined += found is not None
        self.unknown += found is None
        return found


def true_class(label: messages.Label, *, outputs: int, labels: Mapping[str, int]) -> int:
    """The output index a label means: an index below ``outputs``, or a key of ``labels`` (the lines
    of the labels file). Raises LabelError."""
    value = label.label
    if isinstance(value, str):
        if value not in labels:
            raise LabelError(f"{_which(label)}: {value!r} is not a line of the labels file")
        return labels[value]
    if type(value) is not int:
        raise LabelError(
            f"{_which(label)}: expected an output index or a line of the labels file, got {value!r}"
        )
    if not 0 <= value < outputs:
        raise LabelError(f"{_which(label)}: expected an output index 0 … {outputs - 1}, got {value}")
    return value


def true_value(label: messages.Label) -> float:
    """The number a label means, for a regression. Raises LabelError."""
    value = label.label
    if isinstance(value, (str, bool)) or not abs(value) <= LARGEST_TRUTH:
        raise LabelError(f"{_which(label)}: expected a number within ±{LARGEST_TRUTH:g}, got {value!r}")
    return float(value)


def _which(label: messages.Label) -> str:
    return f"label for frame {label.frame}" if label.frame is not None else f"label for {label.name}"


def _remembered(frame: str, name: str, prediction: Prediction) -> Remembered:
    if isinstance(prediction, Classification):
        return Remembered(frame=frame, name=name, top=prediction.top, score=prediction.score)
    if isinstance(prediction, Regression) and prediction.values.size == 1:
        return Remembered(frame=frame, name=name, value=float(prediction.values.ravel()[0]))
    return Remembered(frame=frame, name=name)


def _put_newest(frames: OrderedDict[str, _T], frame: str, value: _T, capacity: int) -> None:
    frames[frame] = value
    frames.move_to_end(frame)
    if len(frames) > capacity:
        frames.popitem(last=False)
