"""How far each session has arrived: every message inserted once, holes counted, ``upto`` moved on.

Works inside the transaction of ``store``; the rows of the sessions are locked first, in the order
of their key, so that collectors sharing a database wait for each other and never circle.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from sqlalchemy import Connection, and_, func, select, tuple_, update

from tools.collector.admission import LARGEST, Identity
from tools.collector.database import insert
from tools.collector.tables import messages, sessions

_CHUNK = 500

Key: TypeAlias = tuple[str, str, str]
"""(site, device, session)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Numbered:
    """What a message says about its session's progress; ``seq`` 0 brings a floor only.

    ``row`` is what is inserted; ``frames`` and ``inferences`` are the session's work as told by it.
    """

    identity: Identity
    floor: int
    row: Mapping[str, Any]
    frames: int = 0
    inferences: int = 0

    @property
    def seq(self) -> int:
        return self.identity.seq

    @property
    def key(self) -> Key:
        return self.identity.site, self.identity.device, self.identity.session


@dataclass(frozen=True, kw_only=True, slots=True)
class AckDue:
    """Everything of ``session`` up to and including ``upto`` is committed, or will never come."""

    site: str
    device: str
    session: str
    upto: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Gap:
    """The seqs ``first`` to ``last`` are not here; ``lost``: nor will they come."""

    first: int
    last: int
    lost: bool


@dataclass(slots=True)
class _Session:
    """One row of ``sessions`` while its batch is counted."""

    upto: int
    highest: int
    stored: int
    duplicates: int
    lost: int
    window_frames: int
    inferences: int


def record(connection: Connection, batch: Sequence[Numbered]) -> tuple[list[bool], tuple[AckDue, ...]]:
    """Insert what is new and count it; whether each of ``batch`` was new, and what may be acknowledged."""
    telling = [message for message in batch if message.seq > 0 or message.floor > 1]
    rows = _lock(connection, {message.key for message in telling})
    unseen = _insert(connection, batch)
    new = [_take(unseen, message) for message in batch]
    floors: dict[Key, int] = {}
    arrived: set[Key] = set()
    for message, is_new in zip(batch, new, strict=True):
        if message.key not in rows:
            continue
        floors[message.key] = max(floors.get(message.key, 0), message.floor)
        if message.seq > 0:
            arrived.add(message.key)
            _count(rows[message.key], message, is_new)
    acks = []
    for key, row in rows.items():
        _advance(connection, key, row, floors[key])
        values = {name: getattr(row, name) for name in _Session.__slots__}
        connection.execute(update(sessions).where(_of(sessions, key)).values(**values))
        if key in arrived and row.upto:
            acks.append(AckDue(site=key[0], device=key[1], session=key[2], upto=row.upto))
    return new, tuple(acks)


def gaps(connection: Connection, site: str, device: str, session: str) -> tuple[Gap, ...]:
    """The holes between 1 and the highest seq heard of, in order."""
    key = (site, device, session)
    before = func.lag(messages.c.seq, 1, 0).over(order_by=messages.c.seq).label("before")
    steps = select(messages.c.seq, before).where(_of(messages, key)).subquery()
    query = select(steps.c.before, steps.c.seq).where(steps.c.seq > steps.c.before + 1).order_by(steps.c.seq)
    row = connection.execute(
        select(sessions.c.upto, sessions.c.highest).where(_of(sessions, key))
    ).one_or_none()
    if row is None:
        return ()
    holes = [(before + 1, seq - 1) for before, seq in connection.execute(query)]
    last = connection.execute(select(func.max(messages.c.seq)).where(_of(messages, key))).scalar_one() or 0
    if row.highest > last:
        holes.append((last + 1, row.highest))
    return tuple(Gap(first=a, last=b, lost=b <= row.upto) for a, b in _split(holes, row.upto))


def _lock(connection: Connection, named: Iterable[Key]) -> dict[Key, _Session]:
    """The rows of these sessions, made where missing, locked until the commit."""
    keys = sorted(named)
    found: dict[Key, _Session] = {}
    for start in range(0, len(keys), _CHUNK):
        chunk = keys[start : start + _CHUNK]
        new = [{"site": site, "device": device, "session": session} for site, device, session in chunk]
        connection.execute(insert(connection, sessions).on_conflict_do_nothing(), new)
        query = (
            select(sessions)
            .where(tuple_(sessions.c.site, sessions.c.device, sessions.c.session).in_(chunk))
            .order_by(sessions.c.site, sessions.c.device, sessions.c.session)
            .with_for_update()
        )
        for row in connection.execute(query).mappings():
            key = (row["site"], row["device"], row["session"])
            found[key] = _Session(**{name: row[name] for name in _Session.__slots__})
    return found


def _insert(connection: Connection, batch: Iterable[Numbered]) -> set[tuple[str, str, str, int]]:
    """Insert what is not there yet; the identities that were not."""
    ordered = sorted((m for m in batch if m.seq > 0), key=lambda m: (m.key, m.seq))
    if not ordered:
        return set()
    statement = (
        insert(connection, messages)
        .on_conflict_do_nothing()
        .returning(messages.c.site, messages.c.device, messages.c.session, messages.c.seq)
    )
    rows = connection.execute(statement, [dict(message.row) for message in ordered])
    return {(site, device, session, seq) for site, device, session, seq in rows}


def _take(unseen: set[tuple[str, str, str, int]], message: Numbered) -> bool:
    """Whether this is the first arrival of a new message; the second one in a batch is not."""
    identity = (*message.key, message.seq)
    if identity not in unseen:
        return False
    unseen.remove(identity)
    return True


def _count(row: _Session, message: Numbered, is_new: bool) -> None:
    if not is_new:
        row.duplicates += 1
        return
    row.stored += 1
    row.highest = max(row.highest, message.seq)
    row.lost -= message.seq <= row.upto  # given up, and here after all
    row.window_frames = min(row.window_frames + max(message.frames, 0), LARGEST)
    row.inferences = min(max(row.inferences, message.inferences), LARGEST)


def _advance(connection: Connection, key: Key, row: _Session, floor: int) -> None:
    """Move ``upto`` over what the device no longer holds, then over what lies there without a hole."""
    if floor - 1 > row.upto:
        between = and_(_of(messages, key), messages.c.seq > row.upto, messages.c.seq < floor)
        here = connection.execute(select(func.count()).select_from(messages).where(between)).scalar_one()
        row.lost += floor - 1 - row.upto - here
        row.upto = floor - 1
    row.highest = max(row.highest, row.upto)
    while row.upto < row.highest:
        ahead = and_(_of(messages, key), messages.c.seq > row.upto)
        query = select(messages.c.seq).where(ahead).order_by(messages.c.seq).limit(_CHUNK)
        seqs = connection.execute(query).scalars().all()
        joined = sum(seq == row.upto + 1 + place for place, seq in enumerate(seqs))
        row.upto += joined
        if joined < _CHUNK:
            return


def _of(table: Any, key: Key) -> Any:
    return and_(table.c.site == key[0], table.c.device == key[1], table.c.session == key[2])


def _split(holes: Iterable[tuple[int, int]], upto: int) -> Iterable[tuple[int, int]]:
    """Holes cut at ``upto``, so that each is wholly lost or wholly awaited."""
    for first, last in holes:
        if first <= upto < last:
            yield first, upto
            yield upto + 1, last
        else:
            yield first, last
