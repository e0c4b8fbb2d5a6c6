"""What a detector has to work with, and its share of the promise."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What one detector has to work with."""

    samples: int
    """Independent observations a window is tested on."""
    false_alarms_per_month: float
    """This detector's share of the promise."""
    shared_by: int = 1
    """How many detectors share the promise."""
    tolerance_points: float
    """A loss of accuracy that is no reason for an alarm."""
    calibration_rows: int
    sampled_interval_s: float | None
    """Between sampled frames; None for sources without a pace."""
    thinning: int
    """Every so many sampled frames one is independent (1 until measured)."""

    @property
    def promise(self) -> str:
        """The promise as it was configured, for messages: ``1 shared by 3 detectors``."""
        whole = f"{self.false_alarms_per_month * self.shared_by:.3g}"
        return whole if self.shared_by == 1 else f"{whole} shared by {self.shared_by} detectors"
