"""A disk that keeps what was not synced apart, and says what a power cut may leave of it.

The rules are POSIX's and no kinder. A file's data is safe from its own ``fsync`` or ``fdatasync`` on,
a name (a new file, a rename, a removal) from the ``fsync`` of its folder on. Of everything else any
part may be there: each 512-byte sector of each write separately, in its newest or an earlier version
or as garbage, with the file as long as at any moment since. Real file systems promise more (an order
among the names, no garbage); what survives this disk survives them.

Not simulated: a card that lies about ``fsync``, or that damages sectors nobody was writing.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Literal

from powercut.recording import Record

SECTOR = 512

Severity = Literal["all lost", "in order", "any"]
"""What becomes of what was not synced: all lost; kept up to some moment, in order; any part of it."""


@dataclass
class Inode:
    """A file's safe content, and the changes to it that are not safe yet."""

    safe: bytearray = field(default_factory=bytearray)
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)
    """(offset, data) of a write, (size, None) of a truncation."""
    mapped: bool = False

    def synced(self) -> None:
        for at, data in self.pending:
            _apply(self.safe, at, data)
        self.pending.clear()

    def after_cut(self, chance: Random, severity: Severity) -> bytes:
        content = bytearray(self.safe)
        if self.mapped:  # changed through memory, never synced: whatever
            return chance.randbytes(chance.choice((0, 100, 32768)))
        if severity == "in order":
            upto = chance.randint(0, len(self.pending))
            for at, data in self.pending[:upto]:
                _apply(content, at, data)
            if upto < len(self.pending):  # the write under way
                at, data = self.pending[upto]
                if data is not None:
                    _apply(content, at, data[: chance.randint(0, len(data))])
        elif severity == "any":
            for at, data in self.pending:
                self._tear(content, at, data, chance)
        return bytes(content)

    def _tear(self, content: bytearray, at: int, data: bytes | None, chance: Random) -> None:
        """Each sector of a write by itself: there, not there, or garbage."""
        if data is None:
            if chance.random() < 0.5:
                _apply(content, at, None)
            return
        fate = chance.random()
        if fate < 0.3:
            return
        for start, end in _sectors(at, len(data)):
            what = 0.0 if fate < 0.6 else chance.random()
            if what < 0.5:
                _apply(content, start, data[start - at : end - at])
            elif what > 0.9:
                _apply(content, start, chance.randbytes(end - start))


class Disk:
    """Below one folder ``root``. Feed it records; ``cut`` writes what a power cut leaves."""

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self._inodes: dict[int, Inode] = {}
        self._safe_names: dict[str, Inode] = {}
        self._safe_folders: set[str] = {self._root}
        self._names: dict[str, Inode] = {}
        self._folders: set[str] = {self._root}
        self._pending: list[tuple[str, str, str, Inode | None]] = []
        """(kind, name, folder whose sync makes it safe, file): changes of names, in order."""
        self.marks: list[str] = []
        for path in sorted(root.rglob("*")):  # what was there before is safe
            self._found(path)

    def feed(self, record: Record) -> None:
        handler = {
            "O": self._created, "W": self._written, "T": self._truncated, "S": self._file_synced,
            "D": self._folder_synced, "R": self._renamed, "U": self._removed, "K": self._folder_made,
            "X": self._folder_removed, "M": self._mapped, "N": self._marked,
        }.get(record.kind)  # fmt: skip
        if handler is None:
            raise AssertionError(f"the simulation does not know this: {record.data.decode(errors='replace')}")
        handler(record)

    @property
    def pending(self) -> int:
        """Changes that are not safe."""
        return len(self._pending) + sum(len(inode.pending) for inode in self._inodes.values())

    def cut(self, into: Path, chance: Random, severity: Severity) -> None:
        """Write the folder as a power cut now may leave it."""
        names, folders = dict(self._safe_names), set(self._safe_folders)
        kept = self._pending
        if severity == "all lost":
            kept = []
        elif severity == "in order":
            kept = kept[: chance.randint(0, len(kept))]
        else:
            kept = [change for change in kept if chance.random() < 0.6]
        for kind, name, _, inode in kept:
            _change(names, folders, kind, name, inode)
        contents: dict[int, bytes] = {}
        for path, inode in names.items():
            if _folder(path) not in folders:
                continue  # its folder is lost, and all that was in it
            if id(inode) not in contents:
                contents[id(inode)] = inode.after_cut(chance, severity)
            file = into / Path(path).relative_to(self._root)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(contents[id(inode)])
        for path in folders:
            (into / Path(path).relative_to(self._root)).mkdir(parents=True, exist_ok=True)

    def _found(self, path: Path) -> None:
        if path.is_dir():
            self._safe_folders.add(str(path))
            self._folders.add(str(path))
        else:
            inode = Inode(safe=bytearray(path.read_bytes()))
            self._inodes[path.stat().st_ino] = inode
            self._safe_names[str(path)] = self._names[str(path)] = inode

    def _created(self, record: Record) -> None:
        inode = self._inodes[record.inode] = Inode()
        self._name("set", record.data.decode(), inode)

    def _written(self, record: Record) -> None:
        self._inodes[record.inode].pending.append((record.at, record.data))

    def _truncated(self, record: Record) -> None:
        self._inodes[record.inode].pending.append((record.at, None))

    def _file_synced(self, record: Record) -> None:
        self._inodes[record.inode].synced()

    def _folder_synced(self, record: Record) -> None:
        folder = record.data.decode()
        for kind, name, where, inode in self._pending:
            if where == folder:
                _change(self._safe_names, self._safe_folders, kind, name, inode)
        self._pending = [change for change in self._pending if change[2] != folder]

    def _renamed(self, record: Record) -> None:
        old, new = record.data.decode().split("\0")
        if old in self._folders:
            raise AssertionError("the simulation does not rename folders")
        if _folder(old) != _folder(new):
            raise AssertionError("the simulation does not rename between folders")
        inode = self._names.pop(old)
        self._names[new] = inode
        self._pending.append((f"rename {old}", new, _folder(new), inode))

    def _removed(self, record: Record) -> None:
        self._names.pop(record.data.decode(), None)
        self._pending.append(("remove", record.data.decode(), _folder(record.data.decode()), None))

    def _folder_made(self, record: Record) -> None:
        path = record.data.decode()
        self._folders.add(path)
        self._pending.append(("folder", path, _folder(path), None))

    def _folder_removed(self, record: Record) -> None:
        path = record.data.decode()
        self._folders.discard(path)
        self._pending.append(("no folder", path, _folder(path), None))

    def _mapped(self, record: Record) -> None:
        if not record.data.decode().endswith("-shm"):
            raise AssertionError(f"{record.data.decode()} is written through memory: not simulated")
        self._inodes[record.inode].mapped = True

    def _marked(self, record: Record) -> None:
        self.marks.append(record.data.decode())

    def _name(self, kind: str, path: str, inode: Inode) -> None:
        self._names[path] = inode
        self._pending.append((kind, path, _folder(path), inode))


def _change(names: dict[str, Inode], folders: set[str], kind: str, name: str, inode: Inode | None) -> None:
    if kind == "folder":
        folders.add(name)
    elif kind == "no folder":
        folders.discard(name)
    elif kind == "remove":
        names.pop(name, None)
    elif inode is not None:
        if kind.startswith("rename "):
            names.pop(kind.removeprefix("rename "), None)
        names[name] = inode


def _folder(path: str) -> str:
    return path.rpartition("/")[0]


def _apply(content: bytearray, at: int, data: bytes | None) -> None:
    if data is None:
        del content[at:]
    if len(content) < at:
        content.extend(bytes(at - len(content)))
    if data is not None:
        content[at : at + len(data)] = data


def _sectors(at: int, length: int) -> Iterable[tuple[int, int]]:
    """(start, end) of the parts of a range that lie in one sector each."""
    place = at
    while place < at + length:
        end = min((place // SECTOR + 1) * SECTOR, at + length)
        yield place, end
        place = end
