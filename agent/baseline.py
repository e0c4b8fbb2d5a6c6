"""The device's own baseline on disk, in the state directory over restarts.

Only ever appended to while it grows: half an hour of rows at a time, some 20 kB, so that a day of
commissioning costs the card less than a megabyte. Missing, damaged or not writable, the device
works all the same; at worst it is commissioned anew.
"""

import logging
import os
from dataclasses import replace
from pathlib import Path

from agent.monitor.commissioning import Baseline, Restored, Wanted

INTERVAL_S = 1800.0
MOST_BYTES = 64 * 2**20

_log = logging.getLogger(__name__)
_NANOSECONDS = 1_000_000_000


class BaselineFile:
    """Keeps ``baseline`` in the file at ``path``, from which it was restored. ``problem`` says how what
    the file held is damaged; empty when it is not, or is of another bundle."""

    def __init__(self, path: Path, wanted: Wanted) -> None:
        self._path = path
        restored = _load(path, wanted)
        self.baseline: Baseline = restored.baseline
        self.problem: str = "" if restored.outdated else restored.problem
        self._length = restored.length
        self._saved_ns: int | None = None
        self._beginnings = self.baseline.beginnings

    def tick(self, now_ns: int) -> None:
        """Save when half an hour has passed since the last time, or since the first call; a baseline
        that began anew is forgotten on disk at once."""
        self._follow()
        if self._saved_ns is None:
            self._saved_ns = now_ns
        if now_ns - self._saved_ns >= INTERVAL_S * _NANOSECONDS:
            self._saved_ns = now_ns
            self.save()

    def save(self) -> None:
        """Append what is new, on disk when it returns."""
        self._follow()
        fresh = self.baseline.unsaved()
        if not fresh:
            return
        try:
            # Created for this user alone; what follows the good part is cut off first.
            with os.fdopen(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600), "r+b") as file:
                if self._length == 0:
                    fresh = self.baseline.head() + fresh
                file.truncate(self._length)
                file.seek(self._length)
                file.write(fresh)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            _log.warning("%s not kept: %s", self._path.name, error.strerror)
            return
        self._length += len(fresh)
        self.problem = ""
        self.baseline.saved()

    def _follow(self) -> None:
        """Remove what a baseline that began anew has left behind."""
        if self._beginnings == self.baseline.beginnings:
            return
        self._beginnings = self.baseline.beginnings
        self._length = 0
        try:
            self._path.unlink(missing_ok=True)
        except OSError as error:
            _log.warning("%s not removed: %s", self._path.name, error.strerror)


def _load(path: Path, wanted: Wanted) -> Restored:
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        return Restored(baseline=Baseline(wanted), length=0)
    except OSError as error:
        problem = f"{path.name} cannot be read, the device is commissioned anew: {error.strerror}"
        _log.warning("%s", problem)
        return Restored(baseline=Baseline(wanted), length=0, problem=problem)
    restored = Baseline.restore(data[:MOST_BYTES], wanted)
    if not restored.problem:
        return restored
    kept = f"{restored.baseline.n} rows of it are kept" if restored.length else "gathered anew"
    problem = f"{path.name}: {restored.problem}; {kept}"
    _log.warning("%s", problem)
    return replace(restored, problem=problem)
