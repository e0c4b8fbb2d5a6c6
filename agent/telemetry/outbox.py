"""The outbox: messages are appended, peeked at and deleted once confirmed; nothing else queues.

Urgent messages are committed before ``append`` returns, together with everything that waits; the
rest is committed once per ``flush_interval_s``, because each commit costs the card 16 kB or more.
Confirmed messages disappear at once for readers and leave the disk with the next commit.

While the disk refuses, messages stay in memory (a few MiB, alarms longest), can still be read and
sent from there, and the commit is tried again. After a crash, messages that were never
committed are gone; confirmed ones may reappear, and the collector knows them again by their seq.
"""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from agent.errors import OutboxError
from agent.telemetry import outbox_rows
from agent.telemetry.outbox_database import (
    ForeignDatabaseError,
    aside_count,
    damage,
    is_damage,
    open_database,
    put_aside,
    transaction,
)
from agent.telemetry.outbox_memory import KEPT_LONGEST, Waiting
from agent.telemetry.ports import OutboxStats, Stored

FLUSH_BYTES = 1024 * 1024
"""This much waiting in memory is committed without waiting for the interval."""
MEMORY_BYTES = 4 * 1024 * 1024
"""The most kept in memory while the disk refuses."""
REMOVED_ROWS = 1000
"""This many confirmed rows are deleted without waiting for the interval."""
RETRY_S = 30.0
"""How long to leave a refusing disk alone."""

_COLUMNS = ", ".join(outbox_rows.COLUMNS)
_HELD = "id NOT IN (SELECT id FROM temp.removed)"
_INSERT = f"INSERT INTO message ({_COLUMNS}) VALUES ({', '.join('?' * len(outbox_rows.COLUMNS))})"
_PEEK = f"SELECT {_COLUMNS} FROM message WHERE id > ? AND {_HELD} ORDER BY id LIMIT ?"
_FLOOR = f"SELECT min(seq) FROM message WHERE session = ? AND {_HELD}"
_TOTAL = "SELECT count(*), coalesce(sum(size), 0), coalesce(max(id), 0) FROM message"
_OLDEST = f"SELECT id, size FROM message WHERE (kind = '{KEPT_LONGEST}') = ? AND {_HELD} ORDER BY id"


class Outbox:
    """One writer, safe to call from several threads. ``clock`` is monotonic, in seconds.

    Raises ForeignDatabaseError (an OutboxError) when ``path`` is another program's database; any
    other trouble with the disk shows in ``stats.problem``.
    """

    def __init__(
        self,
        path: Path | str,
        *,
        session: str,
        max_bytes: int,
        flush_interval_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.session = session
        self.epoch = 0
        self._path = Path(path)
        self._max_bytes = max_bytes
        self._flush_interval_s = flush_interval_s
        self._clock = clock
        self._lock = threading.RLock()
        self._database: sqlite3.Connection | None = None
        self._closed = False
        self._seq = 0
        self._committed_seq = 0
        self._last_id = 0
        self._pending = Waiting()
        self._waiting_since: float | None = None
        self._messages = 0
        self._bytes = 0
        self._removed = 0
        self._evicted = 0
        self._refusal: Exception | None = None
        self._retry_at = 0.0
        self._connected()
        if isinstance(self._refusal, ForeignDatabaseError):
            raise self._refusal

    def append(
        self,
        kind: str,
        body_json: str,
        *,
        created_at: str,
        boot_id: str,
        clock_synced: bool,
        urgent: bool,
        preprocess: str | None = None,
    ) -> int:
        """Keep one message and return its seq; an urgent one is on disk then, if the disk allows."""
        with self._lock:
            if self._closed:
                raise OutboxError("the outbox is closed: the agent is stopping")
            self._seq += 1
            self._last_id += 1
            row = Stored(
                id=self._last_id,
                session=self.session,
                seq=self._seq,
                kind=kind,
                body=body_json,
                created_at=created_at,
                created_s=float(self._clock()),
                boot_id=boot_id,
                clock_synced=clock_synced,
                preprocess=preprocess,
            )
            self._pending.add(row)
            self._wait()
            if (urgent or self._pending.bytes > FLUSH_BYTES) and not self._resting():
                self._commit()
            self._evicted += self._pending.bound(min(MEMORY_BYTES, self._max_bytes))
            return row.seq

    def peek(self, after_id: int, limit: int) -> list[Stored]:
        """The oldest messages with an id above ``after_id``; only committed ones while the disk works."""
        with self._lock:
            found = self._peek(after_id, limit)
            if self._refusal is not None:
                found += [row for row in self._pending.rows if row.id > after_id]
            return found[:limit]

    def acknowledge(self, session: str, upto: int) -> int:
        """Forget every message of ``session`` up to and including seq ``upto``; how many there were."""
        with self._lock:
            ids = [
                row[0]
                for row in self._read(
                    f"SELECT id FROM message WHERE session = ? AND seq <= ? AND {_HELD}", (session, upto)
                )
            ]
            ids += [row.id for row in self._pending.rows if row.session == session and row.seq <= upto]
            self.delete(ids)
            return len(ids)

    def delete(self, ids: Iterable[int]) -> None:
        """Forget these messages; ids that are gone already are ignored."""
        with self._lock:
            gone = set(ids)
            self._pending.forget(gone)
            if self._database is None or not gone:
                return
            for id_ in gone:
                found = self._read(f"SELECT size FROM message WHERE id = ? AND {_HELD}", (id_,))
                if found and self._database is not None:
                    self._database.execute("INSERT INTO temp.removed VALUES (?)", (id_,))
                    self._messages -= 1
                    self._bytes -= found[0][0]
                    self._removed += 1
                    self._wait()
            if self._removed > REMOVED_ROWS and self._refusal is None:
                self._commit()

    def flush(self) -> None:
        """Commit everything that waits, now."""
        with self._lock:
            if not self._closed and (self._pending.rows or self._removed):
                self._commit()

    def flush_if_due(self) -> float | None:
        """Commit when the interval is over; seconds until the next commit, None when nothing waits."""
        with self._lock:
            if self._waiting_since is None or self._closed:
                return None
            due = self._due() - self._clock()
            if due > 0:
                return due
            self._commit()
            return None if self._waiting_since is None else max(0.0, self._due() - self._clock())

    def floor(self, session: str) -> int:
        """The lowest seq of ``session`` still held; everything below will never be sent again."""
        with self._lock:
            found = self._read(_FLOOR, (session,))
            seqs = [row.seq for row in self._pending.rows if row.session == session]
            if found and found[0][0] is not None:
                seqs.append(found[0][0])
            return min(seqs, default=self._seq + 1 if session == self.session else 0)

    def close(self) -> None:
        """Commit what waits and release the file."""
        with self._lock:
            self.flush()
            self._closed = True
            self._disconnect()

    @property
    def last_id(self) -> int:
        """The id of the newest message."""
        return self._last_id

    @property
    def stats(self) -> OutboxStats:
        with self._lock:
            oldest = self._peek(0, 1) or self._pending.rows[:1]
            return OutboxStats(
                messages=self._messages + len(self._pending.rows),
                bytes=self._bytes + self._pending.bytes,
                pending=len(self._pending.rows),
                committed_seq=self._committed_seq,
                evicted=self._evicted,
                set_aside=aside_count(self._path),
                oldest=oldest[0] if oldest else None,
                problem=self._problem(),
            )

    def _commit(self) -> None:
        for _ in range(2):  # the second time on a new database, when the first proved damaged
            database = self._connected()
            if database is None or self._closed:
                return
            try:
                with transaction(database):
                    database.execute("DELETE FROM message WHERE id IN (SELECT id FROM temp.removed)")
                    database.execute("DELETE FROM temp.removed")
                    database.executemany(_INSERT, map(outbox_rows.row, self._pending.rows))
                    evicted = self._evict(database)
            except sqlite3.Error as error:
                self._failed(error)
                if not is_damage(error):
                    return
            else:
                self._committed(evicted)
                return
        self._refused(OutboxError("a new database was damaged at once"))

    def _committed(self, evicted: list[int]) -> None:
        self._messages += len(self._pending.rows) - len(evicted)
        self._bytes += self._pending.bytes - sum(evicted)
        self._evicted += len(evicted)
        self._committed_seq = self._seq
        self._pending.clear()
        self._removed = 0
        self._waiting_since, self._refusal = None, None

    def _evict(self, database: sqlite3.Connection) -> list[int]:
        """Delete the oldest rows beyond the limit, alarms last; the sizes of what went."""
        excess = self._bytes + self._pending.bytes - self._max_bytes
        evicted: list[int] = []
        for is_alarm in (False, True):
            if excess <= 0:
                break
            ids = []
            for id_, size in database.execute(_OLDEST, (is_alarm,)):
                if excess <= 0:
                    break
                ids.append((id_,))
                evicted.append(size)
                excess -= size
            database.executemany("DELETE FROM message WHERE id = ?", ids)
        return evicted

    def _connected(self) -> sqlite3.Connection | None:
        """The open database, or None when the disk refuses."""
        if self._database is None and not self._closed and not self._resting():
            try:
                self._database = open_database(self._path)
                self._adopt(self._database)
                self._refusal = None
            except (sqlite3.Error, OSError, OutboxError) as error:
                self._disconnect()
                self._refused(error)
        return self._database

    def _adopt(self, database: sqlite3.Connection) -> None:
        """Count what an opened database holds; messages in memory come after it."""
        self._messages, self._bytes, newest = database.execute(_TOTAL).fetchone()
        self._removed = 0
        first = self._pending.rows[0].id if self._pending.rows else self._last_id + 1
        if newest >= first:
            self._pending.renumber(newest)
            self._last_id += newest
            self.epoch += 1

    def _failed(self, error: sqlite3.Error) -> None:
        damaged = is_damage(error)
        if damaged or _code(error) != sqlite3.SQLITE_FULL:  # a full disk can still be read
            self._disconnect()
        if not damaged:
            self._refused(error)
            return
        try:
            put_aside(self._path)
        except OSError as refused:
            self._refused(refused)

    def _refused(self, error: Exception) -> None:
        self._refusal = error
        self._retry_at = self._clock() + RETRY_S

    def _problem(self) -> str | None:
        if self._refusal is None:
            return None
        busy = _code(self._refusal) == sqlite3.SQLITE_BUSY
        why = "another process uses it" if busy else str(self._refusal)
        return f"outbox {self._path}: {why}; messages wait in memory"

    def _disconnect(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database, self._messages, self._bytes, self._removed = None, 0, 0, 0

    def _peek(self, after_id: int, limit: int) -> list[Stored]:
        """Messages on disk, none when one of them is not as it was written."""
        rows = self._read(_PEEK, (after_id, limit))
        if not all(map(outbox_rows.is_whole, rows)):
            self._failed(damage("a message is not as it was written"))
            return []
        return list(map(outbox_rows.message, rows))

    def _read(self, sql: str, values: tuple[object, ...]) -> list[tuple[Any, ...]]:
        database = self._connected()
        if database is None:
            return []
        try:
            return database.execute(sql, values).fetchall()
        except sqlite3.Error as error:
            self._failed(error)
            return []

    def _resting(self) -> bool:
        """Whether the disk refused a moment ago and is left alone."""
        return self._refusal is not None and self._clock() < self._retry_at

    def _wait(self) -> None:
        if self._waiting_since is None:
            self._waiting_since = self._clock()

    def _due(self) -> float:
        since = self._clock() if self._waiting_since is None else self._waiting_since
        return self._retry_at if self._refusal is not None else since + self._flush_interval_s


def _code(error: Exception) -> int:
    """SQLite's primary result code, 0 for other errors."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
