"""The outbox's SQLite file: made, recognised by its application id, or put aside when damaged.

WAL with ``synchronous=FULL``: a commit that returned survives a pulled plug. The file is locked for
as long as it is open, so two agents can never share one outbox. A damaged file is renamed, not
deleted; a healthy file of another program is refused and left alone.
"""

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from agent.errors import OutboxError
from agent.telemetry.outbox_rows import COLUMNS, checksum, is_whole

APPLICATION_ID = 0x4C574F42
"""``LWOB`` in the header of the file."""
SCHEMA_VERSION = 1
KEEP_ASIDE = 3
"""Damaged databases kept for inspection; older ones are deleted, for the card is small."""

_COMPANIONS = ("-wal", "-shm", "-journal", "")
_REFUSALS = frozenset(
    (
        sqlite3.SQLITE_AUTH, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_NOLFS,
        sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_PERM, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_READONLY,
    )
)  # fmt: skip
_LAST_ID = 2**62
"""No outbox counts so far; beyond, SQLite would soon have no number left."""

# ``removed`` holds ids that were confirmed and wait for the next commit: a temporary table lives in
# memory and costs the card nothing.
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
    checksum     INTEGER,
    UNIQUE (session, seq)
)
"""
_ALL = f"SELECT {', '.join(COLUMNS)} FROM message"
_REMOVED = "CREATE TEMPORARY TABLE removed (id INTEGER PRIMARY KEY)"


def open_database(path: Path) -> sqlite3.Connection:
    """Open or make the outbox at ``path``; a damaged file is put aside first.

    Raises ForeignDatabaseError for another program's database, sqlite3.Error or OSError when
    the disk refuses.
    """
    if not path.exists():
        _make_folder(path.parent)
    try:
        return _open(path)
    except sqlite3.DatabaseError as error:
        if not is_damage(error):
            raise
        put_aside(path)
        return _open(path)


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file itself is broken, rather than the disk full, read-only or busy.

    What our few statements never meet on a whole file (no such column, a text that is no UTF-8, two
    messages of one number) is damage as well; without a code it comes from the driver.
    """
    if isinstance(error, (sqlite3.ProgrammingError, sqlite3.InterfaceError)):
        return False  # ours, not the file's
    return (getattr(error, "sqlite_errorcode", 0) & 0xFF) not in _REFUSALS


def damage(why: str) -> sqlite3.DatabaseError:
    """The error for a file that is broken in a way only we can see."""
    error = sqlite3.DatabaseError(why)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


def put_aside(path: Path) -> None:
    """Rename a damaged database to ``<name>.damaged-<n>``, its write-ahead log first.

    The log goes first so that a power cut half-way never pairs it with a new database.
    """
    number = aside_count(path) + 1
    for companion in _COMPANIONS:
        source = path.with_name(path.name + companion)
        if source.exists():
            source.rename(path.with_name(f"{path.name}.damaged-{number}{companion}"))
    _sync(path.parent)
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


def _make_folder(folder: Path) -> None:
    """Make the folder and make its name safe: SQLite syncs what is in it, but not where it lies."""
    folder.mkdir(parents=True, exist_ok=True)
    for place in folder.resolve().parents:
        _sync(place)


def _sync(folder: Path) -> None:
    """Make the names in ``folder`` safe, where this user may."""
    with contextlib.suppress(OSError):
        opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


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
        if connection.execute("PRAGMA integrity_check(1)").fetchone() != ("ok",):
            raise damage("the integrity check failed")
        with transaction(connection):
            connection.execute(_CREATE)
            _give_checksums(connection)
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version   = {SCHEMA_VERSION}")
        if not all(row[0] < _LAST_ID and is_whole(row) for row in connection.execute(_ALL)):
            raise damage("a message is not as it was written")
        connection.execute(_REMOVED)
    except BaseException:
        connection.close()
        raise
    return connection


def _give_checksums(connection: sqlite3.Connection) -> None:
    """To the messages of an agent that knew of none: one of before, or one that an upgrade fell back to."""
    columns = {row[1] for row in connection.execute("PRAGMA table_info(message)")}
    if "checksum" not in columns:
        connection.execute("ALTER TABLE message ADD COLUMN checksum INTEGER")
    connection.create_function("row_checksum", -1, lambda *values: checksum(values), deterministic=True)
    given = f"row_checksum({', '.join(COLUMNS[:-1])})"
    connection.execute(f"UPDATE message SET checksum = {given} WHERE checksum IS NULL")


def _recognise(connection: sqlite3.Connection, path: Path) -> None:
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if application != APPLICATION_ID and (application or tables):
        raise ForeignDatabaseError(
            f"outbox.path: {os.fspath(path)} is a database of another program; name another file"
        )
    if connection.execute("PRAGMA user_version").fetchone()[0] > SCHEMA_VERSION:
        raise damage("written by a newer agent")
