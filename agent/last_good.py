"""The last config and bundle that this device ran well with, kept in its state directory.

A bad new one must not silence a device that nobody can visit: it goes on with these. What is kept is
what ran: a copy counts once it has been read again and found to be that. A second folder is written in
full before it takes the place of the first, so that neither a full card nor a cut leaves less than
there was.
"""

import contextlib
import hashlib
import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from agent.errors import BundleError

CONFIG, BUNDLE, OVERRIDE, STAMP = "agent.yaml", "bundle.tflite", "override.yaml", "stamp"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Kept:
    """What stands in the folder; ``override`` is None where no preprocessing was forced. ``stamp`` is
    that of the files it was kept from, "" when unknown."""

    text: str
    config: Path
    bundle: Path
    override: Path | None
    stamp: str


def stamp(text: str, *files: Path) -> str:
    """Tells a config and the files it names from others without reading those: by size and time."""
    marks = [hashlib.sha256(text.encode()).hexdigest()]
    for file in files:
        try:
            found = file.stat()
            marks.append(f"{found.st_size} {found.st_mtime_ns}")
        except OSError:
            marks.append("none")
    return hashlib.sha256("\n".join(marks).encode()).hexdigest()


class LastGood:
    """A folder of its own below the state directory; nothing is made before ``keep``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._new, self._old = (folder.with_name(f"{folder.name}.{what}") for what in ("new", "old"))

    def read(self) -> Kept | None:
        """None when nothing was kept, or not the whole of it."""
        # Between two renames a cut may have left the earlier one under its other name.
        return _read(self._folder) or _read(self._old)

    def keep(
        self, text: str, *, bundle: Path, override: str | None, stamp: str, verify: Callable[[Path], bool]
    ) -> bool:
        """Keep these; whether anything had to be copied. ``override`` is the forced preprocessing's text as
        it was read; ``verify`` says whether a file is the bundle that was loaded.

        Raises BundleError when ``bundle`` is no longer that, OSError when the disk refuses; what was kept
        before stays then.
        """
        _remove(self._new)
        kept = _read(self._folder)
        good = kept.bundle if kept is not None and verify(kept.bundle) else None
        if kept is not None and good is not None and (kept.text, _override(kept)) == (text, override):
            if kept.stamp != stamp:
                fresh = self._folder / f"{STAMP}.new"
                _write(fresh, stamp)
                fresh.replace(self._folder / STAMP)
            return False
        try:
            self._make(text, bundle, good, override, stamp, verify)
            self._swap()
        except BaseException:
            _remove(self._new)
            raise
        return True

    def _make(
        self,
        text: str,
        bundle: Path,
        good: Path | None,
        override: str | None,
        stamp: str,
        verify: Callable[[Path], bool],
    ) -> None:
        """The whole of the new folder; ``good`` is the bundle where it is kept already."""
        self._new.mkdir(parents=True)
        target = self._new / BUNDLE
        if good is None or not _linked(good, target):
            _copy(good or bundle, target)
            if not verify(target):
                raise BundleError(f"{bundle}: is no longer the bundle that runs")
        if override is not None:
            _write(self._new / OVERRIDE, override)
        _write(self._new / STAMP, stamp)
        _write(self._new / CONFIG, text)
        _sync(self._new)

    def _swap(self) -> None:
        if self._folder.exists():
            _remove(self._old)
            self._folder.rename(self._old)
        self._new.rename(self._folder)
        _sync(self._folder.parent)
        _remove(self._old)


class Attempts:
    """Starts of one config in a row that neither ran well nor ended in order: it may kill the process."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def begin(self, stamp: str) -> int:
        """How many there were before this one, which counts as another until ``over``."""
        try:
            known, _, count = self._path.read_text(encoding="ascii").partition(" ")
            before = int(count) if known == stamp else 0
        except (OSError, ValueError):
            before = 0
        try:
            # Not synced: a crash is what counts, a pulled plug need not.
            self._path.write_text(f"{stamp} {before + 1}", encoding="ascii")
        except OSError as error:
            _log.warning("%s: cannot be written (%s)", self._path, error.strerror or error)
        return before

    def over(self) -> None:
        """The config runs well, is refused, or the session ended in order."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


def _read(folder: Path) -> Kept | None:
    config, bundle, override = (folder / name for name in (CONFIG, BUNDLE, OVERRIDE))
    try:
        text = config.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    if not bundle.is_file():
        return None
    try:
        known = (folder / STAMP).read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError):
        known = ""
    return Kept(
        text=text,
        config=config,
        bundle=bundle,
        override=override if override.is_file() else None,
        stamp=known,
    )


def _override(kept: Kept) -> str | None:
    if kept.override is None:
        return None
    try:
        return kept.override.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None


def _linked(source: Path, target: Path) -> bool:
    """The same file under a second name, which costs the card nothing; not every file system can."""
    try:
        os.link(source, target)
    except OSError:
        return False
    return True


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as original, target.open("wb") as copy:
        shutil.copyfileobj(original, copy, 1 << 20)
        copy.flush()
        os.fsync(copy.fileno())


def _write(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _sync(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
