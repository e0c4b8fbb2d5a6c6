"""The collector's tables, in SQLAlchemy Core: SQLite in a workshop, PostgreSQL for a fleet.

Times are text in UTC, in one spelling that sorts (``admission.stamp``). JSON is text: nothing in
the database looks inside it. Whatever the fleet's report needs is kept up to date while storing,
so that a report never walks through ``messages``.
"""

from sqlalchemy import BigInteger, Boolean, Column, Integer, LargeBinary, MetaData, Table, Text

SCHEMA_VERSION = 1

metadata = MetaData()

schema = Table(
    "litewatch_collector",
    metadata,
    Column("version", Integer, primary_key=True, autoincrement=False),
)

messages = Table(
    "messages",
    metadata,
    # The identity of a message; what arrives twice is stored once. The site is part of it: a device
    # of another site may bear the same name, and could otherwise take this one's numbers.
    Column("site", Text, primary_key=True),
    Column("device", Text, primary_key=True),
    Column("session", Text, primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", Text, nullable=False),
    Column("received_at", Text, nullable=False),
    Column("created_at", Text, nullable=False),
    Column("sent_at", Text, nullable=False),
    Column("clock_synced", Boolean, nullable=False),
    Column("historical", Boolean, nullable=False),
    Column("preprocess", Text),
    Column("body", Text, nullable=False),
)

sessions = Table(
    "sessions",
    metadata,
    Column("site", Text, primary_key=True),
    Column("device", Text, primary_key=True),
    Column("session", Text, primary_key=True),
    # Everything up to here is stored, or will never come.
    Column("upto", BigInteger, nullable=False, default=0),
    Column("highest", BigInteger, nullable=False, default=0),
    Column("stored", BigInteger, nullable=False, default=0),
    Column("duplicates", BigInteger, nullable=False, default=0),
    # Of those up to ``upto``, how many this database never had.
    Column("lost", BigInteger, nullable=False, default=0),
    Column("window_frames", BigInteger, nullable=False, default=0),
    Column("inferences", BigInteger, nullable=False, default=0),
)

devices = Table(
    "devices",
    metadata,
    Column("site", Text, primary_key=True),
    Column("device", Text, primary_key=True),
    Column("last_seen", Text, nullable=False),
    Column("quarantined", BigInteger, nullable=False, default=0),
)

newest = Table(
    "newest",
    metadata,
    # One row per device and subject: its state, about, health, window, each alarm, accuracy, …
    Column("site", Text, primary_key=True),
    Column("device", Text, primary_key=True),
    Column("slot", Text, primary_key=True),
    # (session, rank) orders what competes for a slot; the later arrival wins a tie.
    Column("session", Text, nullable=False),
    Column("rank", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("received_at", Text, nullable=False),
    Column("envelope", LargeBinary, nullable=False),
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("id", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("received_at", Text, nullable=False),
    Column("topic", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    # Ids are never used again, so the largest one counts everything ever refused.
    sqlite_autoincrement=True,
)
