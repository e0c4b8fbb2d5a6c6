"""The fleet as a reader wants it: one value per device, made from what the store holds.

``assemble`` is pure; ``fleet`` reads the store for it.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.telemetry import wire
from agent.telemetry.messages import (
    About,
    Accuracy,
    Check,
    Commissioning,
    DeviceState,
    Drift,
    Envelope,
    Estimate,
    Health,
    PreprocessInUse,
    Reproduction,
    Stream,
    Window,
)
from tools.collector.alarms import ActiveAlarm, Diagnosed, active_alarms, diagnosed_by_device
from tools.collector.cause import Finding, find_cause
from tools.collector.current import Current, current_accuracy, reference_of
from tools.collector.machine import troubles
from tools.collector.store import Store
from tools.collector.tables import devices, newest, sessions

_BESIDE = ("check", "diagnosis")
"""Sent beside the agent, from sessions of their own: they say nothing of what the agent runs with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Device:
    """One device of one site. None: it has not said (yet).

    ``model`` is the bundle's name, ``preprocess`` the training team's version of the spec,
    ``differs`` the steps a forced override changed. ``frames`` counts over all sessions.
    ``accuracy`` is from labels, ``estimate``, ``commissioning`` and ``stream`` are those of the newest
    window; ``alarms`` come worst first, by estimated loss. ``troubles`` are those of the machine.
    ``lost`` messages will not come any more, ``awaited`` ones may.
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
    estimate: Estimate | None
    current: Current
    drift: Drift | None
    alarms: tuple[ActiveAlarm, ...]
    diagnosed: Diagnosed | None
    finding: Finding
    commissioning: Commissioning | None
    stream: Stream | None
    health: Health | None
    troubles: tuple[str, ...]
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
    window = _body(slots, "window", Window)
    accuracy = slots["accuracy"].body.accuracy if "accuracy" in slots else None
    estimate = window.estimate if window else None
    drift = _furthest(slots["drift"].body.drift) if "drift" in slots else None
    alarms = active_alarms(slots)
    reference = reference_of(accuracy, about)
    used = _preprocess_in_use(
        envelope for slot, envelope in slots.items() if slot.partition(":")[0] not in _BESIDE
    )
    check = _check(slots, about)
    diagnosed = diagnosed_by_device(slots, alarms, check.body if check else None)
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
        estimate=estimate,
        current=current_accuracy(accuracy, reference, estimate),
        drift=drift,
        alarms=alarms,
        diagnosed=diagnosed,
        finding=find_cause(
            differs=differs,
            about=about,
            alarms=tuple(active.alarm for active in alarms),
            accuracy=accuracy,
            reference=reference,
            check=check.body if check else None,
            checked_at=(check.created_at or check.sent_at) if check else "",
            estimate=estimate,
            diagnosis=diagnosed.diagnosis if diagnosed and diagnosed.stands else None,
        ),
        commissioning=window.commissioning if window else None,
        stream=window.stream if window else None,
        health=health,
        troubles=troubles(health, configured=about.delegate if about else ""),
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
