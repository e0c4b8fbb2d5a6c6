"""The detectors of a session: their thresholds are learned once on this device and then cached."""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from agent.change import Learn, Learned
from agent.monitor.drift import DetectorKind
from agent.monitor.estimate import Estimator
from agent.monitor.plan import Plan
from agent.sections import MonitorConfig

KEPT = 4
"""Cached thresholds at a time: half a megabyte each, of this bundle's reference and of the device's."""

_log = logging.getLogger(__name__)


def plan_of(monitor: MonitorConfig, *, calibration_rows: int, fps: float | None, thinning: int = 1) -> Plan:
    """What each detector has to work with; the promise is divided equally among them."""
    detectors = max(len(monitor.detectors), 1)
    return Plan(
        samples=monitor.window.samples,
        false_alarms_per_month=monitor.false_alarms_per_month / detectors,
        shared_by=detectors,
        tolerance_points=monitor.tolerance_points,
        calibration_rows=calibration_rows,
        sampled_interval_s=monitor.sample_every / fps if fps else None,
        thinning=thinning,
    )


def learn(
    wanted: Learn,
    monitor: MonitorConfig,
    *,
    estimator: Estimator | None,
    fps: float | None,
    folder: Path,
) -> Learned:
    """The wanted detectors; takes seconds the first time (no lock is held). ``estimator`` says how
    probably the answers of a bundle's calibration rows were right."""
    reference = wanted.reference()
    if reference.calibration_right is None and estimator is not None:
        reference = replace(reference, calibration_right=estimator.rights(reference.calibration))
    plan = replace(
        plan_of(monitor, calibration_rows=len(reference.calibration), fps=fps, thinning=wanted.thinning),
        samples=wanted.samples,
    )
    kinds: Sequence[DetectorKind] = monitor.detectors
    cache = FolderCache(folder)
    return Learned(
        against=wanted.against,
        samples=wanted.samples,
        reference=reference,
        detectors=tuple(kind.make(reference, plan, cache) for kind in kinds),
    )


class FolderCache:
    """Keeps the newest thresholds as files in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, key: str) -> bytes | None:
        try:
            return self._path(key).read_bytes()
        except OSError:
            return None

    def put(self, key: str, content: bytes) -> None:
        """A device without room for its cache computes it again at its next start."""
        path = self._path(key)
        fresh = path.with_suffix(".new")
        try:
            for earlier in self._newest_first()[KEPT - 1 :]:
                earlier.unlink(missing_ok=True)
            fresh.write_bytes(content)
            fresh.replace(path)
        except OSError as error:
            _log.warning("%s not cached: %s", path.name, error.strerror)

    def _path(self, key: str) -> Path:
        return self._folder / f"thresholds-{hashlib.sha256(key.encode()).hexdigest()[:16]}.bin"

    def _newest_first(self) -> list[Path]:
        return sorted(self._folder.glob("thresholds-*"), key=lambda path: -path.stat().st_mtime)
