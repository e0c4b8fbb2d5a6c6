"""Quantization schemes compared: what is on the front, what is recommended, how it is drawn."""

import itertools
import json
import re
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from agent.contracts import Classification, Regression
from agent.errors import InputError, LabelError
from calibration.labelled import find_images
from calibration.layers import LayerDrop
from calibration.outcomes import Answers, Truth
from calibration.schemes import KINDS
from calibration.schemes.comparison import device_warnings
from calibration.schemes.front import mark_front
from calibration.schemes.keras2 import CannotRebuildError, build, check_same
from calibration.schemes.materials import drawn
from calibration.schemes.mixed import scope, worst_layers
from calibration.schemes.picture import spread, svg
from calibration.schemes.qat import loss_name
from calibration.schemes.recommendation import Recommendation, recommend
from calibration.schemes.scheme import Comparison, Head, Measured, NotMade, Training, plain
from calibration.schemes.trial import Trial, measure
from tools.cli import main
from tools.commands.schemes import device_latencies

N = 200


def row(name: str, **values: object) -> Measured:
    usual = Measured(
        scheme=KINDS[name],
        file=f"{name}.tflite",
        bytes=1000,
        inputs=N,
        labelled=N,
        quality=0.9,
        low=0.86,
        high=0.93,
        flips=0,
        latency_ms=10.0,
    )
    return replace(usual, **values)  # type: ignore[arg-type]


def classes(tops: np.ndarray) -> Answers:
    scores = np.zeros(4, np.float32)
    return Answers(
        predictions=tuple(Classification(scores=scores, top=int(top), score=1.0) for top in tops),
        numbers=tuple(scores.astype(np.float64) for _ in tops),
    )


def values(numbers: np.ndarray) -> Answers:
    return Answers(
        predictions=tuple(Regression(values=np.array([number])) for number in numbers),
        numbers=tuple(np.array([number]) for number in numbers),
    )


def trial(name: str, answers: Answers) -> Trial:
    return Trial(scheme=KINDS[name], answers=answers, latency_ms=1.0)


def test_the_front_leaves_out_what_another_scheme_beats_in_everything() -> None:
    rows = (
        row("float32"),
        row("int8", bytes=300, latency_ms=4.0, quality=0.88),
        row("int8-per-tensor", bytes=310, latency_ms=4.5, quality=0.5),
        row("dynamic", bytes=990, latency_ms=1.0, quantized=False),
    )
    marked = {one.scheme.name: one.on_front for one in mark_front(rows, "accuracy")}
    assert marked == {"float32": True, "int8": True, "int8-per-tensor": False, "dynamic": False}


def test_latencies_that_are_alike_put_nothing_off_the_front() -> None:
    rows = (
        row("float32"),
        row("int8", bytes=300, latency_ms=4.0, quality=0.88),
        row("mixed", bytes=310, latency_ms=3.8, quality=0.88),  # 5 % faster is chance
        row("int8-io", bytes=310, latency_ms=3.0, quality=0.88),
    )
    on_front = {one.scheme.name: one.on_front for one in mark_front(rows, "accuracy")}
    assert on_front == {"float32": True, "int8": True, "mixed": False, "int8-io": True}


def test_the_devices_latency_counts_where_every_row_has_one() -> None:
    rows = (
        row("float32", device_latency_ms=50.0),
        row("int8", bytes=300, latency_ms=20.0, device_latency_ms=8.0, quality=0.9),
    )
    assert [one.on_front for one in mark_front(rows, "accuracy")] == [False, True]
    rows = (replace(rows[0], device_latency_ms=None), rows[1])
    assert [one.on_front for one in mark_front(rows, "accuracy")] == [True, True]


def test_device_latencies_that_do_not_fit_are_warned_of() -> None:
    rows = (row("float32", file="made/net-float32.tflite"), row("int8", file="made/net-int8.tflite"))
    assert device_warnings(rows, {}) == ()
    unknown, missing = device_warnings(
        (rows[0], replace(rows[1], device_latency_ms=4.0)), {"net-int8": 4.0, "other": 1.0}
    )
    assert unknown == "--device: other: no scheme's file; expected net-float32, net-int8"
    assert "no latency of float32" in missing
    assert "measured here decide" in missing
    every = tuple(replace(one, device_latency_ms=4.0) for one in rows)
    assert device_warnings(every, {"net-int8": 4.0, "net-float32": 4.0}) == ()


def choose(*rows: Measured, lost: dict[str, int], n: int = N, gained: int = 0) -> Recommendation:
    """``lost`` of ``n`` inputs are wrong only there; ``gained`` are wrong only in float32."""
    labels = np.zeros(n, np.int64)
    trials = []
    for one in rows:
        tops = labels.copy()
        tops[: lost.get(one.scheme.name, 0)] = 1
        if one.scheme.name == "float32" and gained:
            tops[-gained:] = 1
        trials.append(trial(one.scheme.name, classes(tops)))
    return recommend(rows, trials, Truth(labels=tuple(labels.tolist())))


def test_the_fastest_scheme_within_a_point_is_recommended() -> None:
    rows = (
        row("float32"),
        row("int8", bytes=300, latency_ms=4.0),
        row("int8-per-tensor", bytes=290, latency_ms=3.0),
    )
    found = choose(*rows, lost={"int8": 1, "int8-per-tensor": 20})
    assert found.scheme == "int8"
    assert found.why == (
        "Against float32 3.3 times smaller, 2.5 times faster here, -0.5 points (-1.9 … +0.9) on 200 inputs "
        "(too few to rule out a loss beyond the margin)."
    )


def test_nothing_is_recommended_because_few_inputs_prove_nothing() -> None:
    rows = (row("float32"), row("int8", bytes=300, latency_ms=4.0))
    found = choose(*rows, lost={"int8": 2}, n=20)  # -10 points, and zero lies within the interval
    assert found.scheme == "float32"
    assert found.why.startswith(
        "No scheme is within 1 point of float32's accuracy; the nearest is int8: -10.0 points ("
    )


def test_a_proven_loss_within_the_margin_is_no_loss() -> None:
    rows = (row("float32"), row("int8", bytes=300, latency_ms=4.0))
    found = choose(*rows, lost={"int8": 20}, n=4000)
    assert found.scheme == "int8"
    assert found.why.endswith("-0.5 points (-0.7 … -0.3) on 4000 inputs (a proven loss, within the margin).")


def test_of_equals_one_scale_per_channel_and_the_smaller_file() -> None:
    rows = (
        row("float32", bytes=1000),
        row("int8-io", bytes=332, latency_ms=4.0),
        row("int8-per-tensor", bytes=300 + 20, latency_ms=3.9),
        row("int8", bytes=330, latency_ms=4.2),
        row("mixed", bytes=400, latency_ms=4.0),
    )
    assert choose(*rows, lost={}).scheme == "int8"
    assert choose(row("float32"), row("float16", bytes=980, latency_ms=10.5), lost={}).scheme == "float32"


def test_a_larger_file_is_called_larger() -> None:
    found = choose(row("float32"), row("int8", bytes=1700, latency_ms=4.0), lost={})
    assert found.why.startswith("Against float32 1.7 times larger, 2.5 times faster here, +0.0 points")


def test_float32_stays_where_what_is_as_good_is_slower() -> None:
    found = choose(row("float32"), row("int16x8", bytes=300, latency_ms=40.0), lost={})
    assert found.scheme == "float32"
    assert found.why == "No scheme within 1 point of float32's accuracy is faster, or as fast and smaller."


def test_without_labels_flips_decide() -> None:
    tops = np.zeros(N, np.int64)
    changed = tops.copy()
    changed[:5] = 1
    rows = (
        row("float32", quality=None, labelled=0),
        row("int8", quality=None, labelled=0, latency_ms=1.0, flips=5),
        row("float16", quality=None, labelled=0, latency_ms=5.0, flips=0),
    )
    trials = (
        trial("float32", classes(tops)),
        trial("int8", classes(changed)),
        trial("float16", classes(tops)),
    )
    found = recommend(rows, trials, Truth(labels=(None,) * N))
    assert found.scheme == "float16"
    assert "0 of 200 answers differ" in found.why


def test_a_regressions_error_is_measured_and_compared_in_pairs() -> None:
    rng = np.random.default_rng(3)
    truth = rng.normal(0, 1, N)
    good = truth + rng.normal(0, 0.1, N)
    bad = good + 0.3
    labels = Truth(labels=tuple(truth.tolist()), tolerance=0.01)
    baseline, biased = trial("float32", values(good)), trial("int8", values(bad))
    made = measure(biased, baseline, labels, file="x", size=10, quantized=True, note="", device_ms=None)
    errors = (bad - truth) ** 2
    half = 1.645 * errors.std(ddof=1) / np.sqrt(N)
    assert made.quality == pytest.approx(errors.mean())
    assert (made.low, made.high) == pytest.approx((errors.mean() - half, errors.mean() + half))
    assert made.flips == N
    rows = (row("float32", quality=0.01), row("int8", latency_ms=1.0, quality=made.quality))
    found = recommend(rows, (baseline, biased), labels)
    assert found.scheme == "float32"
    change = errors.mean() / ((good - truth) ** 2).mean() - 1
    assert f"the nearest is int8: its MSE {change:+.1%} (" in found.why or change >= 10


@pytest.mark.parametrize(("factor", "chosen"), [(1.01, "int8"), (2.6, "float32")])
def test_a_regression_may_lose_a_twentieth_of_its_error(factor: float, chosen: str) -> None:
    """A few large errors keep the interval wide: that no loss is proven is no reason to take it."""
    rng = np.random.default_rng(5)
    truth = rng.normal(0, 1, N)
    noise = rng.standard_t(2, N) * 0.1
    noise[0] = 2.0
    worse = noise * np.sqrt(factor)
    labels = Truth(labels=tuple(truth.tolist()), tolerance=0.01)
    trials = (trial("float32", values(truth + noise)), trial("int8", values(truth + worse)))
    found = recommend((row("float32"), row("int8", latency_ms=4.0)), trials, labels)
    assert found.scheme == chosen
    assert f"its MSE {factor - 1:+.1%} ({factor - 1:+.1%} … {factor - 1:+.1%}) on 200 inputs" in found.why
    assert ("a proven loss, within the margin" in found.why) == (chosen == "int8")


def test_a_single_labelled_regression_has_no_interval_and_json_no_infinity() -> None:
    numbers = np.array([1.0, 2.0])
    only = trial("float32", values(numbers))
    labels = Truth(labels=(1.5, None), tolerance=0.01)
    made = measure(only, only, labels, file="x", size=10, quantized=True, note="", device_ms=None)
    assert (made.quality, made.low, made.high) == (0.25, None, None)
    written = json.loads(json.dumps(plain(comparison(replace(made, quality=float("inf"))))))
    assert written["rows"][0]["quality"] is None
    assert written["rows"][0]["scheme"] == "float32"
    assert written["missing"] == [{"scheme": "qat", "reason": "no layers"}]


def test_a_saved_comparison_is_shown_as_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = comparison(row("float32"), row("int8", bytes=3000, low=None, high=None, note="small"))
    (tmp_path / "schemes.json").write_text(json.dumps(plain(made)))
    assert main(["show", str(tmp_path / "schemes.json")]) == 0
    out, err = capsys.readouterr()
    cells = [re.split(r"\s*│\s*", line.strip("│ ")) for line in out.splitlines() if "│" in line]
    assert cells == [
        ["float32", "90.0% (86.0% … 93.0%)", "0 of 200", "1.0 kB", "10"],
        ["int8", "90.0%", "0 of 200", "2.9 kB", "10", "small"],
        ["qat", "–", "–", "–", "–", "no layers"],
    ]
    assert err.strip() == "recommended: int8. because"


def test_the_mixed_scheme_keeps_the_layers_behind_which_noise_grows_most() -> None:
    def drop(op: str, name: str, drop_db: float) -> LayerDrop:
        return LayerDrop(op=op, float_name=name, drop_db=drop_db)

    drops = [
        drop("input", "image", 0.0),
        drop("CONV_2D", "a", 20.0),
        drop("DEPTHWISE_CONV_2D", "b", 28.0),
        drop("ADD", "sum", 40.0),
        drop("CONV_2D", "c", 1.0),
        drop("FULLY_CONNECTED", "d", 3.0),
    ]
    assert worst_layers(drops, 1) == ["b"]
    assert worst_layers(drops, 5) == ["b", "a"]  # never more than half of them


def test_a_layer_kept_in_float_takes_no_other_along() -> None:
    assert re.search(scope("conv"), "conv;")
    assert not re.search(scope("conv"), "conv_1;")
    assert not re.search(scope("conv"), "big/conv;")
    assert re.search(scope("a.b;c"), "a.b;c;")
    assert not re.search(scope("a.b"), "aXb;")


def test_inputs_to_calibrate_on_are_drawn_from_every_folder(tmp_path: Path) -> None:
    for number in range(600):
        folder = tmp_path / f"class{number // 200}"
        folder.mkdir(exist_ok=True)
        (folder / f"{number}.png").write_bytes(b"")
    listed = drawn(find_images(tmp_path, None), labelled=False)
    first = [Path(one.name).parent.name for one in listed.inputs[:200]]
    assert len({one.name for one in listed}) == 600
    assert all(first.count(f"class{k}") > 40 for k in range(3))
    assert listed.inputs == drawn(find_images(tmp_path, None), labelled=False).inputs
    with pytest.raises(LabelError, match="no input has a label to train on"):
        drawn(find_images(tmp_path, None), labelled=True)


@pytest.mark.parametrize(
    ("head", "activation", "labels", "loss"),
    [
        ("logits", "linear", (0, 2), "logits"),
        ("scores", "softmax", (0, 2), "scores"),
        ("value", "sigmoid", (0, 1), "binary"),
        ("value", "sigmoid", (0, 0.5), "value"),
        ("value", "linear", (0, 1), "value"),
    ],
)
def test_the_loss_follows_what_the_output_is(
    head: Head, activation: str, labels: tuple[float, ...], loss: str
) -> None:
    training = Training(
        inputs=np.zeros((2, 1), np.float32),
        labels=np.array(labels, float),
        epochs=1,
        learning_rate=1,
        head=head,
    )
    described = [{"class": "Dense", "name": "d", "config": {"activation": activation}}]
    assert loss_name(training, described, (None, 1)) == loss


def test_a_regression_of_several_numbers_is_not_trained_by_one() -> None:
    training = Training(
        inputs=np.zeros((2, 1), np.float32), labels=np.zeros(2), epochs=1, learning_rate=1, head="value"
    )
    with pytest.raises(ValueError, match="a label tells one number only"):
        loss_name(training, [], (None, 3))


def comparison(*rows: Measured) -> Comparison:
    return Comparison(
        model="<mine>",
        measure="accuracy",
        rows=rows,
        missing=(NotMade(scheme=KINDS["qat"], reason="no layers"),),
        recommended="int8",
        why="because",
    )


def test_the_picture_is_well_formed_and_names_every_scheme() -> None:
    rows = mark_front((row("float32"), row("int8", bytes=300, latency_ms=4.0, quality=0.88)), "accuracy")
    texts = "".join(ElementTree.fromstring(svg(comparison(*rows))).itertext())
    assert "<mine>: quantization schemes" in texts
    assert "int8 (0.3 kB)" in texts
    assert "float32 (1.0 kB)" in texts
    assert "logarithmic" not in texts
    slow = replace(rows[0], latency_ms=100.0)
    assert "milliseconds an input here, logarithmic" in svg(comparison(slow, rows[1]))


def test_without_labels_the_picture_shows_the_share_of_unchanged_answers() -> None:
    drawn_ = svg(comparison(row("float32", quality=None), row("int8", quality=None, flips=50)))
    texts = list(ElementTree.fromstring(drawn_).itertext())
    assert "answers equal to float32's" in texts
    assert any(text.startswith("int8 (1.0 kB): 75.0%") for text in texts)


def test_labels_in_the_picture_do_not_overlap() -> None:
    rows = [row(name, quality=0.9) for name in KINDS]
    root = ElementTree.fromstring(svg(comparison(*rows)))
    places = [float(e.attrib["y"]) for e in root.iter() if e.tag.endswith("text") and "kB" in (e.text or "")]
    assert len(places) == len(KINDS)
    assert min(b - a for a, b in itertools.pairwise(sorted(places))) >= 15


@hypothesis.given(st.lists(st.floats(0, 400), min_size=1, max_size=20))
def test_spread_places_keep_their_distance(wanted: list[float]) -> None:
    placed = spread(sorted(wanted), 17, 0, 400)
    assert all(b - a >= 17 - 1e-6 for a, b in itertools.pairwise(placed))
    assert placed[0] >= 0
    assert placed[-1] <= 400


def test_bad_input_is_said_at_once_and_is_exit_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "schemes",
        "none.keras",
        "--preprocess",
        "none.yaml",
        "--images",
        "none",
        "-o",
        str(tmp_path),
    ]
    assert main([*arguments, "--device", "none.json"]) == 2
    assert "--device: none.json: cannot be read" in capsys.readouterr().err
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert "none.yaml: cannot be read" in said
    assert "none.keras: no such file" in said


def test_what_a_scheme_asked_for_needs_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = 'version: "1"\nsteps:\n- cast: {mode: raw, rounding: half_even}\n'
    (tmp_path / "raw.yaml").write_text(spec)
    arguments = ["--preprocess", str(tmp_path / "raw.yaml"), "--images", "none", "-o", str(tmp_path)]
    schemes = ["--scheme", "int8", "--scheme", "int8", "--scheme", "qat", "--scheme", "dynamic"]
    assert main(["schemes", "none.keras", *arguments, *schemes]) == 2
    said = capsys.readouterr().err
    assert said.count("--scheme int8: it needs inputs to calibrate on (--representative)") == 1
    assert "--scheme qat: it needs inputs to calibrate on (--representative) and inputs to train on" in said
    assert "--scheme dynamic" not in said
    assert "raw.yaml: cast: mode raw stores bytes" in said
    assert "cast: {mode: quantize" in said


def test_where_nothing_can_be_written_nothing_is_converted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    arguments = ["schemes", "none.keras", "--preprocess", "none.yaml", "--images", "none"]
    picture = ["--picture", str(tmp_path / "none" / "schemes.svg")]
    assert main([*arguments, "-o", str(tmp_path / "file" / "in"), *picture]) == 2
    said = capsys.readouterr().err
    assert "--output:" in said
    assert "--picture:" in said
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_a_devices_latency_is_read_from_a_check_and_from_its_message(tmp_path: Path) -> None:
    timed = [{"latency_ms": 9.0}, {"latency_ms": 4.5}, {"latency_ms": None}]
    check, message, damaged = tmp_path / "a.json", tmp_path / "net-dynamic.json", tmp_path / "c.json"
    check.write_text(json.dumps({"bundle": "net-int8.bundle.tflite", "rungs": timed}))
    message.write_text(json.dumps({"schema": "litewatch.check/1", "body": {"rungs": timed[:1]}}))
    damaged.write_text(json.dumps({"bundle": "net-int8.tflite", "rungs": [{"name": "kernels"}]}))
    assert device_latencies((check, message)) == {"net-int8": 4.5, "net-dynamic": 9.0}
    with pytest.raises(InputError, match=r"c\.json: not the JSON of a check with a timed rung"):
        device_latencies((check, damaged))


class LeakyReLU:
    """As Keras 2 has it: another name for the slope, and a default that is easily taken for it."""

    def __init__(self, alpha: float = 0.3, name: str = "") -> None:
        self.alpha, self.name = alpha, name

    def __call__(self, value: str) -> str:
        return f"{value}→{self.name}({self.alpha})"


def keras_2() -> Any:
    return SimpleNamespace(
        layers=SimpleNamespace(LeakyReLU=LeakyReLU),
        Input=lambda shape, name: name,
        Model=lambda first, last: last,
    )


def described(kind: str, **config: object) -> list[dict[str, Any]]:
    return [
        {"class": "InputLayer", "name": "image", "config": {"batch_shape": [None, 4]}, "from": []},
        {"class": kind, "name": "leaky", "config": config, "from": ["image"]},
    ]


def test_options_that_keras_2_calls_otherwise_are_handed_on() -> None:
    layers = described("LeakyReLU", name="leaky", negative_slope=0.02, dtype={"any": 1}, new=None)
    assert build(layers, keras_2()) == "image→leaky(0.02)"


@pytest.mark.parametrize(
    ("kind", "option", "words"),
    [
        ("LeakyReLU", {"gain": 2.0}, "does not know the option gain=2.0 of the layer leaky (LeakyReLU)"),
        ("Newest", {}, "has no layer Newest (leaky)"),
    ],
)
def test_what_keras_2_does_not_know_is_never_dropped(kind: str, option: dict[str, float], words: str) -> None:
    with pytest.raises(CannotRebuildError, match=re.escape(words)):
        build(described(kind, **option), keras_2())


def test_a_rebuilt_model_with_other_numbers_is_refused_with_the_layer() -> None:
    def model(first: float, last: float) -> Any:
        def layer(name: str, value: float) -> Any:
            return SimpleNamespace(name=name, output=value)

        class Model:
            layers = (layer("a", first), layer("b", last))
            input = None

            def __call__(self, inputs: object, training: bool) -> Any:
                return SimpleNamespace(numpy=lambda: np.array([last]))

        return Model()

    def part(_: object, value: float) -> Any:
        return lambda inputs, training: SimpleNamespace(numpy=lambda: np.array([value]))

    sample = {
        "inputs": np.zeros(1),
        "output": np.array([20.0]),
        "layer/a": np.array([1.0]),
        "layer/b": np.array([20.0]),
    }
    keras = SimpleNamespace(Model=part)
    check_same(model(1.0, 20.001), keras, sample)
    with pytest.raises(CannotRebuildError, match=r"other numbers, first behind the layer b \("):
        check_same(model(1.0, 20.01), keras, sample)
    with pytest.raises(CannotRebuildError, match=r"other numbers, first behind the layer a \("):
        check_same(model(1.1, 20.01), keras, sample)
