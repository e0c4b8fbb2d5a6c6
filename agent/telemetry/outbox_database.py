"""The outbox's SQLite file: made, recognised by its application id, or put aside when damaged.

WAL with ``synchronous=FULL``: a commit that returned survives a pulled plug. The file is locked for
as long as it is open, so two agents can never share one outbox. A damaged file is renamed, not
deleted; a healthy file of another program is refused and left alone.
"""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.errors import OutboxError

APPLICATION_ID = 0x4C574F42
"""``LWOB`` in the header of the file."""
SCHEMA_VERSION = 1
KEEP_ASIDE = 3
"""Damaged databases kept for inspection; older ones are deleted, for the card is small."""

_COMPANIONS = ("-wal", "-shm", "-journal", "")
_DAMAGE = frozenset((sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB))

# ``size`` is what a row counts against max_bytes. ``removed`` holds ids that were confirmed and
# wait for the next commit: a temporary table lives in memory and costs the card nothing.
_CREATE = """
CREATE TABLE IF NOT EXISTS message (
    id           INTEGER PRIMARY KEY,
    session      TEXT    NOT NULL,
    seq          INTEGER NOT NULL,
    kind         TEXT    NOT NULL,
    body         TEXT    NOT NULL,
    created_at   TEXT    NOT NULL,
    created_s    REAL    NOT NULL,
    boot_id      TEXT    NOT NULL,
    clock_synced INTEGER NOT NULL,
    preprocess   TEXT,
    size         INTEGER NOT NULL,
    UNIQUE (session, seq)
)
"""
_REMOVED = "CREATE TEMPORARY TABLE removed (id INTEGER PRIMARY KEY)"


def open_database(path: Path) -> sqlite3.Connection:
    """Open or make the outbox at ``path``; a damaged file is put aside first.

    Raises ForeignDatabaseError for another program's database, sqlite3.Error or OSError when
    the disk refuses.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        return _open(path)
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        put_aside(path)
        return _open(path)


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file itself is broken, rather than the disk full, read-only or busy."""
    return (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _DAMAGE


def put_aside(path: Path) -> None:
    """Rename a damaged database to ``<name>.damaged-<n>``, its write-ahead log first.

    The log goes first so that a power cut half-way never pairs it with a new database.
    """
    number = aside_count(path) + 1
    for companion in _COMPANIONS:
        source = path.with_name(path.name + companion)
        if source.exists():
            source.rename(path.with_name(f"{path.name}.damaged-{number}{companion}"))
    for companion in _COMPANIONS:
        path.with_name(f"{path.name}.damaged-{number - KEEP_ASIDE}{companion}").unlink(missing_ok=True)


def aside_count(path: Path) -> int:
    """How many databases were put aside at ``path`` so far, the deleted ones included."""
    numbers = (name.suffix.removeprefix(".damaged-") for name in path.parent.glob(f"{path.name}.damaged-*"))
    return max((int(number) for number in numbers if number.isdecimal()), default=0)


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """All or nothing; the write lock is taken at the beginning."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


class ForeignDatabaseError(OutboxError):
    """The path names a healthy database of another program."""


def _open(path: Path) -> sqlite3.Connection:
    # One connection shared by threads; the outbox's own lock keeps them apart.
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=0.5)
    try:
        _recognise(connection, path)
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        # Small pages: a commit of a 1 kB message writes 12 kB to the card instead of 26.
        connection.execute("PRAGMA page_size    = 1024")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous  = FULL")
        connection.execute("PRAGMA temp_store   = MEMORY")
        connection.execute("PRAGMA wal_autocheckpoint = 4000")
        if connection.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
            raise _damaged("the quick check failed")
        with transaction(connection):
            connection.execute(_CREATE)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version   = {SCHEMA_VERSION}")
        connection.execute(_REMOVED)
    except BaseException:
        connection.close()
        raise
    return connection


def _recognise(connection: sqlite3.Connection, path: Path) -> None:
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if application != APPLICATION_ID and (application or tables):
        raise ForeignDatabaseError(
            f"outbox.path: {os.fspath(path)} is a database of another program; name another file"
        )
    if connection.execute("PRAGMA user_version").fetchone()[0] > SCHEMA_VERSION:
        raise _damaged("written by a newer agent")


def _damaged(why: str) -> sqlite3.DatabaseError:
    error = sqlite3.DatabaseError(why)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error
