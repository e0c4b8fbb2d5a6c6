"""When the next frame is due, on the monotonic clock; closing wakes whoever waits for it."""

import time
from threading import Event


class Pace:
    """Turns at a steady rate (``fps`` a second; None: at once), until it is closed.

    A turn taken late moves the following ones: frames never come in a burst to catch up.
    """

    def __init__(self, fps: float | None) -> None:
        self._interval_s = 1 / fps if fps else 0.0
        self._due_s: float | None = None
        self._closed = Event()

    @property
    def closed(self) -> bool:
        return self._closed.is_set()

    def turn(self) -> bool:
        """Wait until the next frame is due; False when closed."""
        if self._interval_s:
            now_s = time.monotonic()
            self._due_s = now_s if self._due_s is None else max(self._due_s + self._interval_s, now_s)
            return self.rest(self._due_s - now_s)
        return not self.closed

    def rest(self, seconds: float) -> bool:
        """Wait so long; False as soon as closed."""
        return not self._closed.wait(seconds) if seconds > 0 else not self.closed

    def close(self) -> None:
        self._closed.set()


def problems(*, fps: float | None = None, poll_interval_s: float = 1.0, **at_least_one: int) -> list[str]:
    """What is out of range among the options that sources share, each by its name."""
    found = []
    if fps is not None and not 0 < fps <= 1000:
        found.append(f"fps: must be more than 0 and at most 1000, got {fps:g}")
    if not 0.01 <= poll_interval_s <= 3600:
        found.append(f"poll_interval_s: must be from 0.01 to 3600, got {poll_interval_s:g}")
    found += [f"{name}: must be at least 1, got {value}" for name, value in at_least_one.items() if value < 1]
    return found
