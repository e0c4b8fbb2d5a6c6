"""The last session of this device, kept in its state directory, so that the next one sorts after it.

The file helps the order of sessions and nothing else: missing, damaged or not writable, the agent
runs all the same, with a session that follows the clock alone.
"""

import contextlib
import logging
import os
import time
from pathlib import Path

from agent.telemetry.identity import next_session

_UUID_CHARS = 36

_log = logging.getLogger(__name__)


def remembered_session(path: Path) -> str:
    """The identity of a run that begins now, later than the one in ``path``, which it replaces there."""
    session = next_session(time.time_ns() // 1_000_000, _read(path), os.urandom(10))
    try:
        _write(path, session)
    except OSError as error:
        _log.warning("%s: the session cannot be remembered (%s)", path, error.strerror or error)
    return session


def _read(path: Path) -> str | None:
    try:
        with path.open(encoding="ascii") as file:
            return file.read(_UUID_CHARS)
    except (OSError, ValueError):
        return None


def _write(path: Path, session: str) -> None:
    """Whole or not at all, also when the plug is pulled."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.new")
    try:
        with new.open("w", encoding="ascii") as file:
            file.write(f"{session}\n")
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            new.unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
