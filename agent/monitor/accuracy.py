"""Accuracy from labels that arrive later, over the newest labelled frames."""

import math
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from agent.contracts import Classification, Prediction, Regression
from agent.errors import LabelError
from agent.monitor import ppi
from agent.monitor.ppi import NO_POOL, Pool
from agent.monitor.spans import Spans
from agent.telemetry import messages

_T = TypeVar("_T")

CONFIDENCE = 0.90
LIVE_CONFIDENCE = 0.95
"""Of live accuracy's interval, which alone calls a device worse: one healthy device in 40, not in 20."""
ECE_BINS = 15
FEWEST_FOR_PPI = 50
"""Below so many labels what the auxiliary is worth cannot be measured."""
LARGEST_TRUTH = 1e60
"""A larger true value is a mistake, and the variance of its squared error would overflow."""


def wilson(successes: float, n: float, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Score interval of a share: low and high, 0 … 1 without observations. Neither number need be whole:
    weighted observations are worth a part of their count.

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


@dataclass(frozen=True, kw_only=True, slots=True)
class Labelled:
    """A labelled frame of a classifier. ``auxiliary`` is how probably the prediction is right, ``at`` the
    frame's position in this session's stream (None: of an earlier session). ``weight`` is for how many frames
    the label stands: 1 / the chance with which it was drawn; None: nobody drew it by lot, it is taken for any
    frame; 0: it was kept for what it shows, and stands for no other."""

    truth: int
    predicted: int
    score: float
    auxiliary: float = 0.0
    at: int | None = 0
    weight: float | None = None

    @property
    def right(self) -> bool:
        return self.truth == self.predicted


class RollingAccuracy:
    """Classification: the newest ``capacity`` labelled frames, each counted once."""

    def __init__(self, capacity: int = 1000) -> None:
        self._capacity = capacity
        self._frames: OrderedDict[str, Labelled] = OrderedDict()

    @property
    def n(self) -> int:
        return len(self._frames)

    def add(self, frame: str, labelled: Labelled) -> None:
        """A frame labelled before is counted anew with this label."""
        _put_newest(self._frames, frame, labelled, self._capacity)

    def report(
        self, reference: float | None = None, *, spans: Spans | None = None
    ) -> messages.Accuracy | None:
        """Accuracy and its interval, ECE and confusion counts (only pairs that occur, sorted).

        ``spans`` holds the auxiliary of every frame of this session: from 50 labels on, all of this session,
        PPI++ uses it over the frames from the first to the last labelled one, which the accuracy is of;
        else the interval is Wilson's.
        ``reference`` is the held-out inputs' accuracy. None without labels.
        """
        if not self._frames:
            return None
        rows, chosen = _representative(list(self._frames.values()))
        share = ppi.shares([None if chosen else row.weight for row in rows])
        enough = not chosen and 1 / (share**2).sum() > FEWEST_FOR_PPI - 0.5
        pool = _pool(rows, spans) if enough else NO_POOL
        found = ppi.mean(
            np.array([row.right for row in rows], dtype=np.float64),
            share,
            auxiliary=np.array([row.auxiliary for row in rows]),
            pool=pool,
        )
        accuracy, effective = min(max(found.value, 0.0), 1.0), found.labels_effective
        low, high = wilson(accuracy * effective, effective, LIVE_CONFIDENCE)
        confusion = Counter((row.truth, row.predicted) for row in rows)
        return messages.Accuracy(
            n=len(rows),
            accuracy=accuracy,
            low=low,
            high=high,
            ece=calibration_error([(row.score, row.right) for row in rows], shares=share.tolist()),
            confusion=tuple((truth, predicted, n) for (truth, predicted), n in sorted(confusion.items())),
            reference=reference,
            method=_method("PPI++" if pool.n else "Wilson", [row.weight for row in rows], chosen=chosen),
            labels_effective=effective,
        )


def _representative(rows: list[Labelled]) -> tuple[list[Labelled], bool]:
    """The labels that say something of other frames; all of them, and True, when none does."""
    found = [row for row in rows if row.weight is None or row.weight > 0]
    return (found, False) if found else (rows, True)


def _pool(rows: list[Labelled], spans: Spans | None) -> Pool:
    """The auxiliary of the frames among the labelled ones that have no label."""
    positions = [row.at for row in rows if row.at is not None]
    if spans is None or len(positions) < len(rows):
        return NO_POOL
    return spans.over(min(positions), max(positions)).without(np.array([row.auxiliary for row in rows]))


def _method(name: str, weights: Iterable[float | None], *, chosen: bool = False) -> str:
    if chosen:
        return f"{name}, of chosen frames only"
    return f"weighted {name}" if any(weight is not None for weight in weights) else name


class RollingError:
    """Regression: the newest ``capacity`` labelled frames, each counted once."""

    def __init__(self, capacity: int = 1000) -> None:
        self._capacity = capacity
        self._errors: OrderedDict[str, tuple[float, float | None]] = OrderedDict()

    @property
    def n(self) -> int:
        return len(self._errors)

    def add(self, frame: str, *, truth: float, predicted: float, weight: float | None = None) -> None:
        """A labelled frame (``weight``: see Labelled). One labelled before is counted anew."""
        _put_newest(self._errors, frame, (predicted - truth, weight), self._capacity)

    def report(self, reference: float | None = None) -> messages.Accuracy | None:
        """Mean absolute and mean squared error, and the latter's interval by the central limit theorem with
        the errors' own spread: squared errors have long tails, so no distribution is assumed. ``reference``
        is the held-out inputs' MSE. None without labels."""
        if not self._errors:
            return None
        rows = [row for row in self._errors.values() if row[1] is None or row[1] > 0]
        chosen = not rows
        rows = rows or list(self._errors.values())
        weights = [None if chosen else weight for _, weight in rows]
        errors = np.array([error for error, _ in rows])
        share = ppi.shares(weights)
        found = ppi.mean(errors**2, share)
        half = _normal_quantile(LIVE_CONFIDENCE) * math.sqrt(found.variance) if len(rows) > 1 else None
        return messages.Accuracy(
            n=len(rows),
            mae=ppi.mean(np.abs(errors), share).value,
            mse=found.value,
            low=None if half is None else max(found.value - half, 0.0),
            high=None if half is None else found.value + half,
            reference=reference,
            method=_method("central limit", weights, chosen=chosen),
            labels_effective=found.labels,
        )


def calibration_error(
    scored: list[tuple[float, bool]], bins: int = ECE_BINS, *, shares: Sequence[float] | None = None
) -> float:
    """Expected calibration error of (score, right) pairs: the mean distance of score and accuracy
    over ``bins`` equal bins of the score, weighted by their size. ``shares`` (adding up to 1) are how much
    each pair counts; None: all alike.

    Source: M. P. Naeini et al., "Obtaining well calibrated probabilities using Bayesian binning",
    AAAI 2015. Bin i holds scores in (i / bins, (i + 1) / bins], the first one 0 as well.
    """
    gaps = [0.0] * bins
    alike = [1 / max(len(scored), 1)] * len(scored)
    for (score, right), share in zip(scored, alike if shares is None else shares, strict=True):
        at = min(max(math.ceil(score * bins) - 1, 0), bins - 1)
        gaps[at] += (score - right) * share
    return sum(abs(gap) for gap in gaps)


@dataclass(frozen=True, kw_only=True, slots=True)
class Remembered:
    """What of a prediction a label is compared with: the winning class and its score, or the value
    of a regression with one output. Both are None where labels mean nothing (detections)."""

    frame: str
    name: str
    top: int | None = None
    score: float = 0.0
    value: float | None = None
    auxiliary: float = 0.0
    at: int | None = 0
    weight: float | None = None
    """The last three: see Labelled."""


class PredictionLog:
    """The newest ``capacity`` predictions, for labels that arrive late; and as many older ones whose frames
    were kept, for those are labelled at leisure."""

    def __init__(self, capacity: int = 10_000) -> None:
        self._capacity = capacity
        self._frames: OrderedDict[str, Remembered] = OrderedDict()
        self._kept: OrderedDict[str, Remembered] = OrderedDict()
        self._frame_of: dict[str, str] = {}
        self.spans = Spans()
        """The auxiliary of every classification so far."""
        self.joined = 0
        """Labels that found their frame."""
        self.unknown = 0
        """Labels for frames never seen, or too long ago."""

    def __len__(self) -> int:
        return len(self._frames)

    def remember(self, *, frame: str, name: str, prediction: Prediction, right: float | None = None) -> None:
        """A prediction for frame id ``frame``, which the source calls ``name`` (the newest frame of
        a name is the one a label means). ``right`` is the calibrated probability that it is right; without
        it the top score takes its place, so give it for all frames of a bundle that has it."""
        if len(self._frames) == self._capacity and frame not in self._frames:
            _, oldest = self._frames.popitem(last=False)
            if oldest.frame not in self._kept:
                self._forget_name(oldest)
        self._frames[frame] = _remembered(frame, name, prediction, right, self.spans)
        self._frame_of[name] = frame

    def keep(self, frame: str, *, weight: float | None) -> Remembered | None:
        """The frame was kept to be labelled; its label stands for ``weight`` frames (see Labelled). Gives
        what is remembered of it, None of a frame that is not."""
        found = self._frames.get(frame)
        if found is None:
            return None
        kept = replace(found, weight=weight)
        self._frames[frame] = kept
        self._keep(kept)
        return kept

    def restore(self, kept: Remembered) -> None:
        """A frame of an earlier session, called before any of this one."""
        self._frame_of[kept.name] = kept.frame
        self._keep(kept)

    def _keep(self, kept: Remembered) -> None:
        self._kept[kept.frame] = kept
        if len(self._kept) > self._capacity:
            _, oldest = self._kept.popitem(last=False)
            if oldest.frame not in self._frames:
                self._forget_name(oldest)

    def _forget_name(self, gone: Remembered) -> None:
        if self._frame_of.get(gone.name) == gone.frame:
            del self._frame_of[gone.name]

    def join(self, label: messages.Label) -> Remembered | None:
        """The prediction a label is for, by frame id if it has one, else by name; None (and counted)
        when it is not known. Raises LabelError when the label names no frame at all."""
        if label.frame is None and label.name is None:
            raise LabelError(f"label {label.label!r}: names neither a frame nor a name")
        frame = label.frame if label.frame is not None else self._frame_of.get(label.name or "")
        found = None if frame is None else self._frames.get(frame) or self._kept.get(frame)
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


def _remembered(
    frame: str, name: str, prediction: Prediction, right: float | None, spans: Spans
) -> Remembered:
    if isinstance(prediction, Classification):
        score = float(prediction.score)
        auxiliary = score if right is None else right
        # One frame without a number must not leave the sums without one for ever.
        auxiliary = auxiliary if math.isfinite(auxiliary) else 0.0
        return Remembered(
            frame=frame,
            name=name,
            top=prediction.top,
            score=score,
            auxiliary=auxiliary,
            at=spans.add(auxiliary),
        )
    if isinstance(prediction, Regression) and prediction.values.size == 1:
        return Remembered(frame=frame, name=name, value=float(prediction.values.ravel()[0]))
    return Remembered(frame=frame, name=name)


def _put_newest(frames: OrderedDict[str, _T], frame: str, value: _T, capacity: int) -> None:
    frames[frame] = value
    frames.move_to_end(frame)
    if len(frames) > capacity:
        frames.popitem(last=False)
