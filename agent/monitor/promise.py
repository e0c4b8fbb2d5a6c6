"""The arithmetic of the false-alarm promise: so many false alarms a month, over all detectors.

The budget is split evenly: however the detectors depend on each other, together they raise no more
false alarms than the sum of their shares (Bonferroni). Each share accrues with time: a test may spend
what accrued since the last one, so the rate holds whatever the lengths of the windows; a test that
could not be trusted yet waits for the next window.
"""

import math

from agent.monitor.drift.null import alpha_floor
from agent.monitor.plan import Plan

MONTH_S = 30 * 24 * 3600.0
MIN_RESAMPLES = 4_000
SAMPLES_PER_ROW = 0.25
"""Windows longer than this share of the calibration rows resemble each other too much."""
MIN_SAMPLES = 20
MOST_RESAMPLES = 200_000
"""More take minutes on a device, and tens of megabytes."""
_MAX_ALPHA = 0.05
"""However much has accrued, one test never spends more: weeks of silence are no licence."""


def alpha(false_alarms_per_month: float, elapsed_s: float) -> float:
    """The false-alarm probability a test may spend ``elapsed_s`` after the last."""
    return min(false_alarms_per_month * elapsed_s / MONTH_S, _MAX_ALPHA)


def check_promise(plan: Plan, *, resamples: int) -> tuple[str, ...]:
    """Why windows of this plan cannot keep its promise with thresholds from so many resampled windows,
    each problem with its way out; empty when they can."""
    problems = []
    if plan.samples < MIN_SAMPLES:
        problems.append(
            f"monitor.window.samples: {plan.samples} observations say too little; use at least {MIN_SAMPLES}"
        )
    elif plan.samples > plan.calibration_rows * SAMPLES_PER_ROW:
        problems.append(_too_few_rows(plan.samples, plan.calibration_rows))
    if plan.sampled_interval_s is not None and plan.sampled_interval_s > 0:
        seconds = plan.samples * plan.thinning * plan.sampled_interval_s
        if plan.false_alarms_per_month * seconds / MONTH_S < alpha_floor(resamples):
            problems.append(_too_rare(plan, resamples, seconds))
    return tuple(problems)


def _too_few_rows(samples: int, rows: int) -> str:
    at_most, needed = int(rows * SAMPLES_PER_ROW), math.ceil(samples / SAMPLES_PER_ROW)
    shorter = f"use at most {at_most}, or " if at_most >= MIN_SAMPLES else ""
    return (
        f"monitor.window.samples: {samples} is more than a quarter of the bundle's {rows} calibration "
        f"rows; {shorter}pack with at least {needed} calibration rows"
    )


def _too_rare(plan: Plan, resamples: int, seconds: float) -> str:
    floor, share = alpha_floor(resamples), plan.false_alarms_per_month
    return (
        f"monitor.false_alarms_per_month: {plan.promise} with a window every {seconds:.3g} s is a "
        f"probability of {share * seconds / MONTH_S:.2g} a window, below {floor:.2g}, the least that "
        f"{resamples} resampled windows can tell; use windows of at least {floor * MONTH_S / share:.3g} s, "
        f"or at least {floor * MONTH_S / seconds * plan.shared_by:.3g} false alarms a month"
    )
