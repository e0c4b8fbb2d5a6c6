"""Which payloads enter the store. Pure: a topic and its bytes in, a verdict out; it never raises.

The broker's access rules bind a device to its *topic*; nothing binds it to what it writes *inside*
an envelope. So an envelope is admitted only when it names the device and site of its own topic:
a device cannot speak as another.

A refused payload that still says which message it is (and is of a schema we read) is *settled*: it
can never become readable, so the device need not keep it. One of a newer schema is not: the device
holds it until the collector is updated.

Not done here: deciding whether a message was seen before (``store``).
"""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from agent.errors import WireError
from agent.telemetry import wire
from agent.telemetry.messages import KINDS, TOPIC_ROOT, Alarm, Envelope, State, schema_name

HEAD_BYTES = 4096
"""How much of a refused payload is kept."""
LARGEST = 2**60
"""No count of messages or connections reaches this; both databases can add to it."""
NAME_CHARS = 128

_TOPIC = re.compile(rf"{re.escape(TOPIC_ROOT)}/([^/]+)/([^/]+)/([^/]+)")
_UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """Which message of which device."""

    site: str
    device: str
    session: str
    seq: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Accepted:
    """A message fit for the store. ``replayed``: the broker had retained it, it was not sent now.

    ``body`` is the body's JSON as it came, with whatever a newer writer added to it.
    """

    kind: str
    envelope: Envelope
    body: str
    received_at: str
    replayed: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Refused:
    """A payload for the quarantine. ``head`` holds its first ``HEAD_BYTES`` of ``size`` bytes.

    ``settles`` is the message it was meant to be, where that is known for certain.
    """

    topic: str
    reason: str
    size: int
    head: bytes
    received_at: str
    settles: Identity | None = None


def admit(
    topic: str, payload: bytes, *, received_at: str, replayed: bool = False
) -> Accepted | Refused | None:
    """Judge one payload. None: nothing of ours to keep (labels, commands, acks, cleared retained state)."""
    place = _TOPIC.fullmatch(topic)
    kind = place[3] if place else ""
    if kind in KINDS and (KINDS[kind].inbound or (not payload and KINDS[kind].retained)):
        return None
    try:
        if place is None:
            raise WireError(f"topic: expected {TOPIC_ROOT}/<site>/<device>/<kind>")
        if kind not in KINDS:
            raise WireError(f"topic: unknown kind {kind[:40]!r} (known: {', '.join(KINDS)})")
        envelope = wire.decode(payload, kind=kind)
        problems = _problems(envelope, site=place[1], device=place[2])
        if problems:
            raise WireError(*problems)
        body = wire.compact(_fields(payload)["body"])
    except WireError as error:
        reason = "; ".join(error.problems)
        settles = _identity(payload, site=place[1], device=place[2], kind=kind) if place else None
        return refuse(topic, payload, reason, received_at=received_at, settles=settles)
    except Exception as error:
        # A defect of ours, or no memory left: one payload must not stop the collector, and nobody
        # has found anything wrong with it, so the device keeps it.
        return refuse(topic, payload, f"could not be judged: {error!r}", received_at=received_at)
    return Accepted(kind=kind, envelope=envelope, body=body, received_at=received_at, replayed=replayed)


def refuse(
    topic: str, payload: bytes, reason: str, *, received_at: str, settles: Identity | None = None
) -> Refused:
    """Put a payload aside with the reason, in text that every database can hold."""
    return Refused(
        topic=_storable(topic)[:1024],
        reason=_storable(reason)[:1024],
        size=len(payload),
        head=payload[:HEAD_BYTES],
        received_at=received_at,
        settles=settles,
    )


def utc(text: str) -> str:
    """An RFC 3339 time in the one spelling that sorts as text."""
    return stamp(datetime.fromisoformat(text))


def stamp(moment: datetime) -> str:
    """``2026-01-01T00:00:00.000000Z``."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _problems(envelope: Envelope, *, site: str, device: str) -> list[str]:
    body = envelope.body
    found = [
        f"{name}: the envelope says {written!r}, its topic {level[:80]!r}"
        for name, written, level in (("site", envelope.site, site), ("device", envelope.device, device))
        if written != level
    ]
    if not _UUID7.fullmatch(envelope.session):
        found.append(f"session: expected a UUID of version 7, got {envelope.session!r}")
    numbers = {"seq": envelope.seq, "floor": envelope.floor}
    if isinstance(body, State):
        numbers["body.connection"] = body.connection
    found += [
        f"{name}: expected 0 to 2^60, got {value}"
        for name, value in numbers.items()
        if not 0 <= value < LARGEST
    ]
    try:
        for moment in (envelope.sent_at, envelope.created_at or envelope.sent_at):
            utc(moment)
    except (ValueError, OverflowError):
        found.append("sent_at, created_at: expected times within the years 1 to 9999")
    if isinstance(body, Alarm) and len(body.alarm) > NAME_CHARS:
        found.append(f"body.alarm: at most {NAME_CHARS} characters, got {len(body.alarm)}")
    return found


def _identity(payload: bytes, *, site: str, device: str, kind: str) -> Identity | None:
    fields = _fields(payload)
    if fields.get("site") != site or fields.get("device") != device:
        return None
    session, seq = fields.get("session"), fields.get("seq")
    if kind not in KINDS or fields.get("schema") != schema_name(kind):
        return None
    if not isinstance(session, str) or not _UUID7.fullmatch(session):
        return None
    if (
        type(seq) is not int
        or not 0 < seq < LARGEST
        or site != _storable(site)
        or device != _storable(device)
    ):
        return None
    return Identity(site=site, device=device, session=session, seq=seq)


def _fields(payload: bytes) -> dict[str, Any]:
    if len(payload) > wire.MAX_BYTES:
        return {}
    try:
        fields = json.loads(payload.decode())
    except (ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


def _storable(text: str) -> str:
    """``text`` without what a database refuses: lone surrogates and the null character."""
    return text.encode("utf-8", "replace").decode().replace("\0", "\N{REPLACEMENT CHARACTER}")
