"""The blessed answers of the canary, kept in the state directory over restarts.

Written once for each way of computing, when it is blessed. Missing, damaged or not writable, the
canary works all the same: the device is blessed anew.
"""

import contextlib
import logging
import os
from pathlib import Path

from agent.monitor.blessings import Blessings

MOST_BYTES = 64 * 2**20

_log = logging.getLogger(__name__)


class BlessingsFile:
    """The file at ``path``; a ``canary.Store``."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> Blessings:
        try:
            with self._path.open("rb") as file:
                data = file.read(MOST_BYTES + 1)
        except FileNotFoundError:
            return Blessings()
        except OSError as error:
            _log.warning("%s cannot be read: %s", self._path.name, error.strerror)
            return Blessings()
        try:
            return Blessings.decode(data[:MOST_BYTES])
        except ValueError as error:
            _log.warning("%s is not used, the device is blessed anew: %s", self._path.name, error)
            return Blessings()

    def save(self, blessings: Blessings) -> None:
        """Whole or not at all, also when the plug is pulled."""
        new = self._path.with_name(f"{self._path.name}.new")
        try:
            with new.open("wb") as file:
                file.write(blessings.encode())
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._path)
        except OSError as error:
            _log.warning("%s not kept: %s", self._path.name, error.strerror)
            with contextlib.suppress(OSError):
                new.unlink(missing_ok=True)
