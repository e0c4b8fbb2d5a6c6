"""The newest of everything the report needs, kept up to date in the transaction of ``store``.

A *slot* is one subject of one device: its state, its about, each alarm by name, the newest
accuracy. Envelopes compete for a slot by (session, rank), so that a Will that was delivered late,
or a backlog sent after a reboot, never overrules what came from a newer session.
"""

import json
from collections.abc import Iterable

from sqlalchemy import Connection, and_, or_

from agent.telemetry import wire
from agent.telemetry.messages import UNSEQUENCED, Alarm, Diagnosis, State, Window
from tools.collector.admission import Accepted, utc
from tools.collector.database import insert
from tools.collector.tables import devices, newest


def upsert_newest(connection: Connection, current: Iterable[Accepted]) -> None:
    """Keep the newest of each slot, by (session, rank), the later arrival winning a tie."""
    winners: dict[tuple[str, str, str], tuple[tuple[str, int], Accepted]] = {}
    for message in current:
        envelope = message.envelope
        for slot, rank in _slots(message):
            place, order = (envelope.site, envelope.device, slot), (envelope.session, rank)
            if place not in winners or order >= winners[place][0]:
                winners[place] = (order, message)
    if not winners:
        return
    rows = [
        {
            **dict(zip(("site", "device", "slot"), place, strict=True)),
            "session": session,
            "rank": rank,
            "kind": message.kind,
            "received_at": message.received_at,
            "envelope": wire.encode_around(message.envelope, _kept(message)),
        }
        for place, ((session, rank), message) in sorted(winners.items(), key=lambda item: item[0])
    ]
    statement = insert(connection, newest)
    offered = statement.excluded
    statement = statement.on_conflict_do_update(
        index_elements=[newest.c.site, newest.c.device, newest.c.slot],
        set_={name: offered[name] for name in ("session", "rank", "kind", "received_at", "envelope")},
        where=or_(
            offered.session > newest.c.session,
            and_(offered.session == newest.c.session, offered.rank >= newest.c.rank),
        ),
    )
    connection.execute(statement, rows)


def _kept(message: Accepted) -> str:
    """The body as it came; of a window all but its features, which are the bulk of it."""
    if not isinstance(message.envelope.body, Window):
        return message.body
    return wire.compact(json.loads(message.body) | {"features": []})


def _slots(message: Accepted) -> list[tuple[str, int]]:
    """The slots a message competes for, and its rank there."""
    envelope, body = message.envelope, message.envelope.body
    if isinstance(body, State):
        # Within a connection: a Will is the last word; a birth is in order, a numbered copy may be late.
        certainty = 2 if body.state == "lost" else 1 if envelope.seq == UNSEQUENCED else 0
        return [("state", 3 * body.connection + certainty)]
    if isinstance(body, Alarm):
        return [(f"alarm:{body.alarm}", envelope.seq)]
    if isinstance(body, Window):
        # A window without labels or without a test due says nothing new about either; its estimate
        # is that of now, also where it abstains.
        named = (("window", True), ("accuracy", body.accuracy), ("drift", body.drift))
        return [(slot, envelope.seq) for slot, value in named if value]
    if isinstance(body, Diagnosis):
        return [(f"diagnosis:{body.trigger}", envelope.seq)]
    if message.kind in ("about", "health", "check"):
        return [(message.kind, envelope.seq)]
    return []


def upsert_devices(connection: Connection, accepted: Iterable[Accepted]) -> None:
    """When each device was last heard. A Will or a retained message is no sign of life by itself."""
    seen: dict[tuple[str, str], str] = {}
    first: dict[tuple[str, str], str] = {}
    for message in accepted:
        envelope = message.envelope
        key = (envelope.site, envelope.device)
        if message.replayed or (isinstance(envelope.body, State) and envelope.body.state == "lost"):
            first[key] = min(utc(envelope.sent_at), message.received_at)
        else:
            seen[key] = max(seen.get(key, ""), message.received_at)
    statement = insert(connection, devices)
    if first:
        rows = [{"site": s, "device": d, "last_seen": at} for (s, d), at in sorted(first.items())]
        connection.execute(statement.on_conflict_do_nothing(), rows)
    if seen:
        rows = [{"site": s, "device": d, "last_seen": at} for (s, d), at in sorted(seen.items())]
        later = statement.on_conflict_do_update(
            index_elements=[devices.c.site, devices.c.device],
            set_={"last_seen": statement.excluded.last_seen},
            where=statement.excluded.last_seen > devices.c.last_seen,
        )
        connection.execute(later, rows)
