"""Quantization schemes compared: what is on the front, what is recommended, how it is drawn."""

import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import numpy as np
import pytest

from agent.contracts import Classification, Regression
from calibration.check_result import LayerError
from calibration.outcomes import Answers, Truth
from calibration.schemes import KINDS
from calibration.schemes.front import mark_front
from calibration.schemes.mixed import worst_layers
from calibration.schemes.picture import svg
from calibration.schemes.recommendation import recommend
from calibration.schemes.scheme import Comparison, Measured
from calibration.schemes.trial import Trial, measure
from tools.cli import main

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


def test_the_devices_latency_counts_where_it_is_known() -> None:
    rows = (
        row("float32", device_latency_ms=50.0),
        row("int8", bytes=300, latency_ms=20.0, device_latency_ms=8.0, quality=0.9),
    )
    assert [one.on_front for one in mark_front(rows, "accuracy")] == [False, True]


def test_the_fastest_scheme_not_proven_worse_is_recommended() -> None:
    labels = np.zeros(N, np.int64)
    perfect, ten_lost, one_lost = labels.copy(), labels.copy(), labels.copy()
    ten_lost[:20] = 1
    one_lost[:1] = 1
    rows = (
        row("float32"),
        row("int8", bytes=300, latency_ms=4.0),
        row("int8-per-tensor", bytes=290, latency_ms=3.0),
    )
    trials = (
        trial("float32", classes(perfect)),
        trial("int8", classes(one_lost)),
        trial("int8-per-tensor", classes(ten_lost)),
    )
    found = recommend(rows, trials, Truth(labels=tuple(labels.tolist())))
    assert found.scheme == "int8"
    assert found.why == (
        "3.3 times smaller and 2.5 times faster here than float32, -0.5 points (-1.9 … +0.9) on 200 inputs "
        "(not told apart)."
    ) or found.why.startswith("3.3 times smaller and 2.5 times faster here than float32, -0.5 points (")
    assert recommend(rows[::2], trials[::2], Truth(labels=tuple(labels.tolist()))).scheme == "float32"


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
    assert "int8 its MSE +0.0" in found.why


def test_the_mixed_scheme_keeps_the_layers_behind_which_noise_grows_most() -> None:
    def layer(depth: int, op: str, name: str, snr_db: float | None) -> LayerError:
        return LayerError(
            depth=depth,
            op=op,
            name=name,
            snr_db=snr_db,
            cosine=1.0,
            saturated=0.0,
            calibrated=None,
            seen=(0, 1),
        )

    view = [
        layer(1, "CONV_2D", "a", 40.0),
        layer(2, "DEPTHWISE_CONV_2D", "b", 12.0),
        layer(3, "ADD", "sum", 5.0),
        layer(4, "CONV_2D", "c", 4.0),
        layer(5, "FULLY_CONNECTED", "d", 1.0),
    ]
    assert worst_layers(view, 1) == ["b"]
    assert worst_layers(view, 5) == ["b", "a"]  # never more than half of them


def test_the_picture_is_well_formed_and_names_every_scheme() -> None:
    rows = mark_front((row("float32"), row("int8", bytes=300, latency_ms=4.0, quality=0.88)), "accuracy")
    drawn = Comparison(
        model="<mine>", measure="accuracy", rows=rows, missing=(), recommended="int8", why="because"
    )
    root = ElementTree.fromstring(svg(drawn))
    texts = "".join(root.itertext())
    assert "<mine>: quantization schemes" in texts
    assert "int8 (0 kB)" in texts
    assert "float32 (1 kB)" in texts
    assert svg(replace(drawn, rows=(replace(rows[0], quality=None),))) == ""


def test_bad_input_is_said_at_once_and_is_exit_2(
    tmp_path: pytest.TempPathFactory, capsys: pytest.CaptureFixture[str]
) -> None:
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
