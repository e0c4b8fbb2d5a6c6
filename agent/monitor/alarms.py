"""When drift scores become an alarm, how bad it is, and when it is over."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from agent.contracts import DriftScore
from agent.monitor.distances import family_of
from agent.telemetry import messages

CALM_P = 0.05
"""A score this unremarkable speaks for the all-clear."""
CALM_SCORES = 2
"""So many in a row clear an alarm: one calm window under a standing fault is common."""
TOP_FEATURES = 5

Change: TypeAlias = Literal["raised", "cleared"]
_SUMMARIES = {
    "training": "inputs differ from the bundle's reference",
    "commissioning": "inputs have changed since this device was commissioned",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Loss:
    """Estimated loss of accuracy in points, with its 90 % interval; negative where it is better."""

    points: float
    low: float
    high: float


@dataclass(slots=True)
class _Calm:
    scores: int = 0
    samples: int = 0


@dataclass(slots=True)
class AlarmState:
    """One alarm over all detectors: raised by the first drifted score of any, cleared when every
    detector that drifted is calm again. A detector is calm after CALM_SCORES scores in a row with p
    above CALM_P, or after ``quiet_samples`` independent observations without one below it."""

    quiet_samples: int = 750
    _drifted: dict[str, _Calm] = field(default_factory=dict)

    @property
    def raised(self) -> bool:
        return bool(self._drifted)

    def update(self, score: DriftScore) -> Change | None:
        """Take in the next score; say what changed, if anything did."""
        if score.drifted:
            changed = not self._drifted
            self._drifted[score.detector] = _Calm()
            return "raised" if changed else None
        calm = self._drifted.get(score.detector)
        if calm is None:
            return None
        if score.p <= CALM_P:
            calm.scores = calm.samples = 0
            return None
        calm.scores += 1
        return self._clear(lambda calm: calm.scores >= CALM_SCORES)

    def pass_sample(self) -> Change | None:
        """An independent observation was taken in."""
        if not self._drifted:
            return None
        for calm in self._drifted.values():
            calm.samples += 1
        return self._clear(lambda calm: calm.samples >= self.quiet_samples)

    def _clear(self, is_calm: Callable[[_Calm], bool]) -> Change | None:
        for detector in [name for name, calm in self._drifted.items() if is_calm(calm)]:
            del self._drifted[detector]
        return None if self._drifted else "cleared"


def severity_of(loss: Loss | None, *, tolerance_points: float) -> messages.Severity:
    """``notice`` for a change that costs no more than is tolerated, ``critical`` for one that costs
    ``messages.CRITICAL_POINTS``; ``warning`` in between, and where the cost cannot be estimated."""
    if loss is None:
        return "warning"
    if loss.points <= tolerance_points:
        return "notice"
    return "critical" if loss.points >= messages.CRITICAL_POINTS and loss.low > 0 else "warning"


def loss_of(estimate: messages.Estimate | None, expected: float | None) -> Loss | None:
    """What an estimate of accuracy says was lost against ``expected`` (0 … 1); None where either is
    unknown, and for regressions, whose error is not counted in points."""
    if estimate is None or expected is None or estimate.kind != "accuracy":
        return None
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return None
    points, most, least = (100 * (expected - it) for it in (estimate.value, estimate.low, estimate.high))
    return Loss(points=points, low=least, high=most)


def alarm_message(
    score: DriftScore,
    change: Change,
    *,
    against: Literal["training", "commissioning"] = "training",
    provisional: bool = False,
    loss: Loss | None = None,
    tolerance_points: float = 0.0,
) -> messages.Alarm:
    """The message that says so, with its evidence; a cleared alarm is a ``notice``."""
    family = family_of(score.distances)
    top = tuple(distance.name for distance in score.distances[:TOP_FEATURES])
    raised = change == "raised"
    severity = severity_of(loss, tolerance_points=tolerance_points) if raised else "notice"
    summary = _summary(family, top, against, loss) if raised else _all_clear(against)
    return messages.Alarm(
        alarm="drift",
        status=change,
        severity=severity,
        cause=f"data:{family}",
        summary=summary,
        evidence={"p": score.p, "alpha": score.alpha, "n": float(score.n), **dict(score.statistics)},
        top=top,
        loss_points=None if loss is None else round(loss.points, 2),
        loss_low=None if loss is None else round(loss.low, 2),
        loss_high=None if loss is None else round(loss.high, 2),
        detector=score.detector,
        against=against,
        provisional=provisional,
    )


def _summary(family: str, top: tuple[str, ...], against: str, loss: Loss | None) -> str:
    what = f"{_SUMMARIES[against]}, most in {family} ({', '.join(top[:3])})"
    if loss is None:
        return what
    return f"{what}; estimated loss {loss.points:.1f} points ({loss.low:.1f} to {loss.high:.1f})"


def _all_clear(against: str) -> str:
    like = "as commissioned" if against == "commissioning" else "like the bundle's reference"
    return f"inputs look {like} again"
