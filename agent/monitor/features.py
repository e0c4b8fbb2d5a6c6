"""Which numbers are taken from a frame and its prediction, and how they are computed.

Every feature belongs to a *family* (light, colour, sharpness, texture, layout, output, value), in
which causes are spoken of. Images give the 30 of ``image_features``, vectors each element;
predictions add their own.
"""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from agent.contracts import Array, Classification, Detections, Prediction, Regression
from agent.errors import FrameError, SpecError
from agent.monitor.image_features import IMAGE_FEATURES, image_features

MAX_FEATURES = 1024
"""More than that, and covariance and thresholds outgrow a small device."""

Task: TypeAlias = Literal["classification", "detection", "regression"]


@dataclass(frozen=True, slots=True)
class Feature:
    """One number per frame."""

    name: str
    family: str


@dataclass(frozen=True, kw_only=True)
class FeatureSet:
    """The features of one kind of input and prediction; made by ``feature_set``."""

    features: tuple[Feature, ...]
    image: bool
    prediction: Task

    @cached_property
    def names(self) -> tuple[str, ...]:
        return tuple(feature.name for feature in self.features)

    @cached_property
    def families(self) -> tuple[str, ...]:
        return tuple(feature.family for feature in self.features)

    def row(self, view: Array, prediction: Prediction) -> NDArray[np.float32]:
        """The features of one frame: float32 (F,), all finite.

        ``view`` is the H×W×3 RGB uint8 image, or the float64 vector before standardize.
        Raises FrameError when the frame does not have these features or one is not finite.
        """
        return self.complete(self.inputs(view), prediction)

    def complete(self, inputs: list[float], prediction: Prediction) -> NDArray[np.float32]:
        """The row of a frame whose ``inputs`` were taken before the model ran; see ``row``."""
        values = inputs + _OUTPUTS[self.prediction](prediction)
        if len(values) != len(self.features):
            raise FrameError(f"expected {len(self.features)} features, got {len(values)}")
        with np.errstate(over="ignore"):  # Too large for float32 becomes infinite and is refused below.
            row = np.array(values, dtype=np.float32)
        if not np.isfinite(row).all():
            bad = [f"{self.names[at]} = {values[at]}" for at in np.flatnonzero(~np.isfinite(row))]
            raise FrameError(f"not a finite number: {', '.join(bad[:5])}")
        return row

    def inputs(self, view: Array) -> list[float]:
        """The features of the input alone. Raises FrameError for a view of the wrong kind."""
        if not self.image:
            return view.ravel().tolist()
        if view.dtype != np.uint8 or view.ndim != 3 or view.shape[2] != 3 or not view.size:
            raise FrameError(f"expected an H×W×3 uint8 image, got {view.dtype} {view.shape}")
        return list(image_features(view))


def feature_set(
    *, image: bool, prediction: Task, vector: tuple[str, ...] = (), outputs: int = 1
) -> FeatureSet:
    """The features of images (``image``) or of vectors with the element names ``vector``, for a
    model of task ``prediction``; ``outputs`` is the number of values a regression predicts.

    Raises SpecError when names repeat or there are more than MAX_FEATURES.
    """
    pairs = IMAGE_FEATURES if image else tuple((name, "value") for name in vector)
    names = _OUTPUT_NAMES.get(prediction) or _value_names(outputs)
    features = tuple(Feature(name, family) for name, family in pairs)
    features += tuple(Feature(f"output.{name}", "output") for name in names)
    repeated = [name for name, count in Counter(f.name for f in features).items() if count > 1]
    if repeated:
        raise SpecError(f"features with the same name: {', '.join(repeated)}")
    if len(features) > MAX_FEATURES:
        raise SpecError(f"{len(features)} features are more than the {MAX_FEATURES} that can be watched")
    return FeatureSet(features=features, image=image, prediction=prediction)


def _value_names(outputs: int) -> tuple[str, ...]:
    return ("value",) if outputs == 1 else tuple(f"value_{at}" for at in range(outputs))


def _classification(prediction: Prediction) -> list[float]:
    """Top score, its margin over the second, and entropy in nats of the scores as shares; a single
    score s is read as the two shares s and 1 − s."""
    if not isinstance(prediction, Classification):
        raise FrameError(f"expected a classification, got {type(prediction).__name__}")
    scores = prediction.scores
    if scores.size == 1:
        scores = np.array([scores[0], 1.0 - scores[0]], dtype=np.float32)
    second, first = np.partition(scores, -2)[-2:].tolist()
    positive = scores[scores > 0].astype(np.float64)
    total = float(positive.sum())
    # With shares q = s / total: −Σ q ln q = ln total − Σ s ln s / total.
    entropy = math.log(total) - float(positive @ np.log(positive)) / total if 0 < total < math.inf else 0.0
    return [prediction.score, first - second, max(entropy, 0.0)]


def _detection(prediction: Prediction) -> list[float]:
    """How many boxes, their mean and top score, and their mean area as a share of the image."""
    if not isinstance(prediction, Detections):
        raise FrameError(f"expected detections, got {type(prediction).__name__}")
    count = len(prediction.scores)
    if not count:
        return [0.0, 0.0, 0.0, 0.0]
    top, left, bottom, right = prediction.boxes.T
    area = (bottom - top) * (right - left)
    scores = prediction.scores
    return [float(count), float(scores.mean()), float(scores.max()), float(area.mean())]


def _regression(prediction: Prediction) -> list[float]:
    if not isinstance(prediction, Regression):
        raise FrameError(f"expected a regression, got {type(prediction).__name__}")
    return prediction.values.ravel().tolist()


_OUTPUT_NAMES: dict[str, tuple[str, ...]] = {
    "classification": ("top_score", "margin", "entropy"),
    "detection": ("boxes", "mean_score", "top_score", "mean_area"),
}
_OUTPUTS: dict[str, Callable[[Prediction], list[float]]] = {
    "classification": _classification,
    "detection": _detection,
    "regression": _regression,
}
