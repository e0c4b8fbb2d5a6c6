"""What the fleet's report makes of estimates, ranked alarms, diagnoses and the machine's troubles."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from seeded_telemetry import HEALTH, SESSIONS, about, accepted, alarm, drift, envelope, in_use, window

from agent.telemetry import wire
from agent.telemetry.messages import (
    Accuracy,
    Alarm,
    Check,
    Commissioning,
    Diagnosis,
    Envelope,
    Estimate,
    RankedCause,
    Stream,
)
from tools.collector.current import current_accuracy
from tools.collector.fleet import Device, fleet
from tools.collector.machine import troubles
from tools.collector.store import Store
from tools.collector.words import (
    alarm_text,
    cause_text,
    commissioning_text,
    describe,
    describe_estimate,
    estimate_figure,
    has_fallen,
    seems_fallen,
    stream_text,
)
from tools.commands.report import to_json
from tools.fleet_table import lines, row

MESSAGES = Path(__file__).parent / "fixtures" / "messages"
LOW = Estimate(
    kind="accuracy",
    n=250,
    effective_n=83.0,
    value=0.712,
    low=0.601,
    high=0.803,
    method="replay",
    reference=0.975,
)
ABSTAINS = Estimate(kind="accuracy", n=250, effective_n=83.0, abstained="unlike anything replayed")
NOW = datetime(2026, 1, 1, 12, 5, tzinfo=UTC)
NO_LABELS = "no labels yet: accuracy is not measured"
LOW_TEXT = (
    "accuracy estimated without labels by replay: 71.2 % (60.1 to 80.3) against 97.5 % held out: "
    "it seems fallen"
)
BLUR = RankedCause(
    cause="data:blur",
    weight=0.8,
    evidence="closest match .81: blur.gaussian 3 px.",
    next_step="clean the lens",
    match=0.81,
)
DIM = RankedCause(cause="data:light", weight=0.3, evidence="luma_mean is lower")


def collected(tmp_path: Path, *messages: Envelope) -> Device:
    """The one device that sent these, as the fleet has it."""
    store = Store(str(tmp_path / "fleet.db"))
    try:
        store.ingest([accepted(message) for message in messages])
        (device,) = fleet(store)
    finally:
        store.close()
    return device


def seen(seq: int = 1, *, session: str = SESSIONS[1], **fields: Any) -> Envelope:
    return envelope(replace(window(), **fields), seq, session=session)


def costing(points: float | None, *, name: str, severity: Any = "warning", **fields: Any) -> Alarm:
    return replace(alarm("raised", name=name, severity=severity), loss_points=points, **fields)


def test_without_labels_accuracy_is_the_estimate_and_says_so(tmp_path: Path) -> None:
    entry = to_json(collected(tmp_path, envelope(about(), 0), seen(estimate=LOW)))
    assert (entry["accuracy"], entry["accuracy_from"]) == (0.712, "estimate")
    assert (entry["accuracy_low"], entry["accuracy_high"]) == (0.601, 0.803)
    assert entry["loss_points"] == pytest.approx(26.3)
    assert entry["estimate"]["method"] == "replay"
    assert (entry["labelled"], entry["cause"]) == (None, None)
    assert entry["evidence"] == f"{NO_LABELS}; {LOW_TEXT}"


def test_with_labels_they_speak_and_the_estimate_stands_beside(tmp_path: Path) -> None:
    labels = Accuracy(n=200, accuracy=0.97, low=0.943, high=0.985, reference=0.975)
    entry = to_json(collected(tmp_path, seen(estimate=LOW, accuracy=labels)))
    assert (entry["accuracy"], entry["accuracy_from"]) == (0.97, "labels")
    assert entry["loss_points"] == pytest.approx(0.5)
    assert entry["estimate"]["value"] == 0.712


def test_labels_of_chosen_frames_prove_nothing(tmp_path: Path) -> None:
    chosen = Accuracy(
        n=40, accuracy=0.2, low=0.1, high=0.3, reference=0.975, method="Wilson, of chosen frames only"
    )
    assert not has_fallen(chosen, 0.975)
    assert describe(chosen, 0.975).endswith(": chosen frames do not tell the model's")
    for estimate, now in ((LOW, (0.712, "estimate")), (ABSTAINS, (0.2, "labels")), (None, (0.2, "labels"))):
        current = current_accuracy(chosen, 0.975, estimate)
        assert (current.accuracy, current.origin) == now
        assert (current.loss_points is None) == (current.origin == "labels")


def test_agreement_is_no_accuracy() -> None:
    agreement = replace(LOW, method="agreement with the undisturbed model, replay (trees)")
    current = current_accuracy(None, 0.975, agreement)
    assert (current.origin, current.accuracy, current.loss_points) == ("estimate", None, None)


def test_what_abstains_is_no_accuracy(tmp_path: Path) -> None:
    device = collected(tmp_path, seen(estimate=ABSTAINS))
    entry = to_json(device)
    assert (entry["accuracy"], entry["accuracy_from"], entry["loss_points"]) == (None, None, None)
    assert entry["evidence"] == f"{NO_LABELS}; without labels the estimate abstains: unlike anything replayed"
    assert row(device, NOW)[4] == "no labels\n[dim]est. abstains[/]"


def test_the_estimate_is_that_of_the_newest_window(tmp_path: Path) -> None:
    """Unlike labels, which stay true of the frames they are about."""
    device = collected(
        tmp_path,
        seen(1, estimate=LOW, accuracy=Accuracy(n=20, accuracy=0.9)),
        seen(3, estimate=ABSTAINS),
        seen(2, estimate=LOW),
    )
    assert device.estimate == ABSTAINS
    assert device.accuracy is not None
    assert device.current.origin == "labels"


def test_a_regression_shows_its_estimated_error(tmp_path: Path) -> None:
    risen = Estimate(
        kind="mse", n=250, effective_n=250.0, value=51.2, low=44.0, high=58.5, method="replay", reference=32.0
    )
    device = collected(tmp_path, seen(estimate=risen))
    assert (device.current.origin, device.current.accuracy, device.current.loss_points) == (
        "estimate",
        None,
        None,
    )
    assert seems_fallen(risen)
    assert describe_estimate(risen) == (
        "MSE estimated without labels by replay: 51.2 (44 to 58.5) against 32 held out: it seems risen"
    )


@pytest.mark.parametrize(
    ("estimate", "text", "fallen"),
    [
        (LOW, "71.2 % (60.1 to 80.3)", True),
        (replace(LOW, high=0.98), "71.2 % (60.1 to 98.0)", False),
        (replace(LOW, reference=None), "71.2 % (60.1 to 80.3)", False),
        (replace(LOW, low=None, high=None), "71.2 %", False),
        (ABSTAINS, "abstains", False),
    ],
)
def test_an_estimate_in_words(estimate: Estimate, text: str, fallen: bool) -> None:
    assert (estimate_figure(estimate), seems_fallen(estimate)) == (text, fallen)


def test_alarms_come_by_what_they_cost_and_notices_last(tmp_path: Path) -> None:
    device = collected(
        tmp_path,
        envelope(costing(1.5, name="mild", severity="notice"), 1),
        envelope(costing(12.1, name="bad", severity="critical"), 2),
        envelope(costing(None, name="unknown"), 3),
        envelope(costing(None, name="hardware", severity="critical"), 4),
        envelope(costing(4.0, name="some"), 5),
        envelope(costing(30.0, name="worst", severity="critical"), 6),
    )
    assert [active.alarm.alarm for active in device.alarms] == [
        "worst", "bad", "hardware", "some", "unknown", "mild",
    ]  # fmt: skip
    cells = row(device, NOW)[6].splitlines()
    assert cells[0] == "[red]worst -30.0[/]"
    assert cells[-2:] == ["[yellow]unknown[/]", "[dim]mild -1.5[/]"]


def test_a_provisional_alarm_is_marked(tmp_path: Path) -> None:
    raised = costing(
        4.0,
        name="drift",
        loss_low=-1.0,
        loss_high=9.0,
        provisional=True,
        detector="cusum",
        against="training",
    )
    device = collected(tmp_path, envelope(raised, 1))
    assert device.finding.evidence.startswith("raised alarm drift (warning, provisional): ")
    assert row(device, NOW)[6] == "[yellow]drift -4.0, provisional[/]"
    assert alarm_text(raised) == (
        "warning, loss about 4.0 points (-1.0 to 9.0), by cusum, against training, provisional"
    )
    assert alarm_text(alarm("raised")) == "warning, loss not known"
    assert to_json(device)["alarms"][0]["provisional"] is True


def test_the_devices_diagnosis_names_the_cause_of_its_alarm(tmp_path: Path) -> None:
    told = Diagnosis(causes=(BLUR, DIM), summary="closest match .81", trigger="drift", loss_points=12.0)
    first = envelope(alarm("raised"), 1), envelope(told, 2)
    device = collected(tmp_path, *first)
    assert device.finding.cause == "data:blur"
    assert device.finding.evidence == (
        "raised alarm drift (warning): images are darker than the reference; features luma_mean, luma_p5; "
        "diagnosed as data:blur: closest match .81: blur.gaussian 3 px. Next: clean the lens; "
        f"{NO_LABELS}"
    )
    assert list(lines(device)) == [
        "diagnosis: closest match .81",
        "  1. data:blur: closest match .81: blur.gaussian 3 px. Next: clean the lens",
        "  2. data:light: luma_mean is lower",
    ]
    entry = to_json(device)["diagnosis"]
    assert (entry["stands"], entry["at"]) == (True, "2026-01-01T11:59:59.500Z")
    assert [cause["cause"] for cause in entry["causes"]] == ["data:blur", "data:light"]
    cleared = collected(tmp_path, *first, envelope(alarm("cleared"), 3))
    assert cleared.finding.cause is None
    assert cleared.diagnosed is not None and not cleared.diagnosed.stands
    assert list(lines(cleared)) == []


def test_a_diagnosis_that_is_not_sure_leaves_the_alarm_its_own_word(tmp_path: Path) -> None:
    told = Diagnosis(causes=(replace(BLUR, weight=0.4),), trigger="drift")
    device = collected(tmp_path, envelope(alarm("raised"), 1), envelope(told, 2))
    assert device.finding.cause == "data:light"
    assert "diagnosed" not in device.finding.evidence
    assert next(lines(device)).startswith("  1. data:blur")


def test_a_diagnosis_that_was_asked_for_stands_until_a_later_run_tested(tmp_path: Path) -> None:
    told = Diagnosis(causes=(replace(BLUR, cause="hardware", match=None),), trigger="command")
    device = collected(tmp_path, seen(1, drift=(drift(0.5),)), envelope(told, 2))
    assert device.finding.cause == "hardware"
    later = collected(tmp_path, seen(1, session=SESSIONS[2], drift=(drift(0.5),)))
    assert later.finding.cause is None


def test_the_diagnosis_shown_is_that_of_the_worst_alarm_that_stands(tmp_path: Path) -> None:
    hot = RankedCause(cause="hardware", weight=0.98, evidence="the canary is not repeated")
    raised = envelope(alarm("raised", name="hardware", severity="critical"), 1), envelope(alarm("raised"), 3)
    told = (
        envelope(Diagnosis(causes=(hot,), trigger="hardware"), 2),
        envelope(Diagnosis(causes=(BLUR,), trigger="drift"), 4),
    )
    assert collected(tmp_path, *raised, *told).finding.cause == "hardware"
    over = collected(tmp_path, envelope(alarm("cleared", name="hardware"), 5))
    assert over.finding.cause == "data:blur"


def test_a_diagnosis_of_a_check_stands_until_a_check_is_well(tmp_path: Path) -> None:
    told = Diagnosis(causes=(replace(BLUR, cause="delegate", match=None),), trigger="check")
    changed = envelope(Check(verdict="changed", cause=None, rungs=()), 1), envelope(told, 2)
    assert collected(tmp_path, *changed).finding.cause == "delegate"
    well = collected(tmp_path, envelope(Check(verdict="ok", cause=None, rungs=()), 3))
    assert well.finding.cause is None
    assert well.diagnosed is not None and not well.diagnosed.stands


def test_what_is_known_to_differ_outranks_a_diagnosis(tmp_path: Path) -> None:
    told = Diagnosis(causes=(BLUR,), trigger="command")
    forced: dict[str, Any] = {"preprocess": in_use("resize")}
    device = collected(tmp_path, envelope(window(), 1, **forced), envelope(told, 2, **forced))
    assert device.finding.cause == "preprocess:resize"
    assert "data:blur" in "".join(lines(device))


def test_the_machines_troubles_are_told(tmp_path: Path) -> None:
    health = replace(
        HEALTH,
        delegate="cpu",
        delegate_away_s=720.0,
        failovers=2,
        throttled_now=("under-voltage",),
        throttled_since_boot=("under-voltage", "throttled"),
        tpu="absent",
        tpu_resets=1,
        canary_runs=60,
        canary_mismatches=3,
    )
    device = collected(tmp_path, envelope(about(delegate="edgetpu"), 0), envelope(health, 1))
    assert device.troubles == (
        "runs on cpu: delegate edgetpu away for 12 min; the CPU took over 2 times",
        "held back now: under-voltage",
        "held back since boot: throttled",
        "TPU: absent",
        "TPU reset once",
        "canary: 3 of 60 runs answered otherwise",
    )
    assert [line for line in lines(device) if line.startswith("machine: ")] == [
        f"machine: {trouble}" for trouble in device.troubles
    ]
    machine = to_json(device)["machine"]
    assert machine["troubles"] == list(device.troubles)
    assert (machine["delegate"], machine["throttled_now"], machine["tpu"]) == (
        "cpu",
        ["under-voltage"],
        "absent",
    )


def test_a_machine_without_troubles_says_nothing() -> None:
    assert troubles(None) == ()
    assert troubles(replace(HEALTH, tpu="ok", tpu_usb_mbps=5000, tpu_resets=0)) == ()
    assert troubles(replace(HEALTH, tpu="ok", tpu_usb_mbps=480)) == ("TPU on a USB port of 480 Mbit/s",)


def test_how_far_the_devices_own_baseline_is(tmp_path: Path) -> None:
    begun = Commissioning(ready=False, samples=812, samples_wanted=2000, hours=9.75, hours_wanted=24.0)
    stream = Stream(dwell_samples=1.2, thinning=4, lag_1=0.14)
    device = collected(tmp_path, seen(commissioning=begun, stream=stream))
    assert list(lines(device)) == [
        "commissioning: 9.8 of 24 h, 812 of 2000 samples; alarms are provisional until then",
        "dwell 1.2 sampled frames: 1 of 4 sampled frames counts as independent; "
        "neighbours among them still correlate by 0.14",
    ]
    entry = to_json(device)
    assert (entry["commissioning"]["samples"], entry["stream"]["thinning"]) == (812, 4)
    ready = replace(begun, ready=True, samples=2000, hours=24.1)
    assert commissioning_text(ready) == "commissioned: 2000 samples over 24.1 h"
    assert stream_text(Stream(dwell_samples=None, thinning=1)) == (
        "dwell not known yet: every sampled frame counts as independent"
    )


def test_labels_say_how_their_interval_was_made() -> None:
    assert describe(Accuracy(n=200, accuracy=0.6, low=0.55, high=0.65, method="PPI++"), 0.975) == (
        "accuracy 60.0 % against 97.5 % held out (n = 200, 95 % interval by PPI++ 55.0–65.0): fallen"
    )


def test_the_interval_of_a_small_error_keeps_its_digits() -> None:
    small = Accuracy(n=200, mse=0.0123, low=0.0101, high=0.0145)
    assert "95 % interval 0.0101–0.0145" in describe(small, None)
    large = Accuracy(n=200, mse=51.2, low=44.0, high=58.5)
    assert "95 % interval 44.0–58.5" in describe(large, None)


def test_agreement_is_not_called_accuracy() -> None:
    agreeing = Estimate(
        kind="accuracy", n=250, effective_n=250.0, value=0.81, low=0.7, high=0.9, reference=1.0,
        method="agreement with the undisturbed model, replay (trees)",
    )  # fmt: skip
    assert describe_estimate(agreeing) == (
        "agreement with the undisturbed model estimated without labels by replay (trees): "
        "81.0 % (70.0 to 90.0) against 100.0 % undisturbed: it seems fallen"
    )


def test_a_match_is_never_said_without_its_strength() -> None:
    assert cause_text(BLUR).startswith("data:blur: closest match .81: ")
    assert cause_text(replace(BLUR, evidence="sharpness")).startswith("data:blur (match 0.81): sharpness.")


@pytest.mark.parametrize("path", sorted((MESSAGES / "earlier").glob("*.json")), ids=lambda path: path.stem)
def test_messages_of_earlier_agents_stay_readable(path: Path) -> None:
    """Each was the stored example once; what has come since stands at its default."""
    kind = path.name.partition(".")[0]
    message = wire.decode(path.read_bytes(), kind=kind)
    again = json.loads(wire.encode(message))
    stored = json.loads(path.read_text())
    assert {key: again[key] for key in stored if key != "body"} == {
        key: stored[key] for key in stored if key != "body"
    }
    added: dict[str, Any] = {
        "window": {"estimate": None, "stream": None, "commissioning": None},
        "alarm": {"loss_points": None, "detector": "", "against": None, "provisional": False},
        "diagnosis": {"summary": "", "loss_points": None, "trigger": ""},
        "sample": {"label_weight": 0.0},
    }
    assert {name: again["body"][name] for name in added[kind]} == added[kind]
