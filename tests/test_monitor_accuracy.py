"""Accuracy from labels, against SciPy and by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, norm, sem

from agent.contracts import Classification, Detections, Regression
from agent.errors import LabelError
from agent.monitor.accuracy import (
    Labelled,
    PredictionLog,
    RollingAccuracy,
    RollingError,
    calibration_error,
    true_class,
    true_value,
    wilson,
)
from agent.telemetry.messages import Accuracy, Label


@settings(deadline=None)
@given(st.integers(1, 3000), st.data(), st.sampled_from([0.8, 0.9, 0.95]))
def test_wilson_equals_scipys(n, data, confidence):
    successes = data.draw(st.integers(0, n))
    expected = binomtest(successes, n).proportion_ci(confidence, method="wilson")
    assert wilson(successes, n, confidence) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_wilson_without_observations():
    assert wilson(0, 0) == (0.0, 1.0)


def slow_ece(scores, right, bins=15):
    total = 0.0
    for at in range(bins):
        inside = (scores > at / bins) & (scores <= (at + 1) / bins)
        if at == 0:
            inside |= scores == 0
        if inside.any():
            total += inside.mean() * abs(right[inside].mean() - scores[inside].mean())
    return total


def test_calibration_error_equals_the_definition(rng):
    for n in (1, 7, 2000):
        scores = np.concatenate([rng.uniform(0, 1, n), [0.0, 1.0]])
        right = rng.uniform(size=n + 2) < scores**2
        pairs = list(zip(scores.tolist(), right.tolist(), strict=True))
        assert calibration_error(pairs) == pytest.approx(slow_ece(scores, right), abs=1e-12)
    assert calibration_error([]) == 0.0
    assert calibration_error([(0.8, True)] * 8 + [(0.8, False)] * 2) == pytest.approx(0.0, abs=1e-12)
    assert calibration_error([(1.0, False)] * 5) == 1.0
    # Three quarters at a distance of 0.2, one at 0.5.
    pairs = [(0.8, True), (0.5, False)]
    assert calibration_error(pairs, shares=[0.75, 0.25]) == pytest.approx(0.75 * 0.2 + 0.25 * 0.5)


def test_rolling_accuracy_by_hand():
    rolling = RollingAccuracy()
    assert rolling.report() is None
    for at, (truth, predicted) in enumerate([(0, 0), (0, 1), (2, 2), (2, 2)]):
        rolling.add(f"f{at}", Labelled(truth=truth, predicted=predicted, score=0.5))
    low, high = wilson(3, 4, 0.95)
    assert rolling.report(reference=0.9) == Accuracy(
        n=4, accuracy=0.75, low=low, high=high, ece=0.25, reference=0.9,
        confusion=((0, 0, 1), (0, 1, 1), (2, 2, 2)), method="Wilson", labels_effective=4.0,
    )  # fmt: skip


def test_a_frame_labelled_twice_counts_once_with_the_newer_label():
    rolling = RollingAccuracy()
    rolling.add("f", Labelled(truth=1, predicted=0, score=0.9))
    rolling.add("f", Labelled(truth=0, predicted=0, score=0.9))
    report = rolling.report()
    assert (rolling.n, report.accuracy, report.confusion) == (1, 1.0, ((0, 0, 1),))
    errors = RollingError()
    errors.add("f", truth=5.0, predicted=1.0)
    errors.add("f", truth=2.0, predicted=1.0)
    assert errors.report() == Accuracy(n=1, mae=1.0, mse=1.0, method="central limit", labels_effective=1.0)


def test_only_the_newest_count():
    rolling, errors = RollingAccuracy(capacity=3), RollingError(capacity=3)
    for at in range(5):
        rolling.add(f"f{at}", Labelled(truth=at, predicted=4, score=1.0))
        errors.add(f"f{at}", truth=0.0, predicted=float(at))
    assert (rolling.n, rolling.report().confusion) == (3, ((2, 4, 1), (3, 4, 1), (4, 4, 1)))
    report = errors.report(reference=1.5)
    assert report is not None
    assert (report.n, report.mae, report.mse, report.reference) == (3, 3.0, 29 / 3, 1.5)
    # 95 % two-sided by the normal: 29/3 ∓ 1.96 * std(4, 9, 16) / sqrt(3).
    squares = np.array([4.0, 9.0, 16.0])
    low, high = norm.interval(0.95, squares.mean(), sem(squares))
    assert (report.low, report.high) == pytest.approx((low, high))
    assert RollingError().report() is None


def seen(top):
    return Classification(scores=np.eye(4, dtype=np.float32)[top], top=top, score=0.875)


def test_labels_join_by_frame_and_by_the_newest_of_a_name():
    log = PredictionLog()
    log.remember(frame="s-1", name="a.jpg", prediction=seen(1))
    log.remember(frame="s-2", name="b.jpg", prediction=seen(2))
    log.remember(frame="s-3", name="a.jpg", prediction=seen(3))
    assert log.join(Label(label=0, frame="s-1")).top == 1
    assert log.join(Label(label=0, name="a.jpg")).frame == "s-3"
    assert log.join(Label(label=0, frame="s-2", name="a.jpg")).frame == "s-2"
    assert (log.joined, log.unknown) == (3, 0)
    assert log.join(Label(label=0, name="c.jpg")) is None
    assert log.join(Label(label=0, frame="s-9", name="a.jpg")) is None
    assert (log.joined, log.unknown) == (3, 2)
    with pytest.raises(LabelError, match="label 7: names neither a frame nor a name"):
        log.join(Label(label=7))


def test_the_log_forgets_the_oldest_and_its_name():
    log = PredictionLog(capacity=2)
    for at, name in enumerate(["a", "b", "a", "c"]):
        log.remember(frame=f"s-{at}", name=name, prediction=seen(at))
    assert len(log) == 2
    assert log.join(Label(label=0, frame="s-0")) is None
    assert log.join(Label(label=0, name="b")) is None
    assert log.join(Label(label=0, name="a")).frame == "s-2"
    log.remember(frame="s-4", name="d", prediction=seen(0))
    assert log.join(Label(label=0, name="a")) is None
    assert log.unknown == 3


def test_what_is_remembered_depends_on_the_task():
    log = PredictionLog()
    log.remember(frame="1", name="r", prediction=Regression(values=np.array([2.5])))
    log.remember(frame="2", name="two", prediction=Regression(values=np.array([2.5, 1.0])))
    none = Detections(
        boxes=np.empty((0, 4), np.float32), classes=np.empty(0, np.int64), scores=np.empty(0, np.float32)
    )
    log.remember(frame="3", name="d", prediction=none)
    assert log.join(Label(label=1.0, name="r")).value == 2.5
    for name in ("two", "d"):
        found = log.join(Label(label=1.0, name=name))
        assert (found.top, found.value) == (None, None)


LABELS = {"cat": 0, "dog": 3}


def test_a_label_is_an_index_or_a_line():
    assert true_class(Label(label=3, frame="f"), outputs=4, labels=LABELS) == 3
    assert true_class(Label(label="dog", frame="f"), outputs=4, labels=LABELS) == 3


@pytest.mark.parametrize(
    ("label", "said"),
    [
        (4, "label for frame f: expected an output index 0 … 3, got 4"),
        (-1, "label for frame f: expected an output index 0 … 3, got -1"),
        ("Dog", "label for frame f: 'Dog' is not a line of the labels file"),
        (1.0, "label for frame f: expected an output index or a line of the labels file, got 1.0"),
        (True, "label for frame f: expected an output index or a line of the labels file, got True"),
    ],
)
def test_a_wrong_class_is_named(label, said):
    with pytest.raises(LabelError) as error:
        true_class(Label(label=label, frame="f"), outputs=4, labels=LABELS)
    assert str(error.value) == said


def test_a_true_value_is_a_number():
    assert true_value(Label(label=3, name="r")) == 3.0
    assert true_value(Label(label=-2.5, name="r")) == -2.5
    for label in ("3", True, float("nan"), float("inf")):
        with pytest.raises(LabelError, match=r"^label for r: expected a number within ±1e\+60, got "):
            true_value(Label(label=label, name="r"))


@pytest.mark.parametrize("value", [1e61, -1e308, float("inf"), float("nan"), "7", True])
def test_a_truth_that_no_sensor_measures_is_refused(value):
    with pytest.raises(LabelError, match="within"):
        true_value(Label(label=value, frame="s-1"))


def test_the_largest_truth_still_has_an_error():
    errors = RollingError()
    for at, truth in enumerate((1e60, -1e60, 0.0)):
        errors.add(f"s-{at}", truth=true_value(Label(label=truth, frame=f"s-{at}")), predicted=3e38)
    report = errors.report()
    assert all(np.isfinite((report.mse, report.mae, report.low, report.high)))
