"""The topic on which this device was last announced, kept in its state directory.

The file only helps to take an announcement back: missing, damaged or not writable, the agent runs all
the same.
"""

import logging
from contextlib import suppress
from pathlib import Path

_LONGEST = 1000

_log = logging.getLogger(__name__)


class TopicFile:
    """One topic in one file; no file: no topic."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> str | None:
        try:
            with self._path.open(encoding="utf-8") as file:
                topic = file.read(_LONGEST).strip()
        except (OSError, ValueError):
            return None
        usable = topic.isprintable() and not set(topic) & set("+#")
        return topic if topic and usable else None

    def write(self, topic: str | None) -> None:
        """Remember ``topic``, or with None forget. Writes only what is new."""
        if topic == self.read():
            return
        new = self._path.with_name(f"{self._path.name}.new")
        try:
            if topic is None:
                self._path.unlink(missing_ok=True)
                return
            new.write_text(f"{topic}\n", encoding="utf-8")
            new.replace(self._path)
        except OSError as error:
            with suppress(OSError):
                new.unlink(missing_ok=True)
            _log.warning("%s: cannot be written (%s)", self._path, error.strerror or error)
