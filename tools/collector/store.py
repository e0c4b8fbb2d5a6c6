"""What the collector knows: one transaction per batch, every message once, and how far each session is.

``upto`` of a session is the largest seq such that everything up to it is stored or will never
come: the device says in each envelope's ``floor`` what it still holds, so whatever lies below and
was never seen is lost (evicted on the device, or delivered to another database), counted, and no
longer waited for. A receipt's acks are true only because they are handed out after the commit.

Any number of stores may work on one database: the row of a session is locked before its messages
are counted, always in the same order.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

from sqlalchemy import Connection, and_, delete, func, select, update
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError

from agent.errors import MachineError, WireError
from agent.telemetry import wire
from agent.telemetry.messages import UNSEQUENCED, Envelope, Health, Window, topic
from tools.collector.admission import HEAD_BYTES, Accepted, Identity, Refused, refuse, utc
from tools.collector.database import cause, open_database
from tools.collector.latest import upsert_devices, upsert_newest
from tools.collector.progress import AckDue, Gap, Numbered, gaps, record
from tools.collector.tables import devices, quarantine

QUARANTINE_ROWS = 1000

Arrival: TypeAlias = Accepted | Refused


@dataclass(frozen=True, kw_only=True, slots=True)
class Receipt:
    """What one committed batch did. ``stored``: what was never seen before, and births, in their order."""

    acks: tuple[AckDue, ...]
    stored: tuple[Accepted, ...]
    duplicates: int
    refused: tuple[Refused, ...]


class Store:
    """The collector's database: a path (SQLite) or a SQLAlchemy URL.

    Raises InputError or MachineError when it cannot be opened; see ``database.open_database``.
    """

    def __init__(self, database: str, *, create: bool = True, quarantine_rows: int = QUARANTINE_ROWS) -> None:
        self._engine = open_database(database, create=create)
        self._writes = self._engine.execution_options(writes=True)
        self._quarantine_rows = quarantine_rows

    def close(self) -> None:
        self._engine.dispose()

    def ingest(self, batch: Sequence[Arrival]) -> Receipt:
        """Store a batch in one transaction; return what to acknowledge, after the commit.

        A message the database cannot hold is quarantined and the rest stored. Raises MachineError
        when the database itself refuses (locked, disk full, server away): nothing was stored.
        """
        try:
            return self._ingest(batch)
        except (OperationalError, InterfaceError) as error:
            raise MachineError(f"the database refused a batch: {cause(error)}") from error
        except (SQLAlchemyError, WireError, ValueError, OverflowError) as error:
            if len(batch) > 1:
                return _joined([self.ingest([arrival]) for arrival in batch])
            if isinstance(batch[0], Refused):
                raise MachineError(f"the database refused a quarantined payload: {error}") from error
            return self.ingest([_unstorable(batch[0], error)])

    def gaps(self, site: str, device: str, session: str) -> tuple[Gap, ...]:
        """The holes between 1 and the highest seq heard of, in order."""
        with self._engine.begin() as connection:
            return gaps(connection, site, device, session)

    def rows(self, table: Any) -> list[Any]:
        """All rows of one of the small tables, in the order of its key."""
        with self._engine.begin() as connection:
            return list(connection.execute(select(table).order_by(*table.primary_key.columns)))

    def _ingest(self, batch: Sequence[Arrival]) -> Receipt:
        named = [arrival for arrival in batch if isinstance(arrival, Accepted) or arrival.settles]
        with self._writes.begin() as connection:
            new, acks = record(connection, [_numbered(arrival) for arrival in named])
            # What was stored before must not overrule what came since; births are never "before".
            verdicts = iter(new)
            fresh = [
                arrival
                for arrival in batch
                if (isinstance(arrival, Refused) and not arrival.settles)
                or next(verdicts)
                or _is_birth(arrival)
            ]
            stored = tuple(arrival for arrival in fresh if isinstance(arrival, Accepted))
            refused = tuple(arrival for arrival in fresh if isinstance(arrival, Refused))
            upsert_newest(connection, stored)
            upsert_devices(connection, [arrival for arrival in named if isinstance(arrival, Accepted)])
            self._quarantine(connection, refused)
        return Receipt(acks=acks, stored=stored, duplicates=len(batch) - len(fresh), refused=refused)

    def _quarantine(self, connection: Connection, refused: Sequence[Refused]) -> None:
        if not refused:
            return
        rows = [
            {
                "received_at": one.received_at,
                "topic": one.topic,
                "reason": one.reason,
                "size": one.size,
                "payload": one.head[:HEAD_BYTES],
            }
            for one in refused
        ]
        connection.execute(quarantine.insert(), rows)
        newest_id = connection.execute(select(func.max(quarantine.c.id))).scalar_one()
        connection.execute(delete(quarantine).where(quarantine.c.id <= newest_id - self._quarantine_rows))
        for one in refused:
            _, _, site, device = [*one.topic.split("/"), "", "", "", ""][:4]
            known = and_(devices.c.site == site, devices.c.device == device)
            connection.execute(update(devices).where(known).values(quarantined=devices.c.quarantined + 1))


def _is_birth(arrival: Arrival) -> bool:
    """Published outside the outbox: never deduplicated, whatever was seen before."""
    return isinstance(arrival, Accepted) and arrival.envelope.seq == UNSEQUENCED


def _numbered(arrival: Arrival) -> Numbered:
    """The arrival as its session counts it."""
    return _numbered_message(arrival) if isinstance(arrival, Accepted) else _placeholder(arrival)


def _numbered_message(message: Accepted) -> Numbered:
    envelope, body = message.envelope, message.envelope.body
    identity = _identity(envelope)
    row = asdict(identity) | {
        "kind": message.kind,
        "received_at": message.received_at,
        "created_at": utc(envelope.created_at or envelope.sent_at),
        "sent_at": utc(envelope.sent_at),
        "clock_synced": envelope.clock_synced,
        "historical": envelope.historical,
        "preprocess": envelope.preprocess and json.dumps(asdict(envelope.preprocess)),
        "body": message.body,
    }
    return Numbered(
        identity=identity,
        floor=envelope.floor,
        row=row,
        frames=body.frames if isinstance(body, Window) else 0,
        inferences=body.inferences if isinstance(body, Health) else 0,
    )


def _identity(envelope: Envelope) -> Identity:
    return Identity(site=envelope.site, device=envelope.device, session=envelope.session, seq=envelope.seq)


def _placeholder(refused: Refused) -> Numbered:
    """A settled refusal takes its number among the messages, so that nobody waits for it."""
    assert refused.settles is not None
    row = asdict(refused.settles) | {
        "kind": "refused",
        "received_at": refused.received_at,
        "created_at": refused.received_at,
        "sent_at": refused.received_at,
        "clock_synced": False,
        "historical": False,
        "preprocess": None,
        "body": json.dumps({"topic": refused.topic, "reason": refused.reason}),
    }
    return Numbered(identity=refused.settles, floor=0, row=row)


def _unstorable(message: Accepted, error: Exception) -> Refused:
    told = str(error.orig) if isinstance(error, DBAPIError) else str(error)
    envelope = message.envelope
    return refuse(
        topic(envelope.site, envelope.device, message.kind),
        wire.encode_around(envelope, message.body),
        f"the database cannot hold it: {told}",
        received_at=message.received_at,
        settles=_identity(envelope) if envelope.seq else None,
    )


def _joined(receipts: Sequence[Receipt]) -> Receipt:
    acks = {(ack.site, ack.device, ack.session): ack for receipt in receipts for ack in receipt.acks}
    return Receipt(
        acks=tuple(acks.values()),
        stored=tuple(message for receipt in receipts for message in receipt.stored),
        duplicates=sum(receipt.duplicates for receipt in receipts),
        refused=tuple(one for receipt in receipts for one in receipt.refused),
    )
