"""Has something changed? Sampled frames into independent ones, these into detectors and the device's
own baseline, and what the detectors say into one alarm.

The detectors compare with the bundle's reference until the device is commissioned, with the device's
own from then on. Time is an argument; nothing here blocks: references and thresholds are learned
elsewhere, asked for by ``learn`` and handed in by ``attach``.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from agent.contracts import Against, Detector, DriftScore, FeatureDistance, Sampled
from agent.monitor.alarms import AlarmState, Change
from agent.monitor.commissioning import Baseline
from agent.monitor.distances import compare
from agent.monitor.profiles import profile_of
from agent.monitor.recent import Recent
from agent.monitor.reference import Reference
from agent.monitor.thinning import Passed, Thinning
from agent.telemetry.messages import Commissioning, Stream

LAG_1_WORTH_SAYING = 0.1
QUIET_WINDOWS = 3
"""A detector that speaks only in alarm is calm after so many windows of silence: longer than one that
speaks every window needs to say otherwise."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Learn:
    """Which detectors are wanted. ``reference`` may take a second, and is called off the main loop."""

    against: Against
    samples: int
    thinning: int
    reference: Callable[[], Reference]


@dataclass(frozen=True, kw_only=True, slots=True)
class Learned:
    """Detectors of change against ``reference``, for windows of ``samples``."""

    against: Against
    samples: int
    reference: Reference
    detectors: tuple[Detector, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """What one detector said, and what that did to the alarm."""

    score: DriftScore
    change: Change | None
    against: Against
    provisional: bool


class ChangeWatch:
    """``baseline`` is None where the device is not to have one of its own."""

    def __init__(
        self,
        *,
        training: Reference,
        thinning: Thinning,
        baseline: Baseline | None,
        samples: int,
        learn: Callable[[Learn], None],
    ) -> None:
        self._training = training
        self._thinning = thinning
        self._baseline = baseline
        self._samples = samples
        self._learn = learn
        self._learned: Learned | None = None
        self._asked_own = False
        self._fell_back = False
        self._alarm = AlarmState(quiet_samples=QUIET_WINDOWS * samples)
        self._drifted: DriftScore | None = None

    @property
    def alarmed(self) -> bool:
        return self._alarm.raised

    @property
    def own(self) -> Reference | None:
        """The device's own reference, once change is watched against it."""
        learned = self._learned
        return learned.reference if learned and learned.against == "commissioning" else None

    def begin(self) -> None:
        """Ask for the first detectors."""
        if self._baseline is not None and self._baseline.ready:
            self._ask_own()
        else:
            self._learn(self._training_wanted())

    def attach(self, learned: Learned) -> bool:
        """Begin to test; False where these are wanted no more: thresholds are ready only some time after
        they were asked for, and then the windows may already be meant to have another size, or the
        device to be commissioned anew."""
        outdated = learned.against == "commissioning" and not self._asked_own
        if learned.samples != self._samples or outdated:
            return False
        self._learned = learned
        return True

    def resize(self, samples: int) -> None:
        """Windows of another size from here on; without detectors until those are learned."""
        self._samples = samples
        self._alarm.quiet_samples = QUIET_WINDOWS * samples
        self._learned = None
        self._asked_own = False
        self.begin()

    def repace(self) -> None:
        """Frames are sampled at another rate from here on."""
        self._thinning.restart()

    def missed(self) -> None:
        """What was asked for could not be learned: the bundle's reference serves, if it can."""
        if self._learned is None and self._asked_own and not self._fell_back:
            self._fell_back = True
            self._learn(self._training_wanted())

    def forget(self) -> Verdict | None:
        """Commission anew: until that is complete the bundle's reference serves. An alarm that stands
        is over: what to say of it."""
        for detector in self._learned.detectors if self._learned else ():
            detector.forget()
        over = self._verdict(self._drifted, "cleared") if self.alarmed and self._drifted else None
        self._alarm = AlarmState(quiet_samples=QUIET_WINDOWS * self._samples)
        if self._baseline is not None:
            self._baseline.forget()
            if self._asked_own:
                self._asked_own = False
                self._learned = None
                self.begin()
        return over

    def add(
        self,
        row: NDArray[np.float32],
        predicted: int | None,
        right: float | None,
        *,
        recent: Recent,
        now_ns: int,
    ) -> list[Verdict]:
        """Take a sampled frame in: its features, the class it was given and how probably rightly.
        ``recent`` are the newest frames, to say which features moved."""
        return self._pass(self._thinning.add(row, predicted=predicted, right=right, at_ns=now_ns), recent)

    def end(self, recent: Recent) -> list[Verdict]:
        """The stream ends: what was held back until more is known is tested as it is."""
        return self._pass(self._thinning.release(), recent)

    def _pass(self, frames: tuple[Passed, ...], recent: Recent) -> list[Verdict]:
        verdicts: list[Verdict] = []
        for passed in frames:
            if passed.independent:
                self._commission(passed)
                if self._learned is not None and self._alarm.pass_sample() and self._drifted is not None:
                    verdicts.append(self._verdict(self._drifted, "cleared"))
            verdicts += self._test(passed, recent)
        return verdicts

    @property
    def stream(self) -> Stream:
        """What is known of how much one frame says beyond the last."""
        dwell, lag_1 = self._thinning.dwell_samples, self._thinning.lag_1
        telling = lag_1 is not None and lag_1 > LAG_1_WORTH_SAYING
        return Stream(
            dwell_samples=None if dwell is None else round(dwell, 2),
            thinning=self._thinning.interval,
            lag_1=round(lag_1, 3) if lag_1 is not None and telling else None,
        )

    @property
    def commissioning(self) -> Commissioning | None:
        """How far the device's own baseline is; None where there is to be none."""
        baseline = self._baseline
        if baseline is None:
            return None
        return Commissioning(
            ready=self.own is not None,
            samples=baseline.n,
            samples_wanted=baseline.samples_wanted,
            hours=round(baseline.hours, 2),
            hours_wanted=baseline.hours_wanted,
        )

    def look_again(self, score: DriftScore, recent: Recent) -> DriftScore:
        """The same score, with how far the newest frames lie from the reference by now."""
        reference = self._learned.reference if self._learned else self._training
        return replace(score, distances=_distances(reference, recent))

    def effective(self, n: int) -> float:
        """So many independent frames say as much as ``n`` sampled ones."""
        return self._thinning.effective(n)

    def _commission(self, passed: Passed) -> None:
        baseline = self._baseline
        if baseline is None or self._asked_own:
            return
        baseline.add(passed.row, predicted=passed.predicted, right=passed.right, at_ns=passed.at_ns)
        if baseline.ready:
            self._ask_own()

    def _test(self, passed: Passed, recent: Recent) -> list[Verdict]:
        learned = self._learned
        if learned is None:
            return []
        sampled = Sampled(
            row=passed.row,
            group=learned.reference.groups.of_class(passed.predicted),
            right=passed.right,
            at_ns=passed.at_ns,
            independent=passed.independent,
        )
        verdicts = []
        for detector in learned.detectors:
            score = detector.add(sampled)
            if score is not None:
                if not score.distances:
                    score = replace(score, distances=_distances(learned.reference, recent))
                change = self._alarm.update(score)
                if score.drifted:
                    self._drifted = score
                verdicts.append(self._verdict(score, change))
        return verdicts

    def _verdict(self, score: DriftScore, change: Change | None) -> Verdict:
        against: Against = self._learned.against if self._learned else "training"
        provisional = against == "training" and self._baseline is not None
        return Verdict(score=score, change=change, against=against, provisional=provisional)

    def _ask_own(self) -> None:
        baseline = self._baseline
        if baseline is None:
            return
        self._asked_own = True
        samples = self._samples
        self._learn(
            Learn(
                against="commissioning",
                samples=samples,
                thinning=self._thinning.interval,
                reference=lambda: baseline.reference(self._training, block=samples),
            )
        )

    def _training_wanted(self) -> Learn:
        return Learn(
            against="training",
            samples=self._samples,
            thinning=self._thinning.interval,
            reference=lambda: self._training,
        )


def _distances(reference: Reference, recent: Recent) -> tuple[FeatureDistance, ...]:
    """How far the newest frames lie from ``reference``, feature by feature."""
    groups = [reference.groups.of_class(predicted) for predicted in recent.classes()]
    profile = profile_of(
        recent.rows(),
        np.array(groups, dtype=np.int64),
        features=reference.features,
        edges=reference.edges,
        n_groups=len(reference.groups.names),
        pixels=np.zeros((0, 256), dtype=np.int64),
    )
    return compare(reference, profile)
