"""Unix sockets by their path: one listener for each, only for its own user, and paths of any length."""

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from agent.errors import MachineError

LONGEST_PATH = 100
"""Bytes; the kernel takes 107."""
WAITING = 16


class NotServedError(MachineError):
    """Nobody listens there."""


def listen(path: Path) -> socket.socket:
    """A listener at ``path`` that only this user and root may connect to; a socket that a dead process
    left behind is replaced. Raises MachineError."""
    with contextlib.suppress(NotServedError):
        connect(path, timeout_s=1.0).close()
        raise MachineError(f"{path}: another agent listens here")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        os.fchmod(listener.fileno(), 0o600)  # before it has a name: nobody may slip in
        with _short(path) as address:
            path.unlink(missing_ok=True)
            listener.bind(address)
        listener.listen(WAITING)
    except OSError as error:
        listener.close()
        raise MachineError(f"{path}: cannot listen: {error.strerror}") from None
    return listener


def connect(path: Path, *, timeout_s: float) -> socket.socket:
    """A connection to whoever listens at ``path``. Raises NotServedError, or MachineError when this user
    may not, or nobody answers in time."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(timeout_s)
    try:
        with _short(path) as address:
            connection.connect(address)
    except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
        connection.close()
        raise NotServedError(f"{path}: no agent listens here") from None
    except PermissionError:
        connection.close()
        raise MachineError(f"{path}: permission denied: only root and the agent's own user may") from None
    except OSError as error:
        connection.close()
        raise MachineError(f"{path}: {error.strerror or 'no answer'}") from None
    return connection


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    """A name of ``path`` that fits into a socket address."""
    if len(os.fsencode(path)) <= LONGEST_PATH:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
