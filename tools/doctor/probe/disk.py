"""The state directory and the outbox in it, without changing either."""

import contextlib
import os
import sqlite3
from pathlib import Path

from agent.device.vitals import disk_free_mib
from agent.telemetry.options import OutboxOptions
from tools.doctor.tree.disk import DiskFacts


def look(folder: Path, options: OutboxOptions) -> DiskFacts:
    outbox = Path(options.path) if options.path else folder / "outbox.db"
    there = _nearest(folder)
    status = _status(there)
    return DiskFacts(
        folder=str(folder),
        exists=_exists(folder),
        hidden=_hidden(folder),
        writable=os.access(there, os.W_OK | os.X_OK),
        read_only=status is not None and bool(status.f_flag & os.ST_RDONLY),
        free_mib=disk_free_mib(there),
        inodes_free=status.f_favail if status is not None and status.f_files else None,
        outbox_problem=_damage(outbox),
        set_aside=_set_aside(outbox),
        outbox_max_mib=round(options.max_bytes / 2**20, 1),
    )


def _exists(folder: Path) -> bool:
    with contextlib.suppress(OSError):
        return folder.exists()
    return True  # it may only not be looked at


def _hidden(folder: Path) -> bool:
    try:
        return _exists(folder) and not os.access(folder, os.R_OK | os.X_OK)
    except OSError:
        return True


def _nearest(folder: Path) -> Path:
    """The folder, or what exists above it."""
    while not _exists(folder) and folder != folder.parent:
        folder = folder.parent
    return folder


def _status(path: Path) -> os.statvfs_result | None:
    try:
        return os.statvfs(path)
    except OSError:
        return None


def _damage(outbox: Path) -> str:
    """What SQLite says against the file. A file that cannot be opened just now is not called damaged."""
    if not _exists(outbox):
        return ""
    try:
        with contextlib.closing(sqlite3.connect(f"file:{outbox}?mode=ro", uri=True, timeout=5)) as database:
            said = database.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.OperationalError:
        return ""
    except sqlite3.DatabaseError as error:
        return str(error)
    return "" if said == "ok" else " ".join(str(said).split())


def _set_aside(outbox: Path) -> tuple[str, ...]:
    try:
        found = outbox.parent.glob(f"{outbox.name}.damaged-*")
        return tuple(sorted(path.name for path in found if path.name.rpartition("-")[2].isdecimal()))
    except OSError:
        return ()
