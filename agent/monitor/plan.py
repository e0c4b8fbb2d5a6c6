"""What a detector has to work with, and its share of the promise."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What one detector has to work with."""

    samples: int
    """Independent observations a window is tested on."""
    false_alarms_per_month: float
    """This detector's share of the promise."""
    tolerance_points: float
    """A loss of accuracy that is no reason for an alarm."""
    calibration_rows: int
    sampled_interval_s: float | None
    """Between sampled frames; None for sources without a pace."""
    thinning: int
    """Every so many sampled frames one is independent (1 until measured)."""
