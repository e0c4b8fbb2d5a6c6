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
        self._lines: OrderedDict[str, bytes] = OrderedDict()
        self._on_disk = 0
        self._anew = True
        self.problem = ""
        self._read()

    @property
    def entries(self) -> tuple[Entry, ...]:
        """The newest of each frame, oldest first."""
        return tuple(decode(line) for line in self._lines.values())

    def add(self, entries: Iterable[Entry]) -> None:
        """On disk when it returns, or ``problem`` says why not; then the next call tries again. An answer
        that was no number is not kept."""
        fresh: list[tuple[str, bytes]] = []
        for entry in entries:
            with suppress(ValueError):
                fresh.append((entry.frame, encode(entry)))
        if not fresh:
            return
        for frame, line in fresh:
            self._lines[frame] = line
            self._lines.move_to_end(frame)
        while len(self._lines) > self._most:
            self._lines.popitem(last=False)
        try:
            if self._anew or self._on_disk + len(fresh) > 2 * self._most:
                self._write_anew()
            else:
                self._append(b"".join(line for _, line in fresh), len(fresh))
        except OSError as error:
            self.problem = f"{self._path.name} cannot be written, a restart forgets labels: {error.strerror}"
            self._anew = True
        else:
            self.problem = ""

    def _append(self, lines: bytes, count: int) -> None:
        with self._path.open("ab") as file:
            file.write(lines)
            file.flush()
            os.fsync(file.fileno())
        self._on_disk += count

    def _write_anew(self) -> None:
        """Whole or not at all, also when the plug is pulled."""
        new = self._path.with_name(f"{self._path.name}.new")
        try:
            with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                file.write(self._head + b"".join(self._lines.values()))
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._path)
        except OSError:
            with suppress(OSError):
                new.unlink(missing_ok=True)
            raise
        self._on_disk, self._anew = len(self._lines), False

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
                entry = decode(line)
            except ValueError:
                damaged += 1
                continue
            self._lines[entry.frame] = line + b"\n"
            self._lines.move_to_end(entry.frame)
        while len(self._lines) > self._most:
            self._lines.popitem(last=False)
        # What a pulled plug cut short is no damage: its label was never acknowledged.
        self._on_disk, self._anew = len(lines), bool(cut or damaged)
        if damaged:
            self.problem = f"{self._path.name}: {damaged} of {len(lines)} lines are damaged and forgotten"
            _log.warning("%s", self.problem)
