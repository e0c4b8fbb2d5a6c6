"""When a drift score becomes an alarm, and when the alarm is over."""

from dataclasses import dataclass
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


@dataclass(slots=True)
class AlarmState:
    """One alarm: raised by the first drifted score, cleared by CALM_SCORES scores in a row with
    p above CALM_P."""

    raised: bool = False
    calm: int = 0

    def update(self, score: DriftScore) -> Change | None:
        """Take in the next score; say what changed, if anything did."""
        if score.drifted:
            self.calm = 0
            changed = not self.raised
            self.raised = True
            return "raised" if changed else None
        self.calm = self.calm + 1 if score.p > CALM_P else 0
        if not self.raised or self.calm < CALM_SCORES:
            return None
        self.raised, self.calm = False, 0
        return "cleared"


def alarm_message(
    score: DriftScore, change: Change, *, alarm: str = "drift", severity: messages.Severity = "warning"
) -> messages.Alarm:
    """The message that says so, with its evidence; a cleared alarm is a ``notice``."""
    family = family_of(score.distances)
    top = tuple(distance.name for distance in score.distances[:TOP_FEATURES])
    if change == "raised":
        summary = f"inputs differ from the reference, most in {family} ({', '.join(top[:3])})"
    else:
        summary = f"the last {CALM_SCORES} windows look like the reference again"
    return messages.Alarm(
        alarm=alarm,
        status=change,
        severity=severity if change == "raised" else "notice",
        cause=f"data:{family}",
        summary=summary,
        evidence={"p": score.p, "alpha": score.alpha, "n": float(score.n), **dict(score.statistics)},
        top=top,
    )
