"""Pictures of a live ``cv2.VideoCapture``: read as fast as they come, so that none grows old in a queue.

OpenCV says of a lost camera only that a read failed, at once or after its timeout; a damaged picture
fails once and the next is well. So a read that took the whole timeout is a loss, and so are several
failures in a row.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from agent.contracts import Array, Frame, Payload, Skipped
from agent.errors import SourceError
from agent.sources.naming import live_name
from agent.sources.release import Held

FAILURES_IN_A_ROW = 5
OLDEST_DRIVER_NS = 10_000_000_000
"""A driver's own time of capture is believed when it is not older than this."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Opened:
    """An opened capture. ``shown`` stands in messages, ``taker`` in the frames' names."""

    capture: cv2.VideoCapture
    shown: str
    taker: str
    fps: float | None
    """At most so many frames a second are delivered."""
    silence_s: float
    """A failing read that took so long has waited in vain."""
    encoded: bool = False
    """The capture delivers JPEG files instead of pixels."""
    driver_clock: bool = False
    """The capture's position is the time of capture on the monotonic clock, as V4L2 states it."""


class OpenCvFeed:
    """The opened camera or stream."""

    resumes = False

    def __init__(self, opened: Opened) -> None:
        self._opened = opened
        self._held = Held(opened.capture.release)
        self._due = Thinning(opened.fps)

    def __iter__(self) -> Iterator[Frame | Skipped]:
        try:
            yield from self._items()
        finally:
            self._held.close()

    def close(self) -> None:
        self._held.close()

    def _items(self) -> Iterator[Frame | Skipped]:
        failures = 0
        while True:
            began_ns = time.monotonic_ns()
            with self._held as there:
                if not there or self._held.closed:
                    return
                taken = self._take()
            if taken is not None:
                yield from self._damaged(failures)
                failures = 0
                if not isinstance(taken, Unwanted):
                    yield taken
                continue
            failures += 1
            waited_s = (time.monotonic_ns() - began_ns) / 1e9
            if self._held.closed:
                return
            if waited_s >= 0.9 * self._opened.silence_s:
                raise SourceError(f"{self._opened.shown}: no picture for {self._opened.silence_s:g} s")
            if failures >= FAILURES_IN_A_ROW:
                raise SourceError(
                    f"{self._opened.shown}: lost: it ended, or none of its pictures can be read"
                )

    def _damaged(self, failures: int) -> Iterator[Skipped]:
        """The failures before a good picture: those were damaged pictures, not the end."""
        for _ in range(failures):
            name = live_name(self._opened.taker, time.monotonic_ns())
            yield Skipped(name=name, reason=f"{self._opened.shown}: a damaged picture")

    def _take(self) -> "Frame | Unwanted | None":
        """The next picture; None when the read failed."""
        capture, opened = self._opened.capture, self._opened
        try:
            if not capture.grab():
                return None
            captured_ns = time.monotonic_ns()
            if opened.driver_clock:
                captured_ns = driver_time(capture.get(cv2.CAP_PROP_POS_MSEC), now_ns=captured_ns)
            if not self._due(captured_ns):
                return Unwanted()
            decoded, pixels = capture.retrieve()
        except cv2.error:
            return None
        if not decoded or pixels is None or not pixels.size:
            return None
        payload = pixels.tobytes() if opened.encoded else _rgb(pixels)
        return Frame(payload=payload, captured_ns=captured_ns, name=live_name(opened.taker, captured_ns))


class Unwanted:
    """A picture that came before the next one was due."""


class Thinning:
    """Which frames to keep so that at most ``fps`` a second are, evenly, whatever rate they come at."""

    def __init__(self, fps: float | None) -> None:
        self._interval_ns = int(1e9 / fps) if fps else 0
        self._due_ns: int | None = None

    def __call__(self, at_ns: int) -> bool:
        if self._due_ns is None or not self._interval_ns:
            self._due_ns = at_ns + self._interval_ns
            return True
        # A camera of the wanted rate is a little early half of the time.
        if at_ns < self._due_ns - self._interval_ns // 10:
            return False
        late = at_ns >= self._due_ns + self._interval_ns
        self._due_ns = (at_ns if late else self._due_ns) + self._interval_ns
        return True


def driver_time(position_ms: float, *, now_ns: int) -> int:
    """When V4L2 says the picture was taken (monotonic ns); ``now_ns`` where it says nothing usable."""
    if not np.isfinite(position_ms):
        return now_ns
    stated_ns = int(position_ms * 1e6)
    return stated_ns if 0 <= now_ns - stated_ns <= OLDEST_DRIVER_NS else now_ns


def open_params(**values: int) -> list[int]:
    """OpenCV's list of properties and values, by their names without ``CAP_PROP_``."""
    return [number for name, value in values.items() for number in (getattr(cv2, f"CAP_PROP_{name}"), value)]


def _rgb(pixels: Array) -> Payload:
    if pixels.ndim == 2 or pixels.shape[2] == 1:
        return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB), np.uint8)
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB), np.uint8)
