"""Which features a model's frames have, and when a frame has none."""

import math

import numpy as np
import pytest
from scipy.stats import entropy

from agent.contracts import Classification, Detections, Regression
from agent.errors import FrameError, SpecError
from agent.monitor.features import feature_set
from agent.monitor.image_features import image_features


def classification(*scores):
    scores = np.array(scores, dtype=np.float32)
    return Classification(scores=scores, top=int(scores.argmax()), score=float(scores.max()))


def by_name(features, view, prediction):
    return dict(zip(features.names, features.row(view, prediction).tolist(), strict=True))


VECTOR = feature_set(image=False, prediction="classification", vector=("heat", "load"))


def test_an_image_classifier_has_thirty_and_three(rng):
    features = feature_set(image=True, prediction="classification")
    image = rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    row = features.row(image, classification(0.2, 0.7, 0.1))
    assert row.dtype == np.float32
    assert features.names[30:] == ("output.top_score", "output.margin", "output.entropy")
    assert features.families[30:] == ("output",) * 3
    np.testing.assert_array_equal(row[:30], np.array(image_features(image), dtype=np.float32))
    np.testing.assert_allclose(row[30:], [0.7, 0.5, entropy([0.2, 0.7, 0.1])], rtol=1e-6)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ((0.5, 0.25, 0.5, 0.25), (0.5, 0.0, entropy([2, 1, 2, 1]))),
        ((1.0, 0.0, 0.0), (1.0, 1.0, 0.0)),
        ((0.0, 0.0), (0.0, 0.0, 0.0)),
        ((0.75,), (0.75, 0.5, entropy([0.75, 0.25]))),
    ],
)
def test_classification_outputs(scores, expected):
    found = by_name(VECTOR, np.array([1.0, 2.0]), classification(*scores))
    assert (found["heat"], found["load"]) == (1.0, 2.0)
    outputs = (found["output.top_score"], found["output.margin"], found["output.entropy"])
    assert outputs == pytest.approx(expected, abs=1e-6)


def test_detection_outputs():
    features = feature_set(image=False, prediction="detection", vector=("x",))
    found = Detections(
        boxes=np.array([[0.0, 0.0, 0.5, 0.5], [0.25, 0.0, 1.0, 1.0]], dtype=np.float32),
        classes=np.array([3, 1]),
        scores=np.array([0.9, 0.6], dtype=np.float32),
    )
    row = by_name(features, np.array([0.0]), found)
    outputs = [row[f"output.{name}"] for name in ("boxes", "mean_score", "top_score", "mean_area")]
    assert outputs == pytest.approx([2, 0.75, 0.9, (0.25 + 0.75) / 2])
    nothing = Detections(
        boxes=np.empty((0, 4), np.float32), classes=np.empty(0, np.int64), scores=np.empty(0, np.float32)
    )
    assert features.row(np.array([0.0]), nothing).tolist() == [0, 0, 0, 0, 0]


def test_regression_outputs():
    one = feature_set(image=False, prediction="regression", vector=("x",))
    two = feature_set(image=False, prediction="regression", vector=("x",), outputs=2)
    assert one.names == ("x", "output.value")
    assert two.names == ("x", "output.value_0", "output.value_1")
    assert two.row(np.array([4.0]), Regression(values=np.array([1.5, -2.0]))).tolist() == [4.0, 1.5, -2.0]


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e300])
def test_what_is_not_a_finite_number_is_refused_by_name(bad):
    with pytest.raises(FrameError, match="not a finite number: load = "):
        VECTOR.row(np.array([1.0, bad]), classification(0.5, 0.5))
    regression = feature_set(image=False, prediction="regression", vector=("x",))
    with pytest.raises(FrameError, match=r"not a finite number: output\.value = "):
        regression.row(np.array([1.0]), Regression(values=np.array([bad])))


def test_frames_of_another_kind_are_refused(rng):
    image = feature_set(image=True, prediction="classification")
    with pytest.raises(FrameError, match=r"expected an H×W×3 uint8 image, got float64 \(2,\)"):
        image.row(np.array([1.0, 2.0]), classification(1.0))
    with pytest.raises(FrameError, match="expected 5 features, got 6"):
        VECTOR.row(np.array([1.0, 2.0, 3.0]), classification(1.0))
    with pytest.raises(FrameError, match="expected a classification, got Regression"):
        VECTOR.row(np.array([1.0, 2.0]), Regression(values=np.array([1.0])))


def test_names_must_be_unique_and_few():
    with pytest.raises(SpecError, match="features with the same name: a"):
        feature_set(image=False, prediction="regression", vector=("a", "b", "a"))
    with pytest.raises(SpecError, match="2001 features are more than the 1024"):
        feature_set(image=False, prediction="regression", vector=tuple(f"v{at}" for at in range(2000)))
