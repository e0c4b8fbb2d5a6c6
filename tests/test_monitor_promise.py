"""The arithmetic of the promise, by hand."""

import pytest

from agent.monitor.drift.panel import Panel
from agent.monitor.plan import Plan
from agent.monitor.promise import (
    alpha,
    broken,
    check_promise,
    longest_run_s,
    resamples_for,
    shared,
    shortest_interval_s,
)

DAY_S = 86_400.0


def test_the_budget_accrues_with_time():
    assert alpha(1.0, 30 * DAY_S / 1000) == pytest.approx(0.001)
    assert alpha(3.0, 600.0) == pytest.approx(3 * 600 / (30 * DAY_S))
    assert alpha(3.0, 600.0, detectors=2) == pytest.approx(alpha(3.0, 600.0) / 2)
    assert alpha(1.0, 300 * DAY_S) == 0.05
    assert alpha(1.0, 0.0) == 0.0


@pytest.mark.parametrize(
    ("p", "expected"), [(0.01, 4000), (1e-3, 10_000), (8e-4, 12_500), (1e-6, 20_000), (0, 20_000)]
)
def test_resamples(p, expected):
    assert resamples_for(p) == expected


def test_the_shortest_interval_spends_exactly_the_floor():
    assert alpha(1.0, shortest_interval_s(1.0, 20_000)) == pytest.approx(1 / 2_000_000)
    assert alpha(1.0, shortest_interval_s(1.0, 4000, detectors=2), detectors=2) == pytest.approx(1 / 400_000)


def check(**changed):
    settings = {
        "samples": 150, "calibration_rows": 600, "resamples": 4000,
        "false_alarms_per_month": 1.0, "seconds_per_window": 150.0,
    }  # fmt: skip
    return check_promise(**(settings | changed))


def test_numbers_that_hold_have_no_problems():
    assert check() == ()
    assert check(seconds_per_window=None) == ()
    # 6.48 s accrue 1 / 400,000 of a month's alarm, the least 4,000 resampled windows can tell.
    assert check(seconds_per_window=6.481) == ()


def test_a_window_longer_than_a_quarter_of_the_rows():
    assert check(samples=250) == (
        "monitor.window.samples: 250 is more than a quarter of the bundle's 600 calibration rows; "
        "use at most 150, or pack with at least 1000 calibration rows",
    )
    assert check(samples=100, calibration_rows=60) == (
        "monitor.window.samples: 100 is more than a quarter of the bundle's 60 calibration rows; "
        "pack with at least 400 calibration rows",
    )


def test_a_window_of_too_few():
    assert check(samples=10) == ("monitor.window.samples: 10 observations say too little; use at least 20",)


def test_a_rate_too_low_for_so_short_windows():
    assert check(seconds_per_window=1.0, samples=200) == (
        "monitor.window.samples: 200 is more than a quarter of the bundle's 600 calibration rows; "
        "use at most 150, or pack with at least 800 calibration rows",
        "monitor.false_alarms_per_month: 1 with a window every 1 s is a probability of 3.9e-07 a window, "
        "below 2.5e-06, the least that 4000 resampled windows can tell; use windows of at least 6.48 s, "
        "or at least 6.48 false alarms a month",
    )


PLAN = Plan(
    samples=250, false_alarms_per_month=1.0, tolerance_points=2.0, calibration_rows=1000,
    sampled_interval_s=1.0, thinning=1,
)  # fmt: skip


def test_the_promise_is_split_evenly():
    assert shared(PLAN, 4).false_alarms_per_month == 0.25
    assert shared(PLAN, 0) == PLAN
    assert longest_run_s(0.25) == 120 * DAY_S


def test_each_kind_is_asked_about_its_share_and_each_problem_named_once():
    quick = Plan(
        samples=250, false_alarms_per_month=1.0, tolerance_points=2.0, calibration_rows=1000,
        sampled_interval_s=0.04, thinning=1,
    )  # fmt: skip
    panel = Panel(resamples=4000)
    assert broken([panel], PLAN) == ()
    # Ten seconds accrue 3.9e-6 of one alarm a month, enough for 4,000 windows; of a half it is not.
    assert broken([panel], quick) == ()
    (problem,) = broken([panel, panel], quick)
    assert problem.startswith("monitor.false_alarms_per_month: 0.5 with a window every 10 s")
    assert broken([Panel(), Panel()], quick) == ()
