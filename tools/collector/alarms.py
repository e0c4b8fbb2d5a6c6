"""Which of a device's alarms stand, the worst first, and what the device itself makes of them. Pure.

An alarm counts until it is cleared, or until a later run of the agent has tested anew (which would
have raised it again).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agent.telemetry.messages import CRITICAL_POINTS, Alarm, Check, Diagnosis, Envelope

CHECK = "check"
"""What a diagnosis names as its trigger that explains a check."""
TOLERATED_POINTS = 2.0
_UNKNOWN_LOSS = {"critical": CRITICAL_POINTS, "warning": TOLERATED_POINTS, "notice": 0.0}
"""Points at which an alarm of unknown loss is ranked: where its severity begins."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ActiveAlarm:
    """Raised and not cleared; ``since`` is UTC in RFC 3339."""

    alarm: Alarm
    since: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Diagnosed:
    """A diagnosis of the device's own, and when it was made (UTC in RFC 3339). ``stands``: what it explains
    is not over."""

    diagnosis: Diagnosis
    at: str
    stands: bool


def active_alarms(slots: Mapping[str, Envelope]) -> tuple[ActiveAlarm, ...]:
    """Those that stand in the newest envelopes by slot, the worst first."""
    tested = _tested_by(slots)
    found = [
        ActiveAlarm(alarm=envelope.body, since=envelope.created_at or envelope.sent_at)
        for envelope in slots.values()
        if isinstance(envelope.body, Alarm)
        and envelope.body.status == "raised"
        and envelope.session >= tested
    ]
    return tuple(sorted(found, key=lambda one: _rank(one.alarm)))


def _tested_by(slots: Mapping[str, Envelope]) -> str:
    """The session that tested for drift last; empty: none has."""
    return slots["drift"].session if "drift" in slots else ""


def _rank(alarm: Alarm) -> tuple[bool, float, str]:
    """Sorts the worst first: by what it costs, a notice after all that are none."""
    points = alarm.loss_points if alarm.loss_points is not None else _UNKNOWN_LOSS[alarm.severity]
    return alarm.severity == "notice", -points, alarm.alarm


def diagnosed_by_device(
    slots: Mapping[str, Envelope], alarms: Sequence[ActiveAlarm], check: Check | None
) -> Diagnosed | None:
    """The device's diagnosis of the worst alarm that stands, else its newest. ``check`` is the newest of
    the bundle that runs."""
    told = [envelope for envelope in slots.values() if isinstance(envelope.body, Diagnosis)]
    names = [one.alarm.alarm for one in alarms]

    def order(envelope: Envelope) -> tuple[bool, int, tuple[str, int]]:
        trigger = envelope.body.trigger
        place = names.index(trigger) if trigger in names else len(names)
        return _stands(envelope, slots, names, check), -place, (envelope.session, envelope.seq)

    if not told:
        return None
    first = max(told, key=order)
    return Diagnosed(
        diagnosis=first.body,
        at=first.created_at or first.sent_at,
        stands=_stands(first, slots, names, check),
    )


def _stands(
    envelope: Envelope, slots: Mapping[str, Envelope], names: Sequence[str], check: Check | None
) -> bool:
    """As long as the alarm does that it explains; one of a check until a check is well, one that was asked
    for until a later run has tested anew."""
    trigger = envelope.body.trigger
    if f"alarm:{trigger}" in slots:
        return trigger in names
    if trigger == CHECK:
        return check is not None and check.verdict != "ok"
    return envelope.session >= _tested_by(slots)
