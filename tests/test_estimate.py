"""Accuracy now, without labels: the estimator on figures worked out by hand, and its file."""

import dataclasses
import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import BundleError
from agent.monitor.estimate import Estimator, decode, encode
from agent.monitor.estimate.curve import Curve
from agent.monitor.estimate.estimator import DIRECT, Scatter, combined, shift_of, strangeness
from agent.monitor.estimate.regression import Ridge, Trees
from agent.monitor.estimate.statistics_of import FLOOR, Basis, statistics_of

FEATURES = ("luma", "dark", "output.top_score")
BASIS = Basis(
    features=FEATURES,
    families=("light", "light", "output"),
    mean=np.array([10.0, 0.0, 0.5]),
    std=np.array([2.0, 1.0, 0.25]),
    score=2,
    curve=Curve(scores=np.array([0.2, 0.6]), rights=np.array([0.1, 0.9])),
    threshold=0.5,
)
NAMES = ("light.shift", "light.spread", "output.top_score.shift", "output.top_score.spread", "cbpe", "atc")
ROWS = np.array([[12.0, 1.0, 0.4], [12.0, 1.0, 0.6], [16.0, 3.0, 0.2], [8.0, -1.0, 0.8]], np.float32)
LEAF = -1
TREES = Trees(
    roots=np.array([0, 3]),
    feature=np.array([0, LEAF, LEAF, LEAF]),
    cut=np.array([0.5, -0.02, -0.2, -0.04]),
    right=np.array([2, 0, 0, 0]),
)
RIDGE = Ridge(centre=np.zeros(6), scale=np.array([2.0, 1, 1, 1, 1, 1]), weights=np.arange(6.0), intercept=0.5)
SCATTER = Scatter(above=np.array([0.0, 0.5, 2.0]), half=np.array([0.03, 0.08, 0.2]), worth=50.0, share=0.64)
HEALTHY = [0.0, 0.0, 0.0, 0.0, 0.5, 0.5]
ESTIMATOR = Estimator(
    measure="accuracy",
    basis=BASIS,
    method="trees",
    regression=TREES,
    baseline=0.7,
    reference=0.72,
    scatter=SCATTER,
    centroids=np.array([HEALTHY, [3.0, 0.5, -1.0, 0.1, 0.2, 0.2]]),
    outermost=1.0,
)


def healthy_rows(n: int = 400) -> Any:
    """Half of them one healthy deviation up, half down: no shift, no change of spread."""
    sign = np.where(np.arange(n) % 2, 1.0, -1.0)[:, None]
    return (BASIS.mean + sign * BASIS.std).astype(np.float32)


def test_right_reads_the_score_off_the_curve() -> None:
    row = np.array([0.0, 0.0, 0.5], np.float32)
    assert ESTIMATOR.right(row) == pytest.approx(0.7)
    assert ESTIMATOR.right(row * 0) == pytest.approx(0.1)
    assert ESTIMATOR.right(row * 2) == pytest.approx(0.9)
    assert ESTIMATOR.right_of_score(0.5) == pytest.approx(0.7)


def test_right_without_a_curve_is_the_score_and_without_a_score_nothing() -> None:
    row = np.array([0.0, 0.0, 0.25], np.float32)
    uncalibrated = dataclasses.replace(BASIS, curve=None)
    estimator = dataclasses.replace(ESTIMATOR, basis=uncalibrated)
    assert estimator.right(row) == 0.25
    assert estimator.right_of_score(0.25) == 0.25
    regression = dataclasses.replace(BASIS, curve=None, score=None)
    assert dataclasses.replace(ESTIMATOR, basis=regression).right(row) is None
    assert dataclasses.replace(ESTIMATOR, basis=regression).right_of_score(0.25) is None


def test_statistics_of_a_window() -> None:
    found = statistics_of(ROWS, np.full((1, 4), 0.25), BASIS, effective_n=1e12)[0]
    assert BASIS.names == NAMES
    # luma lies 1, 1, 3, -1 healthy deviations out, dark 1, 1, 3, -1: mean 1, variance 2.
    spread = math.log(math.sqrt(2) + FLOOR) - math.log(1 + FLOOR)
    # The score: -0.4, 0.4, -1.2, 1.2: mean 0, variance 0.8.
    score = math.log(math.sqrt(0.8) + FLOOR) - math.log(1 + FLOOR)
    # The curve gives 0.5, 0.9, 0.1, 0.9; two of four scores reach the threshold.
    assert found == pytest.approx([1.0, spread, 0.0, score, 0.6, 0.5], abs=1e-6)


def test_what_few_frames_let_a_mean_stray_is_taken_off() -> None:
    found = statistics_of(ROWS, np.full((1, 4), 0.25), BASIS, effective_n=4)[0]
    assert found[0] == pytest.approx(math.sqrt(1 - 1 / 4))
    assert found[1] == pytest.approx(math.log(math.sqrt(2 * 4 / 3) + FLOOR) - math.log(1 + FLOOR))
    assert statistics_of(ROWS, np.full((1, 4), 0.25), BASIS, effective_n=1)[0, 0] == 0.0


def test_weights_stand_for_repeated_rows() -> None:
    weights = np.array([[0.5, 0.25, 0.0, 0.25]])
    repeated = ROWS[[0, 0, 1, 3]]
    ours = statistics_of(ROWS, weights, BASIS, effective_n=30)
    np.testing.assert_allclose(ours, statistics_of(repeated, np.full((1, 4), 0.25), BASIS, effective_n=30))


def test_a_large_family_keeps_its_size_alone() -> None:
    names = tuple(f"v{at}" for at in range(33))
    many = Basis(features=names, families=("value",) * 33, mean=np.zeros(33), std=np.ones(33))
    assert many.names == ("value.shift", "value.spread")
    few = Basis(features=("a", "b"), families=("value",) * 2, mean=np.zeros(2), std=np.ones(2))
    assert few.names == ("value.shift", "value.spread", "a.shift", "b.shift", "a.spread", "b.spread")


def test_trees_and_ridge_predict_what_their_tables_say() -> None:
    windows = np.array([HEALTHY, [0.5, 0, 0, 0, 0, 0]])
    assert TREES.predict(windows) == pytest.approx([(-0.02 - 0.04) / 2, (-0.2 - 0.04) / 2])
    # Weights 4 and 5 on the two halves of confidence; the first statistic weighs nothing.
    assert RIDGE.predict(windows) == pytest.approx([0.5 + 4 * 0.5 + 5 * 0.5, 0.5])


def test_confidence_is_heard_less_the_more_seems_lost() -> None:
    windows = np.array([[0, 0, 0, 0, 0.6, 0.6]] * 3, np.float64)
    # Nothing, 5 points, half-way from there to 20, and 50 points seem lost.
    windows = np.repeat(windows[:1], 4, axis=0)
    found = combined(np.array([0.7, 0.65, 0.575, 0.2]), windows, BASIS, 0.7)
    assert found == pytest.approx([0.6, 0.6, 0.5 * 0.6 + 0.5 * 0.575, 0.2])


def test_direct_trees_say_the_figure_itself() -> None:
    direct = dataclasses.replace(ESTIMATOR, method=DIRECT)
    said = direct.estimate(healthy_rows(), effective_n=100)
    # 0.7 less the trees' 0.03, whatever confidence says; it alone is heard while so little seems lost.
    assert said.parts["replay"] == pytest.approx(0.67)
    assert said.value == pytest.approx(0.55)
    assert said.method == "replay (direct trees)"
    assert decode(encode(direct)).estimate(healthy_rows(), effective_n=100) == said


def test_an_estimate_with_its_interval() -> None:
    said = ESTIMATOR.estimate(healthy_rows(), effective_n=100)
    # Confidence: the curve at 0.25 and 0.75, (0.2 + 0.9) / 2; the trees take 0.03 off.
    assert said.parts["cbpe"] == pytest.approx(0.55)
    assert said.parts["atc"] == 0.5
    assert said.parts["replay"] == pytest.approx(0.52)
    heard = (0.2 - (0.7 - 0.52)) / 0.15
    assert said.value == pytest.approx(heard * 0.55 + (1 - heard) * 0.52, abs=1e-4)
    assert said.value is not None and said.high is not None and said.low is not None
    assert said.high - said.value == pytest.approx(0.03, abs=1e-4)
    assert said.value - said.low == pytest.approx(0.03, abs=1e-4)
    assert (said.kind, said.n, said.effective_n, said.reference) == ("accuracy", 400, 100.0, 0.72)
    assert (said.method, said.abstained) == ("replay (trees)", "")


def test_fewer_independent_frames_than_were_judged_widen_the_interval() -> None:
    said = ESTIMATOR.estimate(healthy_rows(), effective_n=20)
    assert said.value is not None and said.high is not None
    by_chance = 1.645 * math.sqrt(said.value * (1 - said.value) * 0.64 * (1 / 20 - 1 / 50))
    assert said.high - said.value == pytest.approx(math.hypot(0.03, by_chance), abs=1e-4)


def test_too_few_frames_say_nothing() -> None:
    said = ESTIMATOR.estimate(healthy_rows(), effective_n=9.6)
    assert said.abstained == "400 frames worth 9.6 independent ones are fewer than 10"
    assert said.value is said.low is said.high is None
    alone = ESTIMATOR.estimate(healthy_rows(4), effective_n=100)
    assert alone.abstained == "4 frames worth 4 independent ones are fewer than 10"


def test_strangeness_knows_every_strength_up_to_the_one_replayed() -> None:
    centroids = np.array([[0.0, 0.0], [4.0, 0.0]])
    assert strangeness(np.array([2.0, 0.5]), centroids) == 0.5
    assert strangeness(np.array([7.0, 4.0]), centroids) == 5.0
    assert strangeness(np.array([-3.0, 0.0]), centroids) == 3.0


def test_a_window_unlike_anything_replayed_is_not_judged() -> None:
    said = ESTIMATOR.estimate(healthy_rows() + np.array([0, 8, 0], np.float32), effective_n=400)
    assert said.value is None and said.method == ""
    times = said.parts["distance"]
    assert said.abstained == (
        f"the window lies {times:.2g} times as far from every replayed condition as any was from the others"
    )


def test_confidence_can_speak_alone() -> None:
    alone = dataclasses.replace(ESTIMATOR, regression=None, method="atc")
    said = alone.estimate(healthy_rows(), effective_n=100)
    assert (said.value, said.method) == (0.5, "atc") and "replay" not in said.parts


def test_mean_squared_errors_are_published_squared() -> None:
    basis = Basis(
        features=("x", "output.value"),
        families=("value", "output"),
        mean=np.zeros(2),
        std=np.ones(2),
        value=1,
        error=Curve(scores=np.array([-1.0, 1.0]), rights=np.array([3.0, 5.0])),
    )
    estimator = Estimator(
        measure="mse",
        basis=basis,
        method="local",
        regression=None,
        baseline=2.0,
        reference=4.0,
        scatter=Scatter(above=np.array([0.0]), half=np.array([0.5]), worth=50.0, share=1.0),
        centroids=np.array([[0.0] * (len(basis.names) - 1) + [2.0]]),
        outermost=3.0,
    )
    rows = np.array([[-1.0, -1.0], [1.0, 1.0]] * 50, np.float32)
    said = estimator.estimate(rows, effective_n=100)
    assert (said.kind, said.value, said.low, said.high) == ("mse", 4.0, 2.25, 6.25)
    assert said.parts["local"] == said.parts["unchanged"] == 4.0


def test_shift_leaves_confidence_out() -> None:
    assert shift_of(np.array([[3.0, 0, 4.0, 0, 9.0, 9.0]]), BASIS) == pytest.approx([5.0])


@given(
    numbers=st.lists(st.floats(-1e6, 1e6), min_size=6, max_size=6),
    regression=st.sampled_from([TREES, RIDGE, None]),
)
def test_what_is_written_is_read_back(numbers: list[float], regression: Trees | Ridge | None) -> None:
    made = dataclasses.replace(
        ESTIMATOR,
        regression=regression,
        method={type(None): "cbpe", Ridge: "ridge", Trees: "trees"}[type(regression)],
        centroids=np.array([HEALTHY, numbers]),
    )
    data = encode(made)
    back = decode(data, features=FEATURES)
    assert encode(back) == data
    rows = healthy_rows()
    assert back.estimate(rows, effective_n=60) == made.estimate(rows, effective_n=60)
    assert back.right(rows[0]) == made.right(rows[0])


def test_an_estimator_of_other_features_is_refused() -> None:
    with pytest.raises(BundleError) as raised:
        decode(encode(ESTIMATOR), features=("luma", "tint", "output.top_score"))
    assert raised.value.problems == ("estimator.json: features: not those of the reference: dark, tint",)


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        (("schema",), "other", "schema: expected one of litewatch.estimator/1, got 'other'"),
        (("score",), 3, "score: expected 0 … 2, got 3"),
        (("std", 1), 0.0, "std: must be more than 0"),
        (("mean",), [1.0], "mean: expected 3 entries, got 1"),
        (("curve", "scores"), [0.6, 0.6], "curve.scores: must rise"),
        (("curve", "rights"), [0.9, 0.1], "curve.rights: must never fall, and be at most 1"),
        (("centroids", 1), [1.0], "centroids[1]: expected 6 finite numbers, got 1"),
        (("trees", "right", 0), 1, "trees.right[0]: expected 2 … 3, got 1"),
        (("trees", "feature", 1), 6, "trees.feature[1]: expected -1 … 5, got 6"),
        (("trees",), None, "method: expected one of cbpe, atc, got 'trees'"),
        (("method",), "ridge", "method: expected one of trees, direct trees, got 'ridge'"),
        (("scatter", "half"), [0.1], "scatter.half: expected 3 numbers of 0 or more"),
        (("scatter", "above", 0), 0.1, "scatter.above: must begin with 0 and never fall"),
        (("outermost",), 0.0, "outermost: expected a distance, got 0.0"),
        (("outermost",), 1e-300, "outermost: expected a distance, got 1e-300"),
        (("trees", "cut", 0), 1e300, "trees.cut: must be within ±1e+60"),
        (("reference",), 1.5, "reference, baseline: must be at most 1"),
        (("inputs",), 3, "unknown key 'inputs'"),
    ],
)
def test_a_damaged_file_says_where(path: tuple[str | int, ...], value: object, problem: str) -> None:
    file = json.loads(encode(ESTIMATOR))
    at = file
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    with pytest.raises(BundleError) as raised:
        decode(json.dumps(file).encode())
    assert any(problem in found for found in raised.value.problems), raised.value.problems


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("centre", 1e300, "ridge.centre: must be within ±1e+60"),
        ("weights", -1e300, "ridge.weights: must be within ±1e+60"),
        ("intercept", 1e300, "ridge.intercept: must be within ±1e+60"),
        ("scale", 1e-300, "ridge.scale: must be more than 0"),
    ],
)
def test_a_ridge_is_bounded(name: str, value: float, problem: str) -> None:
    file = json.loads(encode(dataclasses.replace(ESTIMATOR, regression=RIDGE, method="ridge")))
    if name == "intercept":
        file["ridge"][name] = value
    else:
        file["ridge"][name][0] = value
    with pytest.raises(BundleError) as raised:
        decode(json.dumps(file).encode())
    assert raised.value.problems == (f"estimator.json: {problem}",)


@given(st.binary(max_size=200))
def test_noise_is_refused(data: bytes) -> None:
    with pytest.raises(BundleError):
        decode(data)
