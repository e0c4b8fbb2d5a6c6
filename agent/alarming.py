"""Says alarms, and follows them up: an alarm is raised by the first frames that differ, what they cost
and what they look like is known only once there are enough of them."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from agent.change import Verdict
from agent.contracts import DriftScore
from agent.monitor.alarms import Change, Loss, alarm_message, loss_of
from agent.monitor.recent import Recent
from agent.monitor.reference import Reference
from agent.telemetry.messages import Alarm, Body, Estimate, Severity

_RANKS: dict[Severity, int] = {"notice": 0, "warning": 1, "critical": 2}


class Sink(Protocol):
    """Where messages go; ``urgent`` ones are on disk when it returns."""

    def emit(self, body: Body, *, urgent: bool = False) -> None: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Now:
    """The newest frames, what they are estimated to be worth, and what the loss is counted from."""

    recent: Recent
    effective_n: float
    estimate: Estimate | None
    expected: float | None
    own: Reference | None
    """This device's own reference, where it has one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Raised:
    """A drift alarm stands: what whoever explains it may look at."""

    verdict: Verdict
    loss: Loss | None
    now: Now


class Alarming:
    """``explain`` is called when an alarm was raised, and once more when ``Recent`` holds nothing but
    frames from after that. Whenever as many frames have passed again and it has become worse, it is
    raised again as what it is, and explained."""

    def __init__(self, *, sink: Sink, explain: Callable[[Raised], None], tolerance_points: float) -> None:
        self._sink = sink
        self._explain = explain
        self.tolerance_points = tolerance_points
        self._onset: Verdict | None = None
        self._said: Alarm | None = None
        self._since, self._followed = 0, False

    def say(self, verdict: Verdict, now: Now) -> None:
        """What a verdict did to the alarm, if anything."""
        if verdict.change is None:
            return
        self._onset = verdict if verdict.change == "raised" else None
        self._since, self._followed = 0, False
        message = self._message(verdict, now, verdict.change)
        self._said = message
        self._sink.emit(message, urgent=True)
        if verdict.change == "raised":
            self._explain(Raised(verdict=verdict, loss=loss_of(now.estimate, now.expected), now=now))

    def count_frame(self) -> None:
        """A sampled frame was taken in."""
        self._since += 1

    def due(self, frames: int) -> bool:
        """Whether an alarm stands that is to be followed up after ``frames`` more."""
        return self._onset is not None and self._since >= frames

    def follow_up(self, now: Now, rescore: Callable[[DriftScore], DriftScore]) -> None:
        """Explain the standing alarm by what came after it; ``rescore`` looks at the features anew."""
        onset, first = self._onset, not self._followed
        self._since, self._followed = 0, True
        if onset is None:
            return
        verdict = replace(onset, score=rescore(onset.score))
        message = self._message(verdict, now, "raised")
        worse = self._is_worse(message)
        if worse:
            self._said = message
            self._sink.emit(message, urgent=True)
        if not (first or worse):
            return
        self._explain(Raised(verdict=verdict, loss=loss_of(now.estimate, now.expected), now=now))

    def _is_worse(self, message: Alarm) -> bool:
        """Whether it is worth saying again: of a higher severity, or of a loss that grew by more than
        is tolerated."""
        said = self._said
        if said is None or _RANKS[message.severity] > _RANKS[said.severity]:
            return True
        if message.loss_points is None or message.severity == "notice":
            return False
        return message.loss_points - (said.loss_points or 0.0) > self.tolerance_points

    def _message(self, verdict: Verdict, now: Now, change: Change) -> Alarm:
        return alarm_message(
            verdict.score,
            change,
            against=verdict.against,
            provisional=verdict.provisional,
            loss=loss_of(now.estimate, now.expected),
            tolerance_points=self.tolerance_points,
        )
