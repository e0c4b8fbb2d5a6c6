"""The diagnosis: what outranks what, how it is worded, and that nothing is claimed without evidence."""

import json
import re
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.contracts import DriftScore, FeatureDistance
from agent.monitor import cause as weights
from agent.monitor.alarms import Loss
from agent.monitor.cause import MOST_CAUSES, Evidence, diagnose
from agent.monitor.next_step import next_step
from agent.monitor.signatures import Candidate, Match
from agent.telemetry.messages import Check, Diagnosis, Estimate
from tools.cli import COMMANDS


def candidate(family, cosine, name="as replayed"):
    return Candidate(family=family, name=name, cosine=cosine, loss=12.5)


def match(*ranked, distance=0.5, shift=4.0):
    return Match(ranked=ranked, nearest="data:blur (as replayed)", distance=distance, shift=shift)


BLURRED = match(candidate("data:blur", 0.812, "Gaussian 2 px"), candidate("data:motion", 0.6))
HARMFUL = Check(verdict="harmful", cause="preprocess:color", rungs=(), sentence="21 points are lost.")
CHANGED = Check(verdict="changed", cause="kernels", rungs=())
EVERYTHING = Evidence(
    match=BLURRED,
    canary_mismatch="golden input 3: 4 of 1001 values differ",
    check=HARMFUL,
    picture="frozen: the same picture for over 30 s",
    throttled_now=("under-voltage",),
)


def drifted(*distances):
    return DriftScore(detector="panel", n=250, p=1e-6, alpha=1e-3, statistics=(), distances=distances)


def distance(name, family, chi2):
    return FeatureDistance(name=name, family=family, chi2=chi2, psi=0, ks=0, wasserstein=0, js=0)


def causes(evidence):
    return [found.cause for found in diagnose(evidence, trigger="drift").causes]


def test_no_evidence_gives_no_cause():
    assert diagnose(Evidence(), trigger="command") == Diagnosis(
        causes=(), summary="nothing wrong found in what this device knows", trigger="command"
    )


def test_frames_like_trainings_are_called_so():
    said = diagnose(Evidence(match=match(shift=0.7), canary_blessed=8), trigger="command")
    assert said.causes == ()
    assert said.summary == (
        "nothing wrong found: the frames look like training's; "
        "the canary is repeated: the model computes as before"
    )


def test_what_is_proven_outranks_every_likeness():
    assert causes(EVERYTHING) == ["hardware", "preprocess:color", "source", "data:blur"]
    certain = match(candidate("data:blur", 1.0))
    for proof, cause in (
        ({"canary_mismatch": "x"}, "hardware"),
        ({"canary_problem": "edgetpu is not blessed"}, "hardware"),
        ({"check": HARMFUL}, "preprocess:color"),
        ({"check": CHANGED}, "kernels"),
        ({"forced": ("resize",)}, "preprocess:resize"),
        ({"reproduction": "differs", "reproduction_step": "decode"}, "preprocess:decode"),
        ({"picture": "black: mean brightness 2 of 255"}, "source"),
        ({"source": "connection refused"}, "source"),
    ):
        assert causes(Evidence(match=certain, **proof)) == [cause, "data:blur"]


def test_a_canary_mismatch_outranks_a_harmful_rung():
    assert causes(Evidence(check=HARMFUL, canary_mismatch="x")) == ["hardware", "preprocess:color"]


def test_heat_and_low_voltage_explain_less_than_a_likeness():
    hot = Evidence(match=BLURRED, throttled_now=("throttled",), temperatures_c={"soc": 81.0, "coral": 60.0})
    found = diagnose(hot, trigger="drift")
    assert [cause.cause for cause in found.causes] == ["data:blur", "hardware"]
    assert found.causes[1].evidence == "now throttled; soc at 81 °C"


def test_a_check_that_is_ok_is_no_evidence():
    assert causes(Evidence(check=Check(verdict="ok", cause=None, rungs=()))) == []


def test_a_match_is_worded_as_one():
    found = diagnose(Evidence(match=BLURRED), trigger="drift")
    (cause,) = found.causes
    assert cause.evidence == "closest match .81: Gaussian 2 px"
    assert cause.match == 0.812
    assert found.summary == "closest match .81: data:blur"
    assert cause.next_step.startswith("litewatch command sample")


def test_a_rival_is_named_beside_it():
    close = match(candidate("data:blur", 0.8), candidate("data:motion", 0.82), candidate("data:dark", 0.69))
    found = diagnose(Evidence(match=close), trigger="drift").causes
    assert [(cause.cause, cause.evidence) for cause in found] == [
        ("data:blur", "closest match .80: as replayed"),
        ("data:motion", "also close, match .82: as replayed"),
    ]


def test_a_mix_is_two_causes():
    mixed = match(candidate("data:dark+data:noise", 0.9, "gain .3 + sigma 12"))
    found = diagnose(Evidence(match=mixed), trigger="drift")
    assert [(cause.cause, cause.weight, cause.match) for cause in found.causes] == [
        ("data:dark", 0.63, 0.9),
        ("data:noise", 0.63, 0.9),
    ]
    assert found.causes[0].evidence == ("closest match .90: gain .3 + sigma 12 (data:dark with data:noise)")


def test_what_resembles_nothing_is_said_to():
    far = match(candidate("data:blur", 0.9), distance=2.34)
    found = diagnose(Evidence(match=far), trigger="drift")
    assert found.summary == "unlike anything replayed; nearest data:blur, match .90"
    assert found.causes[0].evidence.startswith("unlike anything replayed (2.3 times as far as a known fault)")
    assert found.causes[0].weight < 0.3


def test_without_a_likeness_the_features_speak():
    score = drifted(distance("step_1", "sharpness", 400.0), distance("red_mean", "light", 90.0))
    for known, words in (
        (None, "no replayed faults to compare with"),
        (match(candidate("data:blur", 0.4)), "no replayed fault is close"),
    ):
        found = diagnose(Evidence(score=score, match=known), trigger="drift")
        assert [cause.cause for cause in found.causes] == ["data:sharpness"]
        assert found.causes[0].evidence == (
            f"the features moved most in sharpness (step_1, red_mean); {words}"
        )
        assert found.summary.startswith("no cause proven; data:sharpness: ")


def test_a_score_that_did_not_drift_says_nothing():
    assert causes(Evidence(score=replace(drifted(distance("a", "light", 3.0)), p=0.5))) == []


def test_another_mix_of_classes_is_a_cause_of_its_own():
    assert causes(Evidence(class_p=1e-5)) == ["data:class"]
    assert causes(Evidence(class_p=0.01)) == []
    assert causes(Evidence(class_p=1e-5, match=BLURRED)) == ["data:blur", "data:class"]


def test_two_observations_of_one_cause_are_one_cause():
    found = diagnose(Evidence(check=HARMFUL, forced=("color",)), trigger="drift").causes
    assert [(cause.cause, cause.weight) for cause in found] == [("preprocess:color", 0.95)]
    assert found[0].evidence == (
        "the last check is harmful: 21 points are lost.; "
        "a forced override differs from the bundle in this step"
    )


def test_the_loss_is_told_with_its_interval_or_why_not():
    loss = Loss(points=7.04, low=3.0, high=12.5)
    found = diagnose(Evidence(match=BLURRED, loss=loss, provisional=True), trigger="drift")
    assert (found.loss_points, found.loss_low, found.loss_high) == (7.04, 3.0, 12.5)
    assert found.summary == (
        "closest match .81: data:blur; estimated loss 7.0 points (3.0 to 12.5); "
        "provisional: this device's own baseline is not ready"
    )
    silent = Estimate(kind="accuracy", n=250, effective_n=80.0, abstained="unlike what was replayed")
    found = diagnose(Evidence(match=BLURRED, estimate=silent), trigger="drift")
    assert found.loss_points is None
    assert found.summary.endswith("; the loss is not estimated: unlike what was replayed")


@pytest.mark.parametrize(
    "cause",
    ["quantization", "kernels", "delegate", "hardware", "source", "data:blur", "data:class", "data:value"]
    + [f"preprocess:{step}" for step in ("decode", "resize", "color")],
)
def test_every_next_step_is_a_command_of_litewatch(cause):
    said = re.findall(r"litewatch (\w+)", next_step(cause))
    assert said and set(said) <= set(COMMANDS)


_MATCHES = st.lists(
    st.builds(
        candidate,
        st.sampled_from(["data:blur", "data:dark", "data:dark+data:noise", "preprocess:color", "source"]),
        st.floats(-1, 1),
    ),
    max_size=6,
    unique_by=lambda found: found.family,
)


@settings(max_examples=200, deadline=None)
@given(
    ranked=_MATCHES,
    distance=st.floats(0, 5),
    proof=st.sampled_from([{}, {"canary_mismatch": "x"}, {"check": HARMFUL}, {"picture": "frozen"}]),
    class_p=st.none() | st.floats(0, 1),
    throttled=st.booleans(),
)
def test_causes_are_ranked_unique_and_argued(ranked, distance, proof, class_p, throttled):
    evidence = Evidence(
        match=match(*ranked, distance=distance),
        class_p=class_p,
        throttled_now=("throttled",) if throttled else (),
        **proof,
    )
    found = diagnose(evidence, trigger="drift")
    weights = [cause.weight for cause in found.causes]
    assert weights == sorted(weights, reverse=True)
    assert all(0 < weight <= 1 for weight in weights)
    assert len({cause.cause for cause in found.causes}) == len(found.causes) <= MOST_CAUSES
    assert all(cause.evidence and cause.next_step for cause in found.causes)
    assert bool(found.causes) or found.summary.startswith("nothing wrong found")


PAGE = (Path(__file__).resolve().parent.parent / "docs" / "causes.md").read_text(encoding="utf-8")


def test_the_pages_example_is_what_is_said():
    ranked = (candidate("data:blur", 0.812, "Gaussian 1.6 px"), candidate("data:motion", 0.741, "7 px at 0°"))
    loss = Loss(points=14.1, low=6.0, high=22.5)
    said = diagnose(Evidence(match=match(*ranked), loss=loss, canary_blessed=8), trigger="drift")
    (example,) = re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)
    assert json.loads(example) == json.loads(json.dumps(asdict(said)))


def test_the_pages_weights_are_the_ones_in_force():
    written = [float(weight) for weight in re.findall(r"^\| (?:to )?(\.\d+) \|", PAGE, re.MULTILINE)]
    proven = (weights.CANARY, weights.HARMFUL, weights.FORCED, weights.NOT_REPRODUCED, weights.CAMERA)
    tested = (weights.UNBLESSED, weights.CHANGED)
    most = weights.STATISTICS
    likely = (most, weights.AWAY, most * weights.CLOSE, most * weights.WEAK, weights.HOT)
    assert written == [*proven, *tested, *likely]
