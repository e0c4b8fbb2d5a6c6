"""Verdicts from measured numbers alone: what is proven, what is named, what is let pass."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from calibration.paired import ALPHA
from calibration.rung.judgement import judge, overall
from calibration.rung.measured import (
    DELEGATE,
    FLOAT,
    KERNELS,
    PREPROCESS,
    QUANTIZED,
    Measured,
    Paired,
    TensorFinding,
)


def paired(**changes: Any) -> Paired:
    usual: dict[str, Any] = {
        "inputs": 64, "units": 64, "flips": 0, "labelled": 64, "right": 50, "lost": 0, "gained": 0,
        "margin_inputs": 32, "margin_flips": 0, "distance": 0.0, "error": None,
    }  # fmt: skip
    return Paired(**usual | changes)


def measured(name: str, against: Paired | None = None, **changes: Any) -> Measured:
    usual: dict[str, Any] = {"compared": "above", "inputs": 64, "labelled": 64, "right": 50, "wobbles": 0.0}
    return Measured(name=name, against=against or paired(), **usual | changes)


def tensors(within: Any, step: str | None) -> TensorFinding:
    return TensorFinding(within=within, step=step, sentence="said")


def only(m: Measured) -> tuple[str, str | None, tuple[str, ...]]:
    (rung,) = judge([m])
    return rung.verdict, rung.cause, rung.spoke


def test_equal_is_ok() -> None:
    assert only(measured(KERNELS)) == ("ok", None, ())


def test_rounding_is_ok_although_some_answers_flip() -> None:
    healthy = measured(KERNELS, paired(flips=4, lost=2, gained=1, margin_flips=9), wobbles=0.9)
    assert only(healthy) == ("ok", None, ())


def test_a_proven_loss_is_harmful() -> None:
    assert only(measured(KERNELS, paired(flips=20, lost=14, gained=1), wobbles=0.9)) == (
        "harmful",
        "kernels",
        ("accuracy",),
    )


def test_a_proven_gain_is_not() -> None:
    assert only(measured(KERNELS, paired(flips=20, lost=1, gained=14), wobbles=0.9))[0] == "ok"


def test_the_proof_is_corrected_for_the_length_of_the_ladder() -> None:
    # 9 losses of 9: p = .0039; alone below .01, as one of three rungs not.
    rung = measured(KERNELS, paired(flips=9, lost=9), wobbles=0.5)
    assert judge([rung])[0].p == pytest.approx(2 / 2**9)
    level = paired(flips=2, lost=1, gained=1)
    three = judge(
        [rung, measured(DELEGATE, level), measured(PREPROCESS, level, tensors=tensors("exact", None))]
    )
    assert three[0].p == pytest.approx(3 * 2 / 2**9)
    assert [r.verdict for r in three] == ["ok", "ok", "ok"]


def test_rungs_without_any_differing_outcome_cost_no_power() -> None:
    rung = measured(KERNELS, paired(flips=9, lost=9), wobbles=0.5)
    three = judge([rung, measured(DELEGATE), measured(PREPROCESS, tensors=tensors("exact", None))])
    assert [r.p for r in three] == [pytest.approx(2 / 2**9), 1.0, 1.0]
    assert [r.verdict for r in three] == ["harmful", "ok", "ok"]


@pytest.mark.parametrize(("name", "cause"), [(KERNELS, "kernels"), (DELEGATE, "delegate")])
def test_outputs_far_beyond_rounding_name_who_computes(name: str, cause: str) -> None:
    assert only(measured(name, paired(flips=3), wobbles=1.2)) == ("changed", None, ("outputs",))
    assert only(measured(name, paired(flips=3), wobbles=3.0)) == ("changed", cause, ("outputs",))
    wide = paired(flips=24, lost=9, gained=3)
    assert only(measured(name, wide, wobbles=6.0)) == ("harmful", cause, ("flips", "outputs"))


def test_many_flips_are_not_harmful_when_the_labels_disagree() -> None:
    level = paired(flips=24, lost=6, gained=6)
    assert only(measured(DELEGATE, level, wobbles=6.0))[0] == "changed"
    unlabelled = paired(flips=24, labelled=0, right=0)
    assert only(measured(DELEGATE, unlabelled, wobbles=6.0, labelled=0, right=0))[0] == "harmful"


def test_reference_kernels_that_do_not_repeat_the_recording_name_the_hardware() -> None:
    inexact = measured(KERNELS, paired(flips=1), wobbles=0.8, exact_wobbles=0.3, reference_inputs=32)
    assert only(replace(inexact, exact_runtime=True)) == ("changed", "hardware", ("outputs",))
    # Another runtime may sum in another order.
    assert only(inexact) == ("changed", None, ("outputs",))
    assert only(replace(inexact, exact_wobbles=0.9))[1] == "hardware"


def test_input_tensors_beyond_tolerance_are_always_noticed_and_named() -> None:
    silent = measured(PREPROCESS, tensors=tensors("no", "resize"), wobbles=0.2)
    assert only(silent) == ("changed", "preprocess:resize", ("tensors",))
    within = measured(PREPROCESS, tensors=tensors("tolerance", "decode"), wobbles=0.8)
    assert only(within) == ("ok", None, ())
    wide = measured(
        PREPROCESS, paired(flips=20, lost=8, gained=2), tensors=tensors("no", "color"), wobbles=7.0
    )
    assert only(wide) == ("harmful", "preprocess:color", ("flips", "tensors"))


def test_quantization_is_judged_by_accuracy_first() -> None:
    aware = measured(QUANTIZED, paired(flips=12, lost=3, gained=3), wobbles=3.5)
    assert only(aware) == ("ok", None, ())
    assert only(measured(QUANTIZED, paired(flips=12, lost=4, gained=2), wobbles=3.5))[:2] == ("ok", None)
    assert only(measured(QUANTIZED, paired(flips=12, lost=5, gained=2), wobbles=3.5))[:2] == ("changed", None)
    poor = measured(QUANTIZED, paired(flips=28, lost=9, gained=3), wobbles=7.0)
    assert only(poor)[:2] == ("changed", "quantization")
    broken = measured(QUANTIZED, paired(flips=62, lost=36, gained=1), wobbles=17.0)
    assert only(broken)[:2] == ("harmful", "quantization")


def test_an_estimated_loss_is_called_one_and_asks_nothing_of_the_device() -> None:
    (rung,) = judge([measured(QUANTIZED, paired(flips=12, lost=5, gained=2), wobbles=3.5)])
    assert "an estimated loss of 4.7 points of accuracy, not proven" in rung.sentence
    assert "Nothing to do on this device; `litewatch schemes` compares quantizations." in rung.sentence
    (proven,) = judge([measured(KERNELS, paired(flips=20, lost=14, gained=1))])
    assert "not proven" not in proven.sentence


def test_boxes_are_counted_among_boxes() -> None:
    against = paired(flips=5, units=61, labelled=0, right=0, unit="boxes")
    (rung,) = judge([measured(DELEGATE, against, wobbles=0.9, labelled=0)])
    assert (rung.flips, rung.units) == (5, 61)
    assert "5 of 61 boxes flip" in rung.sentence


def test_what_training_does_otherwise_is_no_fault_of_the_device() -> None:
    trained = replace(tensors("no", "color"), who="training", accepted=True, advice="correct it")
    wide = paired(flips=24, lost=3, gained=3)
    (rung,) = judge([measured(PREPROCESS, wide, tensors=trained, wobbles=6.0)])
    assert (rung.verdict, rung.cause) == ("ok", None)
    assert "Nothing to do on this device; correct it." in rung.sentence
    (proven,) = judge([measured(PREPROCESS, paired(flips=24, lost=20), tensors=trained, wobbles=6.0)])
    assert (proven.verdict, proven.cause) == ("harmful", "preprocess:color")
    assert "Do first: correct it." in proven.sentence


def test_the_one_cause_is_the_largest_loss_then_the_surest_evidence() -> None:
    quantized = measured(QUANTIZED, paired(flips=30, lost=20, gained=2), wobbles=7.0)
    color = measured(PREPROCESS, paired(flips=40, lost=33, gained=1), tensors=tensors("no", "color"))
    assert overall(judge([quantized, color]))[:2] == ("harmful", "preprocess:color")
    delegate = measured(DELEGATE, paired(flips=4, lost=3), wobbles=2.0)
    resize = measured(PREPROCESS, paired(flips=2, lost=1), tensors=tensors("no", "resize"))
    assert overall(judge([delegate, resize]))[:2] == ("changed", "preprocess:resize")
    assert overall(judge([measured(KERNELS)])) == ("ok", None, None)


def test_the_first_rung_is_only_told() -> None:
    first = Measured(name=FLOAT, compared=None, inputs=64, labelled=64, right=48, against=None)
    (rung,) = judge([first])
    assert (rung.verdict, rung.accuracy, rung.points, rung.p) == ("ok", 0.75, None, None)
    assert rung.low is not None and rung.high is not None and rung.low < 0.75 < rung.high


def test_sentences_say_what_how_much_and_what_to_do() -> None:
    wide = measured(PREPROCESS, paired(flips=20, lost=8), tensors=tensors("no", "color"), wobbles=7.0)
    (rung,) = judge([wide])
    assert "20 of 64 answers flip" in rung.sentence
    assert "−12.5 points" in rung.sentence and "90 % interval" in rung.sentence
    assert "Do first: give the channels in the order of the spec." in rung.sentence


@pytest.mark.parametrize("n", [64, 128])
def test_healthy_ladders_are_accused_in_less_than_one_of_a_hundred(rng: np.random.Generator, n: int) -> None:
    """Three rungs whose kernels flip a tenth of the answers without losing accuracy on average."""
    accused = 0
    draws = 2000
    for _ in range(draws):
        rungs = []
        for name in (KERNELS, DELEGATE, PREPROCESS):
            lost, gained, other, _ = rng.multinomial(n, [0.035, 0.035, 0.03, 0.9]).tolist()
            found = tensors("tolerance", "decode") if name == PREPROCESS else None
            against = paired(
                inputs=n, units=n, flips=lost + gained + other, labelled=n, lost=lost, gained=gained
            )
            rungs.append(measured(name, against, wobbles=0.8, tensors=found))
        accused += overall(judge(rungs))[1] is not None
    assert accused / draws <= ALPHA
