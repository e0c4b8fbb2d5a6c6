"""The arithmetic of the promise, by hand."""

from dataclasses import replace

import pytest

from agent.monitor.plan import Plan
from agent.monitor.promise import alpha, check_promise

DAY_S = 86_400.0
PLAN = Plan(
    samples=150, false_alarms_per_month=1.0, tolerance_points=2.0, calibration_rows=600,
    sampled_interval_s=1.0, thinning=1,
)  # fmt: skip


def test_the_budget_accrues_with_time():
    assert alpha(1.0, 30 * DAY_S / 1000) == pytest.approx(0.001)
    assert alpha(3.0, 600.0) == pytest.approx(3 * 600 / (30 * DAY_S))
    assert alpha(1.0, 300 * DAY_S) == 0.05
    assert alpha(1.0, 0.0) == 0.0


def check(**changed):
    return check_promise(replace(PLAN, **changed), resamples=4000)


def test_numbers_that_hold_have_no_problems():
    assert check() == ()
    assert check(sampled_interval_s=None) == ()
    # 6.48 s accrue 1 / 400,000 of a month's alarm, the least 4,000 resampled windows can tell.
    assert check(sampled_interval_s=6.481 / 150) == ()
    assert check(sampled_interval_s=6.481 / 1500, thinning=10) == ()


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
    assert check(sampled_interval_s=1.0 / 200, samples=200) == (
        "monitor.window.samples: 200 is more than a quarter of the bundle's 600 calibration rows; "
        "use at most 150, or pack with at least 800 calibration rows",
        "monitor.false_alarms_per_month: 1 with a window every 1 s is a probability of 3.9e-07 a window, "
        "below 2.5e-06, the least that 4000 resampled windows can tell; use windows of at least 6.48 s, "
        "or at least 6.48 false alarms a month",
    )


def test_a_share_too_low_is_told_in_the_words_of_the_configuration():
    """Three detectors share one alarm a month; what to write there instead is said for all three."""
    assert check(sampled_interval_s=1.0 / 150, false_alarms_per_month=1 / 3, shared_by=3) == (
        "monitor.false_alarms_per_month: 1 shared by 3 detectors with a window every 1 s is a probability of "
        "1.3e-07 a window, below 2.5e-06, the least that 4000 resampled windows can tell; use windows of at "
        "least 19.4 s, or at least 19.4 false alarms a month",
    )
    assert check(sampled_interval_s=1.0 / 150, false_alarms_per_month=19.5 / 3, shared_by=3) == ()
