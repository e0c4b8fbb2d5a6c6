"""A folder of encoded images, in the order of their names; watched for new ones if wanted.

Hidden files and whatever is not a regular file are not looked at; symbolic links to files are
followed, links to folders are not. Watching polls, so it needs nothing from the file system and
works on network shares as well.
"""

import fnmatch
import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agent.contracts import Frame, Skipped
from agent.errors import SourceError
from agent.sources.pace import Pace, problems


@dataclass(frozen=True, kw_only=True, slots=True)
class Directory:
    """Images from a folder, as encoded bytes; a frame's name is its path inside the folder."""

    path: str
    """The folder."""
    pattern: tuple[str, ...] = (
        "*.jpg",
        "*.jpeg",
        "*.png",
        "*.webp",
        "*.bmp",
        "*.gif",
        "*.ppm",
        "*.pgm",
        "*.pnm",
    )
    """File names to take, as shell patterns; upper and lower case are the same."""
    recursive: bool = False
    """Also the folders inside it."""
    watch: bool = False
    """Wait for new or rewritten files, for ever; one counts once two polls saw it unchanged."""
    poll_interval_s: float = 1.0
    """Seconds between two looks at a watched folder."""
    loop: bool = False
    """Begin again after the last file."""
    fps: float | None = None
    """Frames a second, like a camera that waits for nobody; none: as fast as the model takes them."""
    max_bytes: int = 32 * 1024 * 1024
    """A larger file is skipped unread."""

    @property
    def live(self) -> bool:
        return self.fps is not None

    def problems(self) -> list[str]:
        """Options that make no sense, by name."""
        found = problems(fps=self.fps, poll_interval_s=self.poll_interval_s, max_bytes=self.max_bytes)
        if self.watch and self.loop:
            found.append("loop: a watched folder does not end, so it cannot begin again; set one of the two")
        if not self.pattern:
            found.append("pattern: names no files")
        return found

    def open(self) -> "DirectoryFeed":
        """Raises SourceError for a folder that cannot be listed or, unwatched, holds no image."""
        feed = DirectoryFeed(self)
        if not feed.listing() and not self.watch:
            raise SourceError(f"{self.path}: no file here is called {' or '.join(self.pattern)}")
        return feed


POLLS_REMEMBERED = 10
"""A watched file that was away for fewer polls and comes back unchanged is not new."""
READ_TRIES = 4
"""So many polls try to read a watched file: a network share's errors pass."""


@dataclass(frozen=True, slots=True)
class _Version:
    """What tells a file from what it was before it was rewritten."""

    size: int
    mtime_ns: int
    inode: int


class DirectoryFeed:
    """The opened folder."""

    def __init__(self, source: Directory) -> None:
        self._source = source
        self._root = Path(source.path)
        self._pattern = [pattern.lower() for pattern in source.pattern]
        self._pace = Pace(source.fps)
        self._delivered: dict[str, _Version] = {}
        self._missing: dict[str, int] = {}
        self._failed: dict[str, int] = {}
        """Reads of a watched file that failed, one after the other."""

    @property
    def resumes(self) -> bool:
        return self._source.watch

    def __iter__(self) -> Iterator[Frame | Skipped]:
        yield from self._arrivals() if self._source.watch else self._passes()

    def close(self) -> None:
        self._pace.close()

    def listing(self) -> dict[str, _Version]:
        """The images there are now, sorted by name. Raises SourceError."""
        versions = {}
        for folder, folders, files in os.walk(self._root, onerror=self._lost):
            folders[:] = [name for name in folders if self._source.recursive and not name.startswith(".")]
            for name in files:
                version = _version(Path(folder, name)) if self._wanted(name) else None
                if version:
                    versions[Path(folder, name).relative_to(self._root).as_posix()] = version
        return dict(sorted(versions.items()))

    def _passes(self) -> Iterator[Frame | Skipped]:
        while True:
            delivered = False
            for name in self.listing():
                if not self._pace.turn():
                    return
                item = self._read(name)
                delivered |= isinstance(item, Frame)
                yield item
            # A folder without one readable file would otherwise be gone through without end.
            if not (self._source.loop and delivered):
                return

    def _arrivals(self) -> Iterator[Frame | Skipped]:
        before: dict[str, _Version] = {}
        while not self._pace.closed:
            now = self.listing()
            for name, version in now.items():
                if before.get(name) == version != self._delivered.get(name):
                    if not self._pace.turn():
                        return
                    item = self._read_watched(name)
                    if item is not None:
                        self._delivered[name] = version
                        yield item
            self._failed = {name: count for name, count in self._failed.items() if name in now}
            self._forget_missing(now)
            before = now
            self._pace.rest(self._source.poll_interval_s)

    def _forget_missing(self, now: dict[str, _Version]) -> None:
        """Drop what has long been away. An empty listing says nothing: a share may be unmounted."""
        if not now:
            return
        gone = self._delivered.keys() - now.keys()
        self._missing = {name: self._missing.get(name, 0) + 1 for name in gone}
        for name in [name for name, polls in self._missing.items() if polls >= POLLS_REMEMBERED]:
            del self._delivered[name], self._missing[name]

    def _read_watched(self, name: str) -> Frame | Skipped | None:
        """None: it could not be read now, and the next poll tries again."""
        try:
            item = self._load(name)
        except OSError as error:
            failed = self._failed.get(name, 0) + 1
            if failed < READ_TRIES and not isinstance(error, FileNotFoundError):
                self._failed[name] = failed
                return None
            item = _unreadable(name, error)
        self._failed.pop(name, None)
        return item

    def _read(self, name: str) -> Frame | Skipped:
        try:
            return self._load(name)
        except OSError as error:
            return _unreadable(name, error)

    def _load(self, name: str) -> Frame | Skipped:
        """Raises OSError."""
        with (self._root / name).open("rb", buffering=0) as file:
            # As much as there is, and a byte more to notice a file that grows: asked for
            # ``max_bytes``, Python would set aside that much memory for every frame.
            there = os.fstat(file.fileno()).st_size
            encoded = file.read(min(there, self._source.max_bytes) + 1) or b""
        if len(encoded) > self._source.max_bytes:
            reason = f"larger than max_bytes ({self._source.max_bytes:,} bytes)"
            return Skipped(name=_shown(name), reason=reason)
        return Frame(payload=encoded, captured_ns=time.monotonic_ns(), name=_shown(name))

    def _wanted(self, name: str) -> bool:
        return not name.startswith(".") and any(
            fnmatch.fnmatchcase(name.lower(), pattern) for pattern in self._pattern
        )

    def _lost(self, error: OSError) -> None:
        # A folder inside ours that vanished, or is closed to us, just holds nothing.
        if error.filename is None or Path(error.filename) == self._root:
            raise SourceError(f"{self._source.path}: cannot be listed: {error.strerror}") from error


def _shown(name: str) -> str:
    """Names that are no UTF-8 must not reach the network as they are."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _unreadable(name: str, error: OSError) -> Skipped:
    gone = isinstance(error, FileNotFoundError)
    reason = "gone before it was read" if gone else f"cannot be read: {error.strerror}"
    return Skipped(name=_shown(name), reason=reason)


def _version(path: Path) -> _Version | None:
    try:
        found = path.stat()
    except OSError:
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    return _Version(found.st_size, found.st_mtime_ns, found.st_ino)
