"""Alarms are raised once, and cleared when calm has lasted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.contracts import DriftScore, FeatureDistance
from agent.monitor.alarms import AlarmState, Loss, alarm_message, loss_of, severity_of
from agent.telemetry.messages import Estimate


def score(p, alpha=0.001, detector="panel"):
    distances = tuple(
        FeatureDistance(name=name, family=family, chi2=chi2, psi=0.4, ks=0.3, wasserstein=2.0, js=0.1)
        for name, family, chi2 in (("step_1", "sharpness", 80.0), ("luma_mean", "light", 30.0))
    )
    return DriftScore(
        detector=detector, n=100, p=p, alpha=alpha, statistics=(("t2", 88.5),), distances=distances
    )


@pytest.mark.parametrize(
    ("ps", "expected"),
    [
        ([0.5, 0.002, 0.9], [None, None, None]),
        ([0.001], ["raised"]),
        ([1e-6, 1e-6, 1e-6], ["raised", None, None]),
        ([1e-6, 0.5, 0.5, 0.5], ["raised", None, "cleared", None]),
        ([1e-6, 0.5, 0.04, 0.5, 0.06], ["raised", None, None, None, "cleared"]),
        ([1e-6, 0.5, 1e-6, 0.5, 0.5], ["raised", None, None, None, "cleared"]),
        ([1e-6, 0.05, 0.05, 0.05], ["raised", None, None, None]),
        ([0.5, 1e-6, 0.5, 0.5, 1e-6], [None, "raised", None, "cleared", "raised"]),
    ],
)
def test_hysteresis(ps, expected):
    state = AlarmState()
    assert [state.update(score(p)) for p in ps] == expected


@given(st.lists(st.floats(0, 1), max_size=60))
def test_changes_alternate_and_begin_with_raised(ps):
    state = AlarmState()
    changes = [change for change in (state.update(score(p)) for p in ps) if change]
    assert changes == [("raised", "cleared")[at % 2] for at in range(len(changes))]


def test_one_alarm_over_all_detectors():
    state = AlarmState()
    assert state.update(score(1e-6)) == "raised"
    assert state.update(score(1e-6, detector="cusum")) is None
    assert [state.update(score(0.5)) for _ in range(3)] == [None, None, None]  # cusum has drifted, too
    assert state.raised
    assert [state.update(score(0.5, detector="cusum")) for _ in range(2)] == [None, "cleared"]


def test_a_detector_that_says_nothing_more_is_calm_after_so_many_samples():
    state = AlarmState(quiet_samples=5)
    state.update(score(1e-6, detector="cusum"))
    assert [state.pass_sample() for _ in range(6)] == [None, None, None, None, "cleared", None]
    state.update(score(1e-6, detector="cusum"))
    changes = [state.pass_sample() for _ in range(4)]
    state.update(score(1e-6, detector="cusum"))
    changes += [state.pass_sample() for _ in range(5)]
    assert changes == [None] * 8 + ["cleared"]


@pytest.mark.parametrize(
    ("loss", "severity"),
    [
        (None, "warning"),
        (Loss(points=-3.0, low=-8.0, high=2.0), "notice"),
        (Loss(points=2.0, low=-1.0, high=5.0), "notice"),
        (Loss(points=2.1, low=-1.0, high=5.0), "warning"),
        (Loss(points=12.0, low=-1.0, high=25.0), "warning"),
        (Loss(points=12.0, low=1.0, high=23.0), "critical"),
    ],
)
def test_severity_is_what_it_costs(loss, severity):
    assert severity_of(loss, tolerance_points=2.0) == severity


def test_a_loss_is_counted_from_what_was_expected():
    estimate = Estimate(kind="accuracy", n=250, effective_n=250.0, value=0.6, low=0.5, high=0.75)
    loss = loss_of(estimate, 0.7)
    assert loss is not None
    assert (loss.points, loss.low, loss.high) == pytest.approx((10.0, -5.0, 20.0))
    assert loss_of(Estimate(kind="accuracy", n=3, effective_n=3.0, abstained="too few"), 0.7) is None
    assert loss_of(estimate, None) is None
    assert loss_of(None, 0.7) is None


def test_a_raised_alarm_names_cause_cost_and_evidence():
    message = alarm_message(
        score(2e-5),
        "raised",
        against="commissioning",
        loss=Loss(points=14.26, low=6.0, high=22.5),
        tolerance_points=2.0,
    )
    assert (message.alarm, message.status, message.severity) == ("drift", "raised", "critical")
    assert message.cause == "data:sharpness"
    assert message.summary == (
        "inputs have changed since this device was commissioned, most in sharpness (step_1, luma_mean); "
        "estimated loss 14.3 points (6.0 to 22.5)"
    )
    assert message.evidence == {"p": 2e-5, "alpha": 0.001, "n": 100.0, "t2": 88.5}
    assert message.top == ("step_1", "luma_mean")
    assert (message.loss_points, message.loss_low, message.loss_high) == (14.26, 6.0, 22.5)
    assert (message.detector, message.against, message.provisional) == ("panel", "commissioning", False)


def test_without_an_estimate_an_alarm_is_a_warning():
    message = alarm_message(score(2e-5), "raised", provisional=True)
    assert (message.severity, message.loss_points, message.provisional) == ("warning", None, True)
    assert (
        message.summary == "inputs differ from the bundle's reference, most in sharpness (step_1, luma_mean)"
    )


def test_a_cleared_alarm_is_a_notice():
    message = alarm_message(score(0.4), "cleared", loss=Loss(points=50.0, low=40.0, high=60.0))
    assert (message.status, message.severity) == ("cleared", "notice")
    assert message.summary == "inputs look like the bundle's reference again"
