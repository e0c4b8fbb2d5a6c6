"""Replaying: the same inputs under one fault after another, through a model that can be checked by hand."""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from agent.contracts import Array, Decoder, RunnerInfo, TensorSpec
from agent.decode.classification import ClassificationDecoder
from agent.decode.detection import DetectionDecoder
from agent.decode.regression import RegressionDecoder
from agent.errors import FrameError
from agent.monitor.features import FeatureSet, feature_set
from agent.preprocess.compiled import compile_spec
from agent.preprocess.spec import parse
from calibration.labelled import Input, Inputs, class_label, find_images, find_vectors, number_label
from calibration.reference_builder import Subject, name_hash
from calibration.replay import replaying
from calibration.replay.conditions import HEALTHY, Condition, Replay
from calibration.replay.replaying import Split, split

IMAGE_SPEC = """\
version: "1"
steps:
- decode: {exif: ignore}
- crop: {kind: central_fraction, fraction: 0.75, rounding: floor}
- resize: {width: 16, height: 16, method: linear, aspect: stretch}
- color: {order: ORDER}
- normalize: {divisor: 127.5, mean: [1], std: [1]}
- cast: {mode: quantize, rounding: half_even, layout: nhwc}
"""
VECTOR_SPEC = """\
version: "1"
steps:
- select: {names: [t, p], columns: [t, p]}
- standardize: {mean: [20, 5], std: [2, 1]}
- cast: {mode: quantize, rounding: half_even}
"""
COUNT = 60


def _tensor(*shape: int) -> TensorSpec:
    return TensorSpec(name="x", shape=shape, dtype="float32")


@dataclass(frozen=True)
class Means:
    """A model whose answer is the mean of each channel (or the sum of all elements)."""

    input: TensorSpec
    outputs: tuple[TensorSpec, ...]
    info: RunnerInfo | None = None

    def run(self, tensor: Array) -> tuple[Array, ...]:
        if tensor.ndim == 2:
            return (tensor.sum(axis=1, keepdims=True).astype(np.float32),)
        means = tensor.reshape(-1, tensor.shape[-1]).mean(axis=0, dtype=np.float64)
        return (np.resize(means, self.outputs[0].shape).astype(np.float32),)

    def close(self) -> None:
        """Nothing is held."""


@dataclass(frozen=True)
class Boxes:
    """A detector that always finds the same two boxes."""

    input: TensorSpec
    outputs: tuple[TensorSpec, ...]

    def run(self, tensor: Array) -> tuple[Array, ...]:
        boxes = np.array([[[0, 0, 0.5, 0.5], [0, 0, 1, 1]]], np.float32)
        scores = np.array([[0.9, 0.6]], np.float32)
        return boxes, np.array([[1, 2]], np.float32), scores, np.array([2], np.float32)


def _subject(spec: str, runner: Means | Boxes, decoder: Decoder, features: FeatureSet) -> Subject:
    preprocess = compile_spec(parse(spec), runner.input)
    return Subject(preprocess=preprocess, runner=runner, decoder=decoder, features=features)  # type: ignore[arg-type]  # nothing asks what runs it


def _images(order: str = "rgb") -> Subject:
    return _subject(
        IMAGE_SPEC.replace("ORDER", order),
        Means(input=_tensor(1, 16, 16, 1 if order == "gray" else 3), outputs=(_tensor(1, 3),)),
        ClassificationDecoder(values="logits"),
        feature_set(image=True, prediction="classification"),
    )


def _pictures(folder: Path, count: int = COUNT) -> Inputs:
    """Each of one colour more than the others, labelled with that channel, but every fifth wrongly."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(5)
    rows = []
    for number in range(count):
        coarse = rng.integers(0, 120, (5, 5, 3))
        channel = int(rng.integers(3))
        coarse[..., channel] += 100
        image = cv2.resize(coarse.astype(np.uint8), (40, 32), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f"{number}.png"), image[..., ::-1])
        rows.append((f"{number}.png", (channel + (number % 5 == 0)) % 3))
    with (folder / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "label"), *rows])
    return find_images(folder / "labels.csv", class_label((), 3))


def _replay(
    inputs: Inputs, subject: Subject, spec: str, kind: str = "classification", most: int = 12
) -> Replay:
    chosen = split(inputs, kind=kind, most=most)
    assert isinstance(chosen, Split), chosen
    return replaying.replay(chosen, inputs=inputs, kind=kind, spec=parse(spec), subject=subject)


def _condition(replay: Replay, name: str) -> Condition:
    return next(condition for condition in replay.conditions if condition.name == name)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    return _pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="module")
def replayed(pictures: Inputs) -> Replay:
    return _replay(pictures, _images(), IMAGE_SPEC.replace("ORDER", "rgb"))


def test_at_most_two_thirds_are_replayed_and_names_decide_which() -> None:
    inputs = tuple(Input(name=str(at), label=at % 3, values=np.zeros(1)) for at in range(90))
    chosen = split(Inputs(where="x", inputs=inputs), kind="classification", most=128)
    assert isinstance(chosen, Split)
    in_order = sorted((given.name for given in inputs), key=lambda name: name_hash(name, "replay"))
    assert [given.name for given in chosen.replayed] == in_order[:60]
    assert [given.name for given in chosen.held_out] == in_order[60:]
    again = split(Inputs(where="x", inputs=inputs[::-1]), kind="classification", most=128)
    assert again == chosen
    fewer = split(Inputs(where="x", inputs=inputs), kind="classification", most=10)
    assert isinstance(fewer, Split)
    assert (len(fewer.replayed), len(fewer.held_out)) == (10, 80)


def test_too_few_labels_are_said() -> None:
    inputs = [Input(name=str(at), label=None if at % 2 else 1, values=np.zeros(1)) for at in range(90)]
    all_of_them = Inputs(where="x", inputs=tuple(inputs))
    assert split(all_of_them, kind="regression", most=128) == (
        "45 labelled held-out inputs are too few to replay faults on: expected at least 50"
    )
    assert isinstance(split(all_of_them, kind="detection", most=128), Split)
    assert split(Inputs(where="x", inputs=tuple(inputs[:9])), kind="detection", most=128) == (
        "9 held-out inputs are too few to replay faults on: expected at least 50"
    )


def test_every_condition_is_over_the_same_inputs(replayed: Replay) -> None:
    assert replayed.kind == "accuracy"
    assert replayed.conditions[0].family == replayed.held_out.family == HEALTHY
    assert len(replayed.conditions) > 120
    assert len({condition.family for condition in replayed.conditions}) > 20
    for condition in replayed.conditions:
        assert condition.rows.shape == (12, len(replayed.features)), condition.name
        assert condition.rows.dtype == np.float32
        assert np.isfinite(condition.rows).all(), condition.name
        assert condition.classes.shape == (12,)
        assert condition.loss is not None
        assert condition.loss.shape == (12,)
    assert replayed.held_out.rows.shape == (COUNT - 12, len(replayed.features))


def test_the_healthy_condition_is_what_the_model_says(pictures: Inputs, replayed: Replay) -> None:
    subject, chosen = _images(), split(pictures, kind="classification", most=12)
    assert isinstance(chosen, Split)
    healthy = replayed.conditions[0]
    for at, given in enumerate(chosen.replayed):
        prediction, view = subject.predict(given.payload())
        np.testing.assert_array_equal(healthy.rows[at], subject.features.row(view, prediction))
    wrong = [float(int(given.name.split(".")[0]) % 5 == 0) for given in chosen.replayed]
    assert healthy.loss is not None
    assert healthy.loss.tolist() == wrong


def test_a_channel_swap_swaps_features_and_answers(replayed: Replay) -> None:
    healthy, swapped = replayed.conditions[0], _condition(replayed, "channels bgr")
    red, blue = replayed.features.index("red_mean"), replayed.features.index("blue_mean")
    np.testing.assert_allclose(swapped.rows[:, red], healthy.rows[:, blue], rtol=1e-6)
    np.testing.assert_array_equal(swapped.classes, 2 - healthy.classes)


def test_faults_behind_the_picture_move_answers_alone(replayed: Replay) -> None:
    healthy = replayed.conditions[0]
    inputs = np.array([not name.startswith("output.") for name in replayed.features])
    behind = [c for c in replayed.conditions if c.family in ("preprocess:normalize", "preprocess:cast")]
    assert len(behind) >= 8
    for condition in behind:
        np.testing.assert_array_equal(condition.rows[:, inputs], healthy.rows[:, inputs])
        assert not np.array_equal(condition.rows[:, ~inputs], healthy.rows[:, ~inputs])
    # The model expects -1 … 1: that is no fault. Its negative turns the ranking of the channels round.
    assert "-1 … 1" not in {condition.name for condition in behind}
    entropy = replayed.features.index("output.entropy")
    shares = _condition(replayed, "0 … 1").rows[:, entropy]
    assert np.all(shares > healthy.rows[:, entropy])  # half the contrast between the channels


def test_no_crop_is_replayed_where_the_spec_crops(replayed: Replay, pictures: Inputs) -> None:
    assert _condition(replayed, "not cropped").family == "preprocess:crop"
    spec = "".join(line for line in IMAGE_SPEC.splitlines(True) if "crop:" not in line)
    names = {
        condition.name for condition in _replay(pictures, _images(), spec.replace("ORDER", "rgb")).conditions
    }
    assert "not cropped" not in names
    assert "method linear" not in names
    assert "central 0.6" in names


@pytest.mark.parametrize("order", ["bgr", "gray"])
def test_other_colour_orders_see_the_same_picture(order: str, pictures: Inputs, replayed: Replay) -> None:
    other = _replay(pictures, _images(order), IMAGE_SPEC.replace("ORDER", order))
    dark = [_condition(replay, "gain .35") for replay in (other, replayed)]
    luma = replayed.features.index("luma_mean")
    np.testing.assert_allclose(dark[0].rows[:, luma], dark[1].rows[:, luma], atol=1.0)
    if order == "bgr":
        np.testing.assert_array_equal(dark[0].classes, 2 - dark[1].classes)


def test_equal_inputs_give_an_equal_replay_in_whatever_order(pictures: Inputs, replayed: Replay) -> None:
    turned = Inputs(where="x", inputs=pictures.inputs[::-1])
    again = _replay(turned, _images(), IMAGE_SPEC.replace("ORDER", "rgb"))
    assert [c.name for c in again.conditions] == [c.name for c in replayed.conditions]
    for one, other in zip(again.conditions, replayed.conditions, strict=True):
        np.testing.assert_array_equal(one.rows, other.rows, err_msg=one.name)


def test_inputs_that_cannot_be_used_are_passed_over(tmp_path: Path) -> None:
    inputs = _pictures(tmp_path)
    for given in inputs.inputs[:4]:
        assert given.path is not None
        given.path.write_bytes(b"no picture")
    replay = _replay(inputs, _images(), IMAGE_SPEC.replace("ORDER", "rgb"))
    assert len(replay.conditions[0].rows) + len(replay.held_out.rows) == COUNT - 4
    for given in inputs.inputs[4:40]:
        assert given.path is not None
        given.path.write_bytes(b"no picture")
    with pytest.raises(FrameError, match="40 of 60 inputs cannot be used"):
        _replay(inputs, _images(), IMAGE_SPEC.replace("ORDER", "rgb"))


def test_detections_are_replayed_without_labels(pictures: Inputs) -> None:
    spec = IMAGE_SPEC.replace("ORDER", "rgb")
    outputs = tuple(_tensor(*shape) for shape in ((1, 2, 4), (1, 2), (1, 2), (1,)))
    subject = _subject(
        spec,
        Boxes(input=_tensor(1, 16, 16, 3), outputs=outputs),
        DetectionDecoder(),
        feature_set(image=True, prediction="detection"),
    )
    replay = _replay(pictures, subject, spec, kind="detection", most=3)
    assert replay.conditions[0].loss is None
    assert replay.conditions[0].classes.tolist() == [1, 1, 1]
    # A model that always answers the same shows no fault that only answers would show.
    assert not any(condition.family == "preprocess:normalize" for condition in replay.conditions)


def _readings(path: Path, rows: Iterable[Sequence[float]]) -> Inputs:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([("t", "p", "label"), *rows])
    return find_vectors(path, number_label)


def _vectors(spec: str) -> Subject:
    return _subject(
        spec,
        Means(input=_tensor(1, 2), outputs=(_tensor(1, 1),)),
        RegressionDecoder(),
        feature_set(image=False, prediction="regression", vector=("t", "p")),
    )


def test_readings_under_every_fault(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    t, p = rng.normal(20, 2, 80), rng.normal(5, 1, 80)
    truth = (t - 20) / 2 + (p - 5)
    inputs = _readings(tmp_path / "r.csv", zip(t.tolist(), p.tolist(), (truth + 0.5).tolist(), strict=True))
    replay = _replay(inputs, _vectors(VECTOR_SPEC), VECTOR_SPEC, kind="regression", most=40)
    assert replay.kind == "mse"
    assert replay.features == ("t", "p", "output.value")
    assert len({c.family for c in replay.conditions}) > 20
    healthy = replay.conditions[0]
    assert healthy.loss == pytest.approx(0.25, rel=1e-4)
    assert healthy.classes.tolist() == [-1] * 40
    offset = _condition(replay, "offset +1 sd of t")
    np.testing.assert_allclose(offset.rows[:, 0], healthy.rows[:, 0] + t.std(), rtol=1e-5)
    np.testing.assert_array_equal(offset.rows[:, 1], healthy.rows[:, 1])
    # One spread of t is t.std() / 2 behind standardize; the labels are .5 above the model's answers.
    assert offset.loss == pytest.approx((t.std() / 2 - 0.5) ** 2, rel=1e-3)
    twice = _condition(replay, "not standardised")
    np.testing.assert_array_equal(twice.rows[:, :2], healthy.rows[:, :2])
    np.testing.assert_allclose(twice.rows[:, 2], healthy.rows[:, :2].sum(axis=1), rtol=1e-5)


def test_a_lost_value_is_imputed_by_the_spec_or_by_its_mean(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    rows = np.column_stack([rng.normal(20, 2, 60), rng.normal(5, 1, 60), np.zeros(60)]).tolist()
    inputs = _readings(tmp_path / "r.csv", rows)
    imputing = VECTOR_SPEC.replace("- stand", "- impute: {fill: [17, 4]}\n- stand")
    for spec, expected in ((VECTOR_SPEC, np.mean([row[0] for row in rows])), (imputing, 17.0)):
        lost = _condition(_replay(inputs, _vectors(spec), spec, kind="regression"), "missing of t")
        np.testing.assert_allclose(lost.rows[:, 0], expected, rtol=1e-6)
