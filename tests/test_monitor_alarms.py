"""Alarms are raised once, and cleared when calm has lasted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.contracts import DriftScore, FeatureDistance
from agent.monitor.alarms import AlarmState, alarm_message


def score(p, alpha=0.001):
    distances = tuple(
        FeatureDistance(name=name, family=family, chi2=chi2, psi=0.4, ks=0.3, wasserstein=2.0, js=0.1)
        for name, family, chi2 in (("step_1", "sharpness", 80.0), ("luma_mean", "light", 30.0))
    )
    return DriftScore(
        detector="panel", n=100, p=p, alpha=alpha, statistics=(("t2", 88.5),), distances=distances
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


def test_a_raised_alarm_names_cause_and_evidence():
    message = alarm_message(score(2e-5), "raised")
    assert (message.alarm, message.status, message.severity) == ("drift", "raised", "warning")
    assert message.cause == "data:sharpness"
    assert message.summary == "inputs differ from the reference, most in sharpness (step_1, luma_mean)"
    assert message.evidence == {"p": 2e-5, "alpha": 0.001, "n": 100.0, "t2": 88.5}
    assert message.top == ("step_1", "luma_mean")
    assert alarm_message(score(2e-5), "raised", severity="critical").severity == "critical"


def test_a_cleared_alarm_is_a_notice():
    message = alarm_message(score(0.4), "cleared")
    assert (message.status, message.severity) == ("cleared", "notice")
    assert message.summary == "the last 2 windows look like the reference again"
