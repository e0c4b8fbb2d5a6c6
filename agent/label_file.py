"""Kept and labelled frames on disk, in the state directory over restarts.

A label costs somebody's time; a power cut must not cost the label. Lines are appended as frames are kept and
labels arrive, and the newest line of a frame counts. The file belongs to one bundle: what another model
answered says nothing of this one.
"""

import logging
import os
from collections import OrderedDict
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from agent.monitor.label_memory import Entry, decode, encode

MOST = 10_000
"""Frames remembered; the file is written anew when it holds twice as many lines."""
MOST_BYTES = 64 * 2**20
_SCHEMA = b"litewatch.labels/1 "

_log = logging.getLogger(__name__)


class LabelFile:
    """``key`` names the bundle. ``problem`` says what could not be read or kept; empty when all is well."""

    def __init__(self, path: Path, key: str, *, most: int = MOST) -> None:
        self._path = path
        self._head = _SCHEMA + key.encode() + b"\n"
        self._most = most
        self._entries: OrderedDict[str, Entry] = OrderedDict()
        self._on_disk = 0
        self._anew = True
        self.problem = ""
        self._read()

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The newest of each frame, oldest first."""
        return tuple(self._entries.values())

    def add(self, entries: Iterable[Entry]) -> None:
        """On disk when it returns, or ``problem`` says why not; then the next call tries again. An answer
        that was no number is not kept."""
        fresh: list[bytes] = []
        for entry in entries:
            with suppress(ValueError):
                fresh.append(encode(entry))
                self._remember(entry)
        if not fresh:
            return
        try:
            if self._anew or self._on_disk + len(fresh) > 2 * self._most:
                self._write_anew()
            else:
                self._append(fresh)
        except OSError as error:
            self.problem = f"{self._path.name} cannot be written, a restart forgets labels: {error.strerror}"
            self._anew = True
        else:
            self.problem = ""

    def _remember(self, entry: Entry) -> None:
        self._entries[entry.frame] = entry
        self._entries.move_to_end(entry.frame)
        if len(self._entries) > self._most:
            self._entries.popitem(last=False)

    def _append(self, lines: list[bytes]) -> None:
        with self._path.open("ab") as file:
            file.write(b"".join(lines))
            file.flush()
            os.fsync(file.fileno())
        self._on_disk += len(lines)

    def _write_anew(self) -> None:
        """Whole or not at all, also when the plug is pulled."""
        new = self._path.with_name(f"{self._path.name}.new")
        try:
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(self._head + b"".join(map(encode, self._entries.values())))
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._path)
        except OSError:
            with suppress(OSError):
                new.unlink(missing_ok=True)
            raise
        self._on_disk, self._anew = len(self._entries), False

    def _read(self) -> None:
        try:
            with self._path.open("rb") as file:
                data = file.read(MOST_BYTES)
        except FileNotFoundError:
            return
        except OSError as error:
            self.problem = f"{self._path.name} cannot be read, earlier labels are forgotten: {error.strerror}"
            return
        if not data.startswith(self._head):
            return
        *lines, cut = data[len(self._head) :].split(b"\n")
        damaged = 0
        for line in lines:
            try:
                self._remember(decode(line))
            except ValueError:
                damaged += 1
        # What a pulled plug cut short is no damage: its label was never acknowledged.
        self._on_disk, self._anew = len(lines), bool(cut or damaged)
        if damaged:
            self.problem = f"{self._path.name}: {damaged} of {len(lines)} lines are damaged and forgotten"
            _log.warning("%s", self.problem)
