"""The reference profile: what the model and its inputs look like while nothing is wrong.

One pass over held-out inputs. Each goes, by a hash of its name, to one of two disjoint halves:
*profile rows* (bins, counts, moments, covariance) or *calibration rows* (kept for drawing windows).
Profile rows are spilled to a temporary file and read back from there, calibration rows are capped,
so memory does not grow with the number of images (but for 8 bytes each). The cap keeps the rows of
lowest hash, which is a uniform sample (bottom-k; Cohen & Kaplan 2007) and the same one in whatever
order the inputs come.
"""

import hashlib
import heapq
import tempfile
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import IO

import numpy as np
from numpy.typing import NDArray

from agent.contracts import Array, Classification, Decoder, Payload, Prediction, Regression, Runner
from agent.errors import BundleError, FrameError
from agent.monitor import reference as references
from agent.monitor.accuracy import LARGEST_TRUTH
from agent.monitor.features import FeatureSet
from agent.monitor.groups import NO_GROUPS, Groups, group_classes, predicted_class
from agent.monitor.pixels import pixel_counts
from agent.monitor.reference import Reference
from agent.plain_text import plain_text
from agent.preprocess.compiled import Compiled
from calibration.labelled import Input

CALIBRATION_ROWS = 4096
"""Most calibration rows kept: enough for windows of 1,024."""
FEWEST = 8
"""Usable inputs without which there is nothing to compare with."""
MOST_SKIPPED = 0.1
"""Share of unusable inputs above which something is wrong with the set, or with the spec."""
_SHOWN = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """A model with its preprocessing, ready to be watched."""

    preprocess: Compiled
    runner: Runner
    decoder: Decoder
    features: FeatureSet

    def predict(self, payload: Payload) -> tuple[Prediction, Array]:
        """The prediction, and the view features are computed on. Raises FrameError."""
        prepared = self.preprocess(payload)
        raw = self.runner.run(prepared.tensor)
        return self.decoder.decode(raw, self.runner.outputs), self.preprocess.feature_view(prepared)


@dataclass(frozen=True, kw_only=True, slots=True)
class Built:
    """A reference and what it was made from. ``correct`` counts top-1 hits among ``labelled``.

    ``skipped``: each unusable input with the reason, as ``plain_text``.
    """

    reference: Reference
    used: int
    labelled: int
    correct: int | None
    skipped: tuple[str, ...]


def name_hash(name: str, purpose: str) -> int:
    """64 bits that depend on nothing but ``name`` and what they are used for."""
    digest = hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8, key=purpose.encode())
    return int.from_bytes(digest.digest(), "little")


def build(
    inputs: Iterable[Input], *, total: int, subject: Subject, labels: tuple[str, ...], fingerprint: str
) -> Built:
    """Run ``subject`` over ``inputs`` (``total`` of them) and make the reference.

    Raises BundleError when more than ``MOST_SKIPPED`` are unusable or fewer than ``FEWEST`` usable, and
    for a label of a regression beyond ``LARGEST_TRUTH``.
    """
    score = _Score()
    skipped: list[str] = []
    with tempfile.TemporaryFile(prefix="litewatch-") as file:
        rows = _Rows(file, subject.features)
        for given in inputs:
            try:
                prediction, view = subject.predict(given.payload())
                row = subject.features.row(view, prediction)
            except FrameError as error:
                skipped.append(plain_text(f"{given.name}: {error}"))
                _check_skipped(skipped, total)
                continue
            rows.add(given.name, row, prediction, view)
            _check_label(given, prediction)
            score.add(prediction, given.label)
        return Built(
            reference=rows.reference(labels=labels, fingerprint=fingerprint, score=score),
            used=total - len(skipped),
            labelled=score.labelled,
            correct=score.correct if score.classified else None,
            skipped=tuple(skipped),
        )


def _check_skipped(skipped: list[str], total: int) -> None:
    if len(skipped) > MOST_SKIPPED * total:
        shown = skipped[:_SHOWN]
        raise BundleError(f"more than {MOST_SKIPPED:.0%} of the {total} inputs cannot be used", *shown)


def _check_label(given: Input, prediction: Prediction) -> None:
    """No larger than a late label may be: its squared error must stay a number."""
    label = given.label
    if isinstance(prediction, Regression) and label is not None and not abs(label) <= LARGEST_TRUTH:
        message = f"{given.name}: expected a label within ±{LARGEST_TRUTH:g}, got {label!r}"
        raise BundleError(plain_text(message))


@dataclass(kw_only=True, slots=True)
class _Score:
    """How right the predictions are, where there are labels."""

    labelled: int = 0
    correct: int = 0
    squared_error: float = 0.0
    classified: bool = False

    def add(self, prediction: Prediction, label: int | float | None) -> None:
        if isinstance(prediction, Classification) and label is not None:
            self.labelled += 1
            self.classified = True
            self.correct += prediction.top == label
        if isinstance(prediction, Regression) and label is not None and prediction.values.size == 1:
            self.labelled += 1
            self.squared_error += (float(prediction.values[0]) - label) ** 2

    @property
    def accuracy(self) -> float | None:
        return self.correct / self.labelled if self.classified else None

    @property
    def mse(self) -> float | None:
        return self.squared_error / self.labelled if self.labelled and not self.classified else None


@dataclass(kw_only=True, slots=True)
class _Sample:
    """The rows of lowest hash, at most ``capacity``, with the predicted class of each."""

    capacity: int
    _heap: list[tuple[int, int, NDArray[np.float32], int]] = field(default_factory=list)
    _number: Iterator[int] = field(default_factory=count)

    def add(self, order: int, row: NDArray[np.float32], predicted: int) -> None:
        # The number breaks ties, so that arrays are never compared.
        item = (-order, next(self._number), row, predicted)
        if len(self._heap) < self.capacity:
            heapq.heappush(self._heap, item)
        else:
            heapq.heappushpop(self._heap, item)

    def __len__(self) -> int:
        return len(self._heap)

    def rows(self) -> NDArray[np.float32]:
        """In ascending order of hash: (n, F)."""
        return np.stack([row for _, _, row, _ in sorted(self._heap, reverse=True)])

    def classes(self) -> NDArray[np.int64]:
        return np.array([predicted for _, _, _, predicted in sorted(self._heap, reverse=True)], np.int64)


class _Rows:
    """Collects the two halves; profile rows go to ``file``, float32 (F,) each."""

    def __init__(self, file: IO[bytes], features: FeatureSet) -> None:
        self._file = file
        self._features = features
        self._calibration = _Sample(capacity=CALIBRATION_ROWS)
        self._classes = array("q")
        self._pixels = np.zeros((3 if features.image else 0, 256), np.int64)
        self._classed = False

    def add(self, name: str, row: NDArray[np.float32], prediction: Prediction, view: Array) -> None:
        found = predicted_class(prediction)
        self._classed |= found is not None
        predicted = 0 if found is None else found
        order, half = divmod(name_hash(name, "half"), 2)
        if half:
            self._calibration.add(order, row, predicted)
            return
        self._file.write(row.tobytes())
        self._classes.append(predicted)
        if self._features.image:
            self._pixels += pixel_counts(view)

    def reference(self, *, labels: tuple[str, ...], fingerprint: str, score: _Score) -> Reference:
        used = len(self._classes) + len(self._calibration)
        if used < FEWEST or len(self._classes) < 2 or not len(self._calibration):
            raise BundleError(f"{used} usable inputs are too few for a reference: expected at least {FEWEST}")
        classes = np.array(self._classes, np.int64)
        groups = group_classes(classes, labels) if self._classed else NO_GROUPS
        self._file.flush()
        shape = (len(classes), len(self._features.names))
        return references.build(
            features=self._features.names,
            families=self._features.families,
            profile_rows=np.memmap(self._file, np.float32, mode="r", shape=shape),
            profile_groups=_group_of(classes, groups),
            pixels=self._pixels,
            calibration=self._calibration.rows(),
            calibration_groups=_group_of(self._calibration.classes(), groups),
            groups=groups,
            accuracy=score.accuracy,
            mse=score.mse,
            labelled=score.labelled,
            fingerprint=fingerprint,
        )


def _group_of(classes: NDArray[np.int64], groups: Groups) -> NDArray[np.int64]:
    return np.array([groups.of_class(int(index)) for index in classes], np.int64)
