"""When takeovers of a device's identity become an alarm, and when it is over. Pure.

Two devices with one identity throw each other off for days: that is one alarm, said again once a day.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

DAY_NS = 86_400 * 1_000_000_000

Change: TypeAlias = Literal["raised", "cleared"]


@dataclass(slots=True)
class TakeoverAlarm:
    """``count`` takeovers are known; the alarm stands from the first to a day without one."""

    count: int = 0
    last_ns: int = 0
    said_ns: int | None = None

    def update(self, count: int, now_ns: int) -> Change | None:
        """Take in the number of takeovers so far; what is to be said, if anything is."""
        if count > self.count:
            self.count, self.last_ns = count, now_ns
            if self.said_ns is None or now_ns - self.said_ns >= DAY_NS:
                self.said_ns = now_ns
                return "raised"
        elif self.said_ns is not None and now_ns - self.last_ns >= DAY_NS:
            self.said_ns = None
            return "cleared"
        return None
