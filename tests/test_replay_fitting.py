"""What replays teach about accuracy: on made-up models whose true accuracy or error is known."""

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesRegressor
from sklearn.isotonic import IsotonicRegression

from agent.monitor.estimate import Estimator, decode, encode
from agent.monitor.estimate.statistics_of import Basis
from agent.monitor.groups import NO_GROUPS
from agent.monitor.reference import Reference, build
from calibration.replay.conditions import HEALTHY, Condition, Replay
from calibration.replay.fitting import fit
from calibration.replay.isotonic import fit_curve
from calibration.replay.trees import grow
from calibration.replay.windows import HEALTHY_DRAWS, PLACES, TILTS, draw

Rows = NDArray[np.float32]
FEATURES = ("luma", "tint", "step", "output.top_score")
FAMILIES = ("light", "colour", "sharpness", "output")


def reference_of(
    features: tuple[str, ...], families: tuple[str, ...], rows: Rows, *, accuracy: float | None = None
) -> Reference:
    none = np.full(len(rows), -1)
    return build(
        features=features,
        families=families,
        profile_rows=rows,
        profile_groups=none,
        pixels=np.zeros((0, 256), np.int64),
        calibration=rows,
        calibration_groups=none,
        groups=NO_GROUPS,
        fingerprint="f",
        accuracy=accuracy,
    )


@dataclass(frozen=True)
class Model:
    """A classifier whose answers are right with a chance that falls with how far the input moved, of
    which its score admits only half."""

    rng: np.random.Generator

    def see(self, base: NDArray[np.float64], moved: NDArray[np.float64], skill: NDArray[np.float64]) -> Rows:
        score = 1 / (1 + np.exp(-(skill - 0.5 * np.linalg.norm(moved, axis=1))))
        return np.column_stack([base + moved, score]).astype(np.float32)

    def loss(
        self, moved: NDArray[np.float64], skill: NDArray[np.float64], luck: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        chance = 1 / (1 + np.exp(-(skill - np.linalg.norm(moved, axis=1))))
        wrong: NDArray[np.float64] = (luck > chance).astype(np.float64)
        return wrong

    def condition(
        self, family: str, name: str, direction: list[float], n: int, *, seed: int = 5
    ) -> Condition:
        rng = np.random.default_rng(seed)
        base, skill, luck = rng.normal(size=(n, 3)), rng.normal(1.5, 1.0, n), rng.random(n)
        moved = np.broadcast_to(np.array(direction), (n, 3))
        return Condition(
            family=family,
            name=name,
            rows=self.see(base, moved, skill),
            classes=np.zeros(n, np.int64),
            loss=self.loss(moved, skill, luck),
        )


def faults(n: int) -> list[Condition]:
    """Six families of three strengths, each in another direction."""
    model = Model(np.random.default_rng(0))
    directions = {
        "data:dark": [-1, 0, 0],
        "data:bright": [1, 0, 0],
        "data:tint": [0, 1, 0],
        "preprocess:color": [0, -1, 0],
        "data:blur": [0, 0, -1],
        "data:noise": [0, 0, 1],
    }
    return [
        model.condition(family, str(size), [size * at for at in direction], n)
        for family, direction in directions.items()
        for size in (0.7, 1.6, 3.0)
    ]


def classifier_replay(n: int = 200, *, without: str = "") -> Replay:
    model = Model(np.random.default_rng(0))
    healthy = model.condition(HEALTHY, "healthy", [0, 0, 0], n)
    held_out = model.condition(HEALTHY, "held out", [0, 0, 0], 400, seed=6)
    conditions = (healthy, *(fault for fault in faults(n) if fault.family != without))
    return Replay(kind="classification", features=FEATURES, conditions=conditions, held_out=held_out)


@pytest.fixture(scope="module")
def classifier() -> Estimator:
    return fit_classifier(classifier_replay())


def fit_classifier(replay: Replay) -> Estimator:
    return fit(replay, reference_of(FEATURES, FAMILIES, replay.held_out.rows))


@given(
    pairs=st.lists(st.tuples(st.integers(0, 12), st.integers(0, 1)), min_size=1, max_size=40),
    asked=st.lists(st.floats(-1, 13), min_size=1, max_size=8),
)
def test_the_curve_is_scikit_learns_isotonic_regression(
    pairs: list[tuple[int, int]], asked: list[float]
) -> None:
    scores, right = (np.array(column, np.float64) for column in zip(*pairs, strict=True))
    curve = fit_curve(scores, right)
    theirs = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(scores, right)
    np.testing.assert_allclose(curve.right(np.array(asked)), theirs.predict(asked), atol=1e-9)


def test_trees_err_about_as_little_as_scikit_learns(rng: np.random.Generator) -> None:
    x, y_noise = rng.normal(size=(600, 6)), rng.normal(0, 0.1, 600)
    y = np.sin(x[:, 0]) + 0.5 * (x[:, 1] > 0) + y_noise
    ours = grow(x[:400], y[:400], trees=40, rng=rng).predict(x[400:])
    theirs = ExtraTreesRegressor(40, min_samples_leaf=5, max_features=0.5, random_state=0)
    error = np.abs(ours - y[400:]).mean()
    assert error < 1.15 * np.abs(theirs.fit(x[:400], y[:400]).predict(x[400:]) - y[400:]).mean()
    assert error < 0.5 * np.abs(y[400:] - y[:400].mean()).mean()


def test_windows_take_off_what_inputs_cost_while_healthy() -> None:
    n = 60
    rows = np.zeros((n, 2), np.float32)
    loss = np.r_[np.ones(30), np.zeros(30)]
    healthy = Condition(family=HEALTHY, name="", rows=rows, classes=np.arange(n), loss=loss)
    same = Condition(family="data:x", name="", rows=rows + 1, classes=np.arange(n), loss=loss)
    basis = Basis(features=("a", "b"), families=("light", "light"), mean=np.zeros(2), std=np.ones(2))
    windows = draw((healthy, same), (loss, loss), np.arange(n), basis, np.random.default_rng(0))
    assert len(windows.loss) == (HEALTHY_DRAWS + 1) * (len(TILTS) + len(PLACES) + 1)
    # Whichever inputs were drawn, the fault costs what it costs on all of them.
    np.testing.assert_allclose(windows.loss, 0.5, atol=1e-12)


def test_healthy_windows_are_estimated_right(classifier: Estimator) -> None:
    fresh = Model(np.random.default_rng(0)).condition(HEALTHY, "", [0, 0, 0], 4000, seed=77)
    assert fresh.loss is not None
    said = classifier.estimate(fresh.rows, effective_n=1000)
    assert said.value == pytest.approx(1 - fresh.loss.mean(), abs=0.03)
    assert said.method == f"replay ({classifier.method})"
    assert said.kind == "accuracy" and said.reference == pytest.approx(0.78, abs=0.04)


@pytest.mark.parametrize("family", ["data:dark", "preprocess:color", "data:noise"])
def test_faults_never_replayed_are_estimated_better_than_by_confidence(family: str) -> None:
    estimator = fit_classifier(classifier_replay(without=family))
    ours, confidence, covered = [], [], []
    for fault in (fault for fault in faults(4000) if fault.family == family):
        assert fault.loss is not None
        truth, said = 1 - float(fault.loss.mean()), estimator.estimate(fault.rows, effective_n=1000)
        assert said.value is not None and said.low is not None and said.high is not None
        ours.append(abs(said.value - truth))
        confidence.append(abs(said.parts["cbpe"] - truth))
        covered.append(said.low <= truth <= said.high)
    assert sum(ours) < 0.75 * sum(confidence)
    assert all(covered)


def test_what_is_unlike_everything_replayed_is_not_judged(classifier: Estimator) -> None:
    far = Model(np.random.default_rng(0)).condition("data:x", "", [-6, 6, 6], 500)
    said = classifier.estimate(far.rows, effective_n=500)
    assert said.value is said.low is said.high is None
    assert said.abstained.startswith("the window lies ")
    assert said.abstained.endswith(" times as far from every replayed condition as any was from the others")
    assert said.parts["distance"] > 1 and said.method == ""


def test_the_interval_grows_with_the_shift_and_with_fewer_frames(classifier: Estimator) -> None:
    def half(size: float, effective_n: float) -> float:
        rows = Model(np.random.default_rng(0)).condition("x", "", [0, 0, size], 1000).rows
        said = classifier.estimate(rows, effective_n=effective_n)
        assert said.low is not None and said.high is not None
        return said.high - said.low

    assert half(0, 500) < half(2.5, 500)
    assert half(0, 500) < half(0, 40) < half(0, 15)


def test_the_interval_is_no_narrower_than_the_healthy_figure_is_known() -> None:
    """Alone, confidence repeats itself on windows of the inputs it was fitted on."""
    full = classifier_replay(60)
    held_out = full.held_out
    alike = Replay(
        kind=full.kind,
        features=FEATURES,
        conditions=full.conditions[:1],
        held_out=held_out,
    )
    estimator = fit_classifier(alike)
    base, labelled = estimator.baseline, 60 + len(held_out.rows)
    known = 1.645 * np.sqrt(max(base * (1 - base), 0.01) * estimator.scatter.share / labelled)
    assert estimator.scatter.half.min() >= known - 1e-4


def test_equal_replays_give_equal_bytes() -> None:
    replay = classifier_replay(60)
    first, second = encode(fit_classifier(replay)), encode(fit_classifier(replay))
    assert first == second
    assert encode(decode(first, features=FEATURES)) == first


def test_with_too_few_families_confidence_speaks_alone() -> None:
    full = classifier_replay(60)
    estimator = fit_classifier(
        Replay(kind=full.kind, features=FEATURES, conditions=full.conditions[:7], held_out=full.held_out)
    )
    assert estimator.regression is None and estimator.method in ("cbpe", "atc")
    said = estimator.estimate(full.held_out.rows, effective_n=400)
    assert said.method == estimator.method and said.value == said.parts[estimator.method]


def test_the_bundles_own_accuracy_is_the_reference() -> None:
    replay = classifier_replay(60)
    assert fit(replay, reference_of(FEATURES, FAMILIES, replay.held_out.rows, accuracy=0.5)).reference == 0.5


def test_another_reference_is_refused() -> None:
    replay = classifier_replay(60)
    other = reference_of(FEATURES[::-1], FAMILIES, replay.held_out.rows)
    with pytest.raises(ValueError, match="the replay and the reference are of different features"):
        fit(replay, other)


def regression_condition(
    family: str, name: str, x: NDArray[np.float64], seen: NDArray[np.float64]
) -> Condition:
    """The truth is x²/4; the model is the least squares line over N(5, 2), and is given ``seen``."""
    value = (10 * seen - 21) / 4
    return Condition(
        family=family,
        name=name,
        rows=np.column_stack([seen, value]).astype(np.float32),
        classes=np.full(len(x), -1),
        loss=(value - x**2 / 4) ** 2,
    )


def regression_replay(rng: np.random.Generator) -> Replay:
    x, held_out = rng.normal(5, 2, 2000), rng.normal(5, 2, 500)
    faulty = {
        "data:gain": [x * gain for gain in (0.7, 1.4)],
        "data:noise": [x + rng.normal(0, size, len(x)) for size in (2, 4)],
        "data:stuck": [np.where(rng.random(len(x)) < share, 5.0, x) for share in (0.5, 0.9)],
        "data:clip": [np.clip(x, 5 - size, 5 + size) for size in (0.5, 1.5)],
    }
    return Replay(
        kind="regression",
        features=("x", "output.value"),
        conditions=(
            regression_condition(HEALTHY, "healthy", x, x),
            *(
                regression_condition(family, str(at), x, seen)
                for family, every in faulty.items()
                for at, seen in enumerate(every)
            ),
        ),
        held_out=regression_condition(HEALTHY, "held out", held_out, held_out),
    )


def test_mse_when_the_input_moves_from_n52_to_n62(rng: np.random.Generator) -> None:
    replay = regression_replay(rng)
    reference = reference_of(("x", "output.value"), ("value", "output"), replay.held_out.rows)
    estimator = fit(replay, reference)
    # The error is ((x - 5)² - 4) / 4. With u = x - 5 of mean m and variance 4, its expected square is
    # (E u⁴ - 8 E u² + 16) / 16, where E u² = m² + 4 and E u⁴ = m⁴ + 24 m² + 48.
    for mean, expected in ((5.0, 2.0), (6.0, 49 / 16)):
        x = rng.normal(mean, 2, 20_000)
        said = estimator.estimate(regression_condition("", "", x, x).rows, effective_n=1000)
        assert said.kind == "mse" and said.value is not None
        assert said.value == pytest.approx(expected, rel=0.2)
        assert said.low is not None and said.high is not None and said.low < expected < said.high
    assert estimator.right(replay.held_out.rows[0]) is None


def test_without_labels_it_is_agreement_with_the_undisturbed_model(rng: np.random.Generator) -> None:
    """Detections: a fault of size s changes the best detection's class with probability s."""
    n, base = 300, rng.normal(size=(300, 2))
    luck, classes = rng.random(n), rng.integers(0, 3, n)

    def condition(family: str, at: int, size: float) -> Condition:
        moved = base + np.eye(2)[at % 2] * size * (4 if at < 2 else -4)
        rows = np.column_stack([moved, np.full(n, 0.8 - size / 2)]).astype(np.float32)
        changed = np.where(luck < size, -1, classes)
        return Condition(family=family, name=str(size), rows=rows, classes=changed, loss=None)

    names = ("data:dark", "data:blur", "data:bright", "data:noise")
    healthy = condition(HEALTHY, 0, 0.0)
    conditions = [condition(name, at, s) for at, name in enumerate(names) for s in (0.1, 0.3, 0.6)]
    features = ("luma", "step", "output.mean_score")
    replay = Replay(kind="detection", features=features, conditions=(healthy, *conditions), held_out=healthy)
    estimator = fit(replay, reference_of(features, ("light", "sharpness", "output"), healthy.rows))
    said = estimator.estimate(condition("data:dark", 0, 0.3).rows, effective_n=300)
    assert said.value == pytest.approx(0.7, abs=0.06)
    assert said.method.startswith("agreement with the undisturbed model, ")
    assert said.reference == 1.0
    assert estimator.right(healthy.rows[0]) == pytest.approx(0.8)


@settings(max_examples=20)
@given(seed=st.integers(0, 2**32 - 1))
def test_estimates_are_figures_whatever_the_rows(seed: int, classifier: Estimator) -> None:
    rng = np.random.default_rng(seed)
    rows = (rng.normal(size=(50, 4)) * 10 ** rng.uniform(-3, 6)).astype(np.float32)
    said = classifier.estimate(rows, effective_n=50)
    if said.value is None:
        assert said.abstained
    else:
        assert said.low is not None and said.high is not None
        assert 0 <= said.low <= said.value <= said.high <= 1
