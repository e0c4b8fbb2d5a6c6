"""The fleet as a reader wants it: one value per device, made from what the store holds.

``assemble`` is pure; ``fleet`` reads the store for it. An alarm counts until it is cleared, or
until a later run of the agent has tested anew (which would have raised it again).
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.telemetry import wire
from agent.telemetry.messages import (
    About,
    Accuracy,
    Alarm,
    Check,
    DeviceState,
    Drift,
    Envelope,
    Health,
    PreprocessInUse,
    Reproduction,
)
from tools.collector.cause import Finding, find_cause
from tools.collector.store import Store
from tools.collector.tables import devices, newest, sessions

SEVERITIES = ("critical", "warning", "notice")
_BESIDE = ("check", "diagnosis")
"""Sent beside the agent, from sessions of their own: they say nothing of what the agent runs with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ActiveAlarm:
    """Raised and not cleared; ``since`` is UTC in RFC 3339."""

    alarm: Alarm
    since: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """One device of one site. None: it has not said (yet).

    ``model`` is the bundle's name, ``preprocess`` the training team's version of the spec,
    ``differs`` the steps a forced override changed. ``frames`` counts over all sessions.
    ``loss_points`` is reference minus measured accuracy, in points of 100. ``lost`` messages will
    not come any more, ``awaited`` ones may.
    """

    site: str
    device: str
    state: DeviceState | None
    problems: tuple[str, ...]
    last_seen: str
    model: str | None
    preprocess: str | None
    fingerprint: str | None
    differs: tuple[str, ...]
    reproduction: Reproduction | None
    frames: int
    accuracy: Accuracy | None
    loss_points: float | None
    drift: Drift | None
    alarms: tuple[ActiveAlarm, ...]
    finding: Finding
    lost: int
    awaited: int
    evicted: int
    quarantined: int


def fleet(store: Store) -> tuple[Device, ...]:
    """Every device the store has heard of, by site and name."""
    slots: dict[tuple[str, str], dict[str, Envelope]] = defaultdict(dict)
    for row in store.rows(newest):
        slots[row.site, row.device][row.slot] = wire.decode(row.envelope, kind=row.kind)
    runs: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for row in store.rows(sessions):
        runs[row.site, row.device].append(row)
    return tuple(
        assemble(row, slots[row.site, row.device], runs[row.site, row.device]) for row in store.rows(devices)
    )


def assemble(row: Any, slots: Mapping[str, Envelope], runs: Sequence[Any]) -> Device:
    """One device from its row of ``devices``, its newest envelopes by slot, its rows of ``sessions``."""
    about = _body(slots, "about", About)
    health = _body(slots, "health", Health)
    state = slots["state"].body if "state" in slots else None
    accuracy = slots["accuracy"].body.accuracy if "accuracy" in slots else None
    drift = _furthest(slots["drift"].body.drift) if "drift" in slots else None
    alarms = _active(slots)
    reference = _reference(accuracy, about)
    used = _preprocess_in_use(envelope for slot, envelope in slots.items() if slot not in _BESIDE)
    check = _check(slots, about)
    differs = used.differs if used else ()
    return Device(
        site=row.site,
        device=row.device,
        state=state.state if state else None,
        problems=state.problems if state else (),
        last_seen=row.last_seen,
        model=about.bundle if about else None,
        preprocess=about.preprocess_version if about else None,
        fingerprint=used.fingerprint if used else about.fingerprint if about else None,
        differs=differs,
        reproduction=about.reproduction if about else None,
        frames=sum(max(run.window_frames, run.inferences) for run in runs),
        accuracy=accuracy,
        loss_points=_loss_points(accuracy, reference),
        drift=drift,
        alarms=alarms,
        finding=find_cause(
            differs=differs,
            about=about,
            alarms=tuple(active.alarm for active in alarms),
            accuracy=accuracy,
            reference=reference,
            check=check.body if check else None,
            checked_at=(check.created_at or check.sent_at) if check else "",
        ),
        lost=sum(run.lost for run in runs),
        awaited=sum(run.highest - run.stored - run.lost for run in runs),
        evicted=health.outbox_evicted if health else 0,
        quarantined=row.quarantined,
    )


def _body(slots: Mapping[str, Envelope], slot: str, cls: type[Any]) -> Any:
    return slots[slot].body if slot in slots and isinstance(slots[slot].body, cls) else None


def _check(slots: Mapping[str, Envelope], about: About | None) -> Envelope | None:
    """The newest check, unless another preprocessing than its bundle's runs by now."""
    found = slots.get("check")
    if found is None or not isinstance(found.body, Check):
        return None
    of = found.preprocess.fingerprint if found.preprocess else None
    return found if about is None or of in (None, about.fingerprint) else None


def _preprocess_in_use(envelopes: Iterable[Envelope]) -> PreprocessInUse | None:
    """Of the newest session; within one it cannot change."""
    told = [envelope for envelope in envelopes if envelope.preprocess is not None]
    return max(told, key=lambda envelope: envelope.session).preprocess if told else None


def _furthest(scores: Iterable[Drift]) -> Drift:
    """The detector that lies furthest below its own alpha."""
    return min(scores, key=lambda score: score.p / score.alpha if score.alpha else score.p)


def _active(slots: Mapping[str, Envelope]) -> tuple[ActiveAlarm, ...]:
    tested = slots["drift"].session if "drift" in slots else ""
    found = [
        ActiveAlarm(alarm=envelope.body, since=envelope.created_at or envelope.sent_at)
        for envelope in slots.values()
        if isinstance(envelope.body, Alarm)
        and envelope.body.status == "raised"
        and envelope.session >= tested
    ]
    return tuple(sorted(found, key=lambda one: (SEVERITIES.index(one.alarm.severity), one.alarm.alarm)))


def _reference(accuracy: Accuracy | None, about: About | None) -> float | None:
    if accuracy is not None and accuracy.reference is not None:
        return accuracy.reference
    return about.reference_accuracy if about else None


def _loss_points(accuracy: Accuracy | None, reference: float | None) -> float | None:
    if accuracy is None or accuracy.accuracy is None or reference is None:
        return None
    return 100 * (reference - accuracy.accuracy)
