"""Every alarm that is raised is followed by what the device knows of its cause."""

from dataclasses import dataclass, field

import numpy as np
import pytest

from agent.alarming import Now, Raised
from agent.change import Verdict
from agent.contracts import DriftScore, FeatureDistance
from agent.device.vitals import Vitals
from agent.diagnosing import Diagnoser, Machine
from agent.monitor.alarms import Loss
from agent.monitor.groups import NO_GROUPS
from agent.monitor.recent import Recent
from agent.monitor.reference import Reference, build
from agent.preprocess.trace import Comparison
from agent.problems import Problems
from agent.telemetry.messages import Alarm, Body, Check, DeviceState, Diagnosis


@dataclass
class Kept:
    said: list[Diagnosis] = field(default_factory=list)

    def emit(self, body: Body, *, urgent: bool = False) -> None:
        assert urgent
        assert isinstance(body, Diagnosis)
        self.said.append(body)

    def set_state(self, state: DeviceState, problems: tuple[str, ...] = ()) -> None:
        pass


def a_reference() -> Reference:
    rows = np.random.default_rng(5).normal(size=(60, 2)).astype(np.float32)
    return build(
        features=("luma_mean", "red_tint"),
        families=("light", "colour"),
        profile_rows=rows[:30],
        profile_groups=np.full(30, -1),
        pixels=np.zeros((0, 256), np.int64),
        calibration=rows[30:],
        calibration_groups=np.full(30, -1),
        groups=NO_GROUPS,
        fingerprint="0" * 64,
    )


@dataclass
class World:
    kept: Kept
    problems: Problems
    compared: Comparison = field(default_factory=lambda: Comparison(verdict="exact", step=None, detail=""))
    throttled: tuple[str, ...] = ()
    forced: tuple[str, ...] = ()

    def diagnoser(self) -> Diagnoser:
        return Diagnoser(
            reference=a_reference(),
            library=None,
            problems=self.problems,
            forced=self.forced,
            compared=lambda: self.compared,
            machine=lambda: Machine(
                vitals=Vitals(
                    rss_mib=None,
                    cpu_s=1.0,
                    disk_free_mib=None,
                    soc_temperature_c=None,
                    throttled_now=self.throttled,
                ),
                tpu="",
                blessed=8,
            ),
            sink=self.kept,
        )


@pytest.fixture
def world() -> World:
    kept = Kept()
    return World(kept=kept, problems=Problems(kept, on_change=lambda _: None))


def an_alarm(alarm: str, *, status: str = "raised", summary: str = "") -> Alarm:
    return Alarm(alarm=alarm, status=status, severity="critical", cause=alarm, summary=summary)  # type: ignore[arg-type]


def drift() -> Raised:
    distance = FeatureDistance(
        name="luma_mean", family="light", chi2=80.0, psi=1.0, ks=0.5, wasserstein=3.0, js=0.2
    )
    score = DriftScore(
        detector="panel", n=50, p=1e-9, alpha=1e-3, statistics=(("class_chi2_p", 0.5),), distances=(distance,)
    )
    return Raised(
        verdict=Verdict(score=score, change="raised", against="training", provisional=True),
        loss=Loss(points=12.0, low=4.0, high=20.0),
        now=Now(
            recent=Recent(capacity=10, features=2), effective_n=0.0, estimate=None, expected=0.9, own=None
        ),
    )


def test_a_canary_that_is_not_repeated_is_the_hardware_before_any_statistics(world: World) -> None:
    diagnoser = world.diagnoser()
    diagnoser.heard(an_alarm("hardware", summary="golden 3: 7 of 1001 values differ"))
    diagnoser.explain(drift())
    by_canary, by_drift = world.kept.said
    assert (by_canary.trigger, by_drift.trigger) == ("hardware", "drift")
    assert [said.causes[0].cause for said in world.kept.said] == ["hardware", "hardware"]
    assert "7 of 1001 values differ" in by_drift.causes[0].evidence
    assert [cause.cause for cause in by_drift.causes] == ["hardware", "data:light"]
    assert (by_drift.loss_points, by_drift.loss_low, by_drift.loss_high) == (12.0, 4.0, 20.0)
    diagnoser.heard(an_alarm("hardware", status="cleared"))
    diagnoser.explain(drift())
    assert [cause.cause for cause in world.kept.said[-1].causes] == ["data:light"]
    assert "the canary is repeated" in world.kept.said[-1].summary


def test_a_cleared_drift_is_no_evidence_any_more(world: World) -> None:
    diagnoser = world.diagnoser()
    diagnoser.explain(drift())
    diagnoser.heard(an_alarm("drift", status="cleared"))
    diagnoser.heard(an_alarm("source", summary="frozen for 40 s"))
    assert all(cause.cause != "data:light" for cause in world.kept.said[-1].causes)


def test_a_check_that_is_not_ok_is_explained_and_remembered(world: World) -> None:
    diagnoser = world.diagnoser()
    diagnoser.checked(Check(verdict="ok", cause=None, rungs=()))
    assert world.kept.said == []
    diagnoser.checked(
        Check(verdict="harmful", cause="preprocess:resize", rungs=(), sentence="costs 9 points")
    )
    diagnoser.explain(drift())
    assert [said.trigger for said in world.kept.said] == ["check", "drift"]
    assert world.kept.said[-1].causes[0].cause == "preprocess:resize"
    assert "costs 9 points" in world.kept.said[-1].causes[0].evidence
    diagnoser.checked(Check(verdict="ok", cause=None, rungs=()))
    diagnoser.explain(drift())
    assert world.kept.said[-1].causes[0].cause == "data:light"


def test_the_camera_the_machine_and_the_preprocessing_are_asked(world: World) -> None:
    world.problems.set("picture", "black: mean brightness 2")
    world.throttled = ("under-voltage",)
    world.compared = Comparison(verdict="differs", step="decode", detail="off by 9")
    world.diagnoser().explain(drift())
    (said,) = world.kept.said
    assert [cause.cause for cause in said.causes[:2]] in (
        ["preprocess:decode", "source"],
        ["source", "preprocess:decode"],
    )
    assert {"hardware", "data:light"} <= {cause.cause for cause in said.causes}
    assert all(cause.next_step for cause in said.causes)
