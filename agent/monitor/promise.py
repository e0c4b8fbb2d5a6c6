"""The arithmetic of the false-alarm promise: so many false alarms a month, over all detectors.

The budget is split evenly: however the detectors depend on each other, together they raise no more
false alarms than the sum of their shares (Bonferroni). Each share accrues with time: a test may spend
what accrued since the last one, so the rate holds whatever the lengths of the windows; a test that
could not be trusted yet waits for the next window.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from agent.monitor.drift import DetectorKind
from agent.monitor.drift.null import alpha_floor
from agent.monitor.plan import Plan

MONTH_S = 30 * 24 * 3600.0
MIN_RESAMPLES, MAX_RESAMPLES = 4_000, 20_000
SAMPLES_PER_ROW = 0.25
"""Windows longer than this share of the calibration rows resemble each other too much."""
MIN_SAMPLES = 20
MOST_RESAMPLES = 200_000
"""More take minutes on a device, and tens of megabytes."""
_MAX_ALPHA = 0.05
"""However much has accrued, one test never spends more: weeks of silence are no licence."""


def shared(plan: Plan, detectors: int) -> Plan:
    """``plan``, whose promise is the device's, as it is for each of so many ``detectors``."""
    return replace(plan, false_alarms_per_month=plan.false_alarms_per_month / max(detectors, 1))


def broken(detectors: Sequence[DetectorKind], plan: Plan) -> tuple[str, ...]:
    """Why these detectors together cannot keep the promise of ``plan``, which is the device's, with its
    numbers: each problem once, with its way out; empty when they can."""
    each = shared(plan, len(detectors))
    return tuple(dict.fromkeys(problem for kind in detectors for problem in kind.broken_promise(each)))


def longest_run_s(false_alarms_per_month: float) -> float:
    """The mean time between false alarms (ARL) that a share of the promise asks for."""
    return MONTH_S / false_alarms_per_month


def alpha(false_alarms_per_month: float, elapsed_s: float, *, detectors: int = 1) -> float:
    """The false-alarm probability of a test ``elapsed_s`` after the last, for one of ``detectors``."""
    accrued = false_alarms_per_month * elapsed_s / MONTH_S
    return min(accrued, _MAX_ALPHA) / detectors


def resamples_for(alpha: float) -> int:
    """How many resampled windows to learn thresholds from: 10 / alpha, 4,000 … 20,000."""
    return math.ceil(min(max(MIN_RESAMPLES, 10.0 / max(alpha, 1e-12)), MAX_RESAMPLES))


def shortest_interval_s(false_alarms_per_month: float, resamples: int, *, detectors: int = 1) -> float:
    """How long the budget takes to accrue the smallest probability that can be tested."""
    return alpha_floor(resamples) * detectors * MONTH_S / false_alarms_per_month


def check_promise(
    *,
    samples: int,
    calibration_rows: int,
    resamples: int,
    false_alarms_per_month: float,
    seconds_per_window: float | None,
) -> tuple[str, ...]:
    """Why the promise cannot be kept with these numbers, each problem with its way out; empty when
    it can. ``seconds_per_window`` is None for sources without a pace."""
    problems = []
    if samples < MIN_SAMPLES:
        problems.append(
            f"monitor.window.samples: {samples} observations say too little; use at least {MIN_SAMPLES}"
        )
    elif samples > calibration_rows * SAMPLES_PER_ROW:
        problems.append(_too_few_rows(samples, calibration_rows))
    if seconds_per_window is not None and seconds_per_window > 0:
        reached = false_alarms_per_month * seconds_per_window / MONTH_S
        if reached < alpha_floor(resamples):
            problems.append(_too_rare(reached, resamples, false_alarms_per_month, seconds_per_window))
    return tuple(problems)


def _too_few_rows(samples: int, rows: int) -> str:
    at_most, needed = int(rows * SAMPLES_PER_ROW), math.ceil(samples / SAMPLES_PER_ROW)
    shorter = f"use at most {at_most}, or " if at_most >= MIN_SAMPLES else ""
    return (
        f"monitor.window.samples: {samples} is more than a quarter of the bundle's {rows} calibration "
        f"rows; {shorter}pack with at least {needed} calibration rows"
    )


def _too_rare(reached: float, resamples: int, per_month: float, seconds: float) -> str:
    floor = alpha_floor(resamples)
    return (
        f"monitor.false_alarms_per_month: {per_month:g} with a window every {seconds:.3g} s is a "
        f"probability of {reached:.2g} a window, below {floor:.2g}, the least that {resamples} resampled "
        f"windows can tell; use windows of at least {floor * MONTH_S / per_month:.3g} s, or at least "
        f"{floor * MONTH_S / seconds:.3g} false alarms a month"
    )
