"""Databases for the collector's tests: SQLite, and a PostgreSQL server of the test's own."""

import getpass
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from broker import free_port

# An environment for the device alone has no SQLAlchemy.
pytest.importorskip("sqlalchemy", reason="skipped: no SQLAlchemy (extra collector)")


def postgres_binaries() -> Path | None:
    """Where initdb and pg_ctl lie, on this machine."""
    found = shutil.which("pg_ctl")
    if found:
        return Path(found).parent
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
    return installed[-1].parent if installed else None


@contextmanager
def postgres() -> Iterator[str]:
    """The URL of an empty database on a server that ends with the block; skips where there is none."""
    binaries = postgres_binaries()
    if binaries is None:
        pytest.skip("skipped: no PostgreSQL server")
    if importlib.util.find_spec("psycopg") is None:
        pytest.skip("skipped: no PostgreSQL driver (psycopg)")
    # initdb refuses to run as root.
    owner = "postgres" if os.geteuid() == 0 else getpass.getuser()
    if os.geteuid() == 0 and not any(entry.pw_name == owner for entry in pwd.getpwall()):
        pytest.skip("skipped: no PostgreSQL server (run as root, and there is no user postgres)")
    become = ["setpriv", f"--reuid={owner}", f"--regid={owner}", "--init-groups"] if os.geteuid() == 0 else []
    folder = Path(tempfile.mkdtemp(prefix="litewatch-pg-"))
    if become:
        shutil.chown(folder, owner, owner)
    port = free_port()
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
    control = [*become, str(binaries / "pg_ctl"), "-D", str(folder / "data"), "-w"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "check": True, "cwd": str(folder)}
    try:
        subprocess.run([*control, "initdb", "-o", "-A trust -U litewatch --no-sync"], **quiet)
        subprocess.run([*control, "-l", str(folder / "log"), "-o", options, "start"], **quiet)
        try:
            yield f"postgresql+psycopg://litewatch@127.0.0.1:{port}/postgres"
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], **quiet)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
