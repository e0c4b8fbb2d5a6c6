"""A device of the bench: the agent's own path from sampled frames to alarms, with default options.

Everything between a sampled frame and an alarm is the agent's (``agent.change``): thinning,
commissioning, references, detectors, the alarm's hysteresis. Only cameras and clocks are played.
"""

import copy
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from agent import thresholds
from agent.change import ChangeWatch, Learn, Learned, Verdict
from agent.monitor.commissioning import Baseline, Wanted
from agent.monitor.drift import DEFAULT, KINDS
from agent.monitor.recent import Recent
from agent.monitor.reference import Reference
from agent.monitor.thinning import Thinning
from agent.sections import MonitorConfig
from agent.structure import structure_kind
from tools.bench.monitor.rendered import FEATURES, Rendered
from tools.bench.monitor.streams import (
    FRAMES_A_SECOND,
    SAMPLE_INTERVAL_NS,
    SAMPLES_A_DAY,
    Frames,
    Stream,
    shown,
)
from tools.bench.monitor.training import Trained

HELD_BACK = 128
_RECENT = 64
MOST_COMMISSIONING_DAYS = 120


def default_monitor(*, samples: int = 250, detectors: tuple[str, ...] = DEFAULT) -> MonitorConfig:
    """The defaults of agent.yaml."""
    kinds = tuple(structure_kind(name, KINDS, root="monitor.detectors", shorthand=True) for name in detectors)
    plain = MonitorConfig(detectors=kinds)
    return replace(plain, window=replace(plain.window, samples=samples))


class NoCache:
    def get(self, key: str) -> bytes | None:
        return None

    def put(self, key: str, content: bytes) -> None:
        pass


@dataclass(frozen=True, kw_only=True, slots=True)
class Said:
    """A score, and how many sampled frames after the device was switched on it came."""

    at: int
    verdict: Verdict

    @property
    def detector(self) -> str:
        return self.verdict.score.detector

    @property
    def raised(self) -> bool:
        return self.verdict.change == "raised"


class Device:
    """Switched on with a bundle; says nothing before it is commissioned."""

    def __init__(self, trained: Trained, monitor: MonitorConfig) -> None:
        self._monitor = monitor
        self._trained = trained
        self._at = 0
        self._learned: Learned | None = None
        wanted = Wanted(
            key="",
            features=len(FEATURES.names),
            hours=monitor.commissioning.hours,
            samples=monitor.commissioning.samples,
        )
        self._thinning = Thinning(monitor.thinning, HELD_BACK)
        self._change = ChangeWatch(
            training=trained.reference,
            thinning=self._thinning,
            baseline=Baseline(wanted),
            samples=monitor.window.samples,
            learn=self._learn,
        )
        self._recent = Recent(capacity=_RECENT, features=len(FEATURES.names))

    @property
    def commissioned(self) -> bool:
        return self._learned is not None

    @property
    def at(self) -> int:
        """Sampled frames so far."""
        return self._at

    @property
    def reference(self) -> Reference:
        """Its own; only once it is commissioned."""
        assert self._learned is not None
        return self._learned.reference

    @property
    def interval(self) -> int:
        """Every so many sampled frames one is independent."""
        return self._thinning.interval

    @property
    def lag_1(self) -> float | None:
        return self._thinning.lag_1

    def twin(self) -> "Device":
        """Another device in exactly this state."""
        return copy.deepcopy(self, {id(self._trained): self._trained})

    def commission(self, stream: Stream, of: Rendered, *, seed: int) -> int:
        """Watch normal days until the baseline stands; how many."""
        for day in range(MOST_COMMISSIONING_DAYS):
            self.watch(shown(stream.next(SAMPLES_A_DAY), of, seed=seed * 1000 + day))
            if self.commissioned:
                return day + 1
        raise RuntimeError(f"not commissioned after {MOST_COMMISSIONING_DAYS} days")

    def watch(self, frames: Frames, *, until_drifted: bool = False) -> list[Said]:
        """Take sampled frames in; every score."""
        said: list[Said] = []
        rights = self.rights(frames.rows)
        classes = frames.classes.tolist()
        for row, predicted, right in zip(frames.rows, classes, rights, strict=True):
            self._at += 1
            if self._at % _RECENT == 1:
                self._recent.add(row, predicted)
            told = self._change.add(
                row, predicted, right, recent=self._recent, now_ns=self._at * SAMPLE_INTERVAL_NS
            )
            said += [Said(at=self._at, verdict=verdict) for verdict in told]
            if until_drifted and any(one.verdict.score.drifted for one in said):
                break
        return said

    def rights(self, rows: NDArray[np.float32]) -> list[float | None]:
        rights = self._trained.estimator.basis.rights(rows)
        return [None] * len(rows) if rights is None else rights.tolist()

    def _learn(self, wanted: Learn) -> None:
        if wanted.against == "training":
            return
        reference = wanted.reference()
        plan = replace(
            thresholds.plan_of(
                self._monitor,
                calibration_rows=len(reference.calibration),
                fps=float(FRAMES_A_SECOND),
                thinning=wanted.thinning,
            ),
            samples=wanted.samples,
        )
        self._learned = Learned(
            against=wanted.against,
            samples=wanted.samples,
            reference=reference,
            detectors=tuple(kind.make(reference, plan, NoCache()) for kind in self._monitor.detectors),
        )
        self._change.attach(self._learned)
