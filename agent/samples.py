"""Captured frames on disk: a picture and a record each, in one folder that only this user may read.

The folder never grows beyond its limit: the oldest go first. Samples may be lost with a pulled plug (they
are not worth a commit to the card); a record is written after its picture, so one that is there is whole
or, after such an end, empty.
"""

import os
from contextlib import suppress
from pathlib import Path

from agent.errors import MachineError

RECORD, PICTURE, UNFINISHED = ".json", ".jpg", ".new"


class SampleStore:
    """Nothing is read or made on disk before the first use."""

    def __init__(self, folder: Path, *, max_bytes: int) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._sizes: dict[str, int] | None = None

    def keep(self, name: str, *, record: str, picture: bytes | None) -> None:
        """Keep a frame under ``name`` (its frame id). Raises MachineError when it cannot be written."""
        text = record.encode()
        size = len(text) + len(picture or b"")
        if size > self._max_bytes:
            raise MachineError(f"capture: a frame of {size} bytes is larger than capture.max_mb")
        try:
            sizes = self._opened()
            self._make_room(sizes, self._max_bytes - size)
            if picture is not None:
                self._write(name + PICTURE, picture)
            self._write(name + RECORD, text)
        except OSError as error:
            self._forget(name)
            raise MachineError(f"capture: {self._folder}: {error.strerror or error}") from None
        sizes[name] = size

    def ages_s(self, now_s: float) -> list[float]:
        """How long ago, by wall time, each frame that is here was kept; future ones count as now."""
        found = []
        with suppress(OSError):
            for path in self._folder.glob(f"*{RECORD}"):
                with suppress(OSError):
                    found.append(max(0.0, now_s - path.stat().st_mtime))
        return found

    def _opened(self) -> dict[str, int]:
        """Sizes by name, oldest first; what an interrupted write left is removed."""
        if self._sizes is None:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            sizes: dict[str, int] = {}
            for path in self._folder.iterdir():
                if path.suffix == UNFINISHED:
                    path.unlink(missing_ok=True)
                elif path.suffix in (RECORD, PICTURE):
                    sizes[path.stem] = sizes.get(path.stem, 0) + path.stat().st_size
            self._sizes = {name: sizes[name] for name in sorted(sizes, key=_order)}
        return self._sizes

    def _make_room(self, sizes: dict[str, int], limit: int) -> None:
        used = sum(sizes.values())
        for name in list(sizes):
            if used <= limit:
                return
            used -= sizes[name]
            self._forget(name)

    def _forget(self, name: str) -> None:
        for suffix in (RECORD, PICTURE, RECORD + UNFINISHED, PICTURE + UNFINISHED):
            with suppress(OSError):
                (self._folder / (name + suffix)).unlink(missing_ok=True)
        if self._sizes is not None:
            self._sizes.pop(name, None)

    def _write(self, name: str, content: bytes) -> None:
        new = self._folder / (name + UNFINISHED)
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        new.replace(self._folder / name)


def _order(name: str) -> tuple[str, int, str]:
    """``<session>-<n>``: sessions sort in the order in which they began, whatever the clock said."""
    session, _, number = name.rpartition("-")
    return (session, int(number), name) if number.isdecimal() else (name, 0, name)
