"""Opening the collector's database: SQLite (a path) or any SQLAlchemy URL, made or recognised by name.

A commit that was acknowledged must survive a pulled plug, so SQLite runs in WAL with
``synchronous=FULL``. Writing transactions take the write lock when they begin (``BEGIN IMMEDIATE``):
two collectors on one file wait for each other instead of failing half-way.
"""

from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, OperationalError

from agent.errors import InputError, MachineError
from tools.collector.tables import SCHEMA_VERSION, metadata, schema

BUSY_TIMEOUT_S = 30.0
_LOCK = 0x6C697465
"""PostgreSQL's advisory lock while the tables are made: two collectors may start at once."""


def open_database(database: str, *, create: bool) -> Engine:
    """An engine on ``database``, its tables there and of our version.

    Raises InputError when the URL cannot be used, when a database that must exist does not, or
    when it belongs to something else; MachineError when the server or the file refuses.
    """
    url = _url(database)
    shown = url.database if url.get_backend_name() == "sqlite" else url.render_as_string()
    if url.get_backend_name() == "sqlite" and not create and not Path(url.database or "").is_file():
        raise InputError(f"--db: there is no database {shown} (litewatch collect makes one)")
    try:
        engine = create_engine(url, connect_args=_connect_args(url))
    except (ImportError, NoSuchModuleError) as error:
        raise MachineError(f"--db: the driver of {url.drivername} is not installed ({error})") from None
    if url.get_backend_name() == "sqlite":
        _set_up_sqlite(engine)
    try:
        with engine.execution_options(writes=create).begin() as connection:
            _recognise(connection, shown or database, create=create)
    except DBAPIError as error:
        engine.dispose()
        told = f"--db: {shown}: {cause(error)}"
        # "file is not a database" is about what the user named; a lock or a full disk is not.
        foreign = url.get_backend_name() == "sqlite" and not isinstance(error, OperationalError)
        raise (InputError(told) if foreign else MachineError(told)) from error
    return engine


def insert(connection: Connection, table: Any) -> Any:
    """INSERT in the connection's own dialect, for ON CONFLICT."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    return dialect.insert(table)


def cause(error: DBAPIError) -> str:
    """The driver's own words, on one line."""
    return " ".join(str(error.orig).split())


def _url(database: str) -> URL:
    try:
        url = make_url(database) if "://" in database else URL.create("sqlite", database=database)
    except (ArgumentError, ValueError):
        raise InputError(
            "--db: expected a path or a URL such as postgresql+psycopg://host/litewatch"
        ) from None
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise InputError(f"--db: expected sqlite or postgresql, got {url.get_backend_name()}")
    if url.get_backend_name() == "sqlite" and url.database:
        folder = Path(url.database).parent
        if not folder.is_dir():
            raise InputError(f"--db: there is no folder {folder}")
    return url


def _connect_args(url: URL) -> dict[str, Any]:
    return {"timeout": BUSY_TIMEOUT_S} if url.get_backend_name() == "sqlite" else {}


def _set_up_sqlite(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def connected(connection: Any, _record: Any) -> None:
        # The driver would open transactions by its own rules; ours are opened in ``begun``.
        connection.isolation_level = None
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _recognise(connection: Connection, shown: str, *, create: bool) -> None:
    if create and connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    tables = inspect(connection).get_table_names()
    if schema.name not in tables:
        if tables and connection.dialect.name == "sqlite":
            raise InputError(f"--db: {shown} is a database, but not a Litewatch collector's")
        if not create:
            raise InputError(f"--db: {shown} holds no collector's tables (litewatch collect makes them)")
        metadata.create_all(connection)
        connection.execute(schema.insert().values(version=SCHEMA_VERSION))
    version = connection.execute(select(schema.c.version)).scalar_one()
    if version != SCHEMA_VERSION:
        raise InputError(
            f"--db: {shown} has tables of version {version}; this Litewatch knows {SCHEMA_VERSION}"
        )
