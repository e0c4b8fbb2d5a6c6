"""The zip archive appended to a .tflite: what TFLite Metadata calls its *associated files*.

Pure: bytes in, values out. Reads the subset of zip those files need and refuses the rest, so that
whatever arrives from a network costs little and ends in one message: no zip64, no encryption, no
second disk, no duplicate or escaping names, no overlapping data, and limits on the number and
size of entries that are checked before any entry is read. Stored entries are read in place;
deflated ones (other tools may write them) are inflated to their declared size at most. Written
archives are stored only (MediaPipe refuses deflated files), in the order given, without
timestamps: equal inputs give equal bytes.

Not done here: hashes and signatures (``bundle``, ``signature``).
Format: PKWARE APPNOTE 6.3.10, sections 4.3.7, 4.3.12 and 4.3.16.
"""

import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from agent.errors import BundleError

MAX_ENTRIES = 4096
MAX_TOTAL_BYTES = 256 * 2**20
"""Of all entries together, inflated."""

_LOCAL = struct.Struct("<4s5H3L2H")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_LOCAL_MARK, _CENTRAL_MARK, _END_MARK = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
_LONGEST_COMMENT = 0xFFFF
_ENCRYPTED, _UTF8 = 0x0001, 0x0800
_STORED, _DEFLATED = 0, 8
_VERSION = 20
_JANUARY_1980 = 0x0021
"""The zip format's first day; a date is mandatory and the real one would make packing unrepeatable."""
_ORDINARY_FILE = 0o100644 << 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One file of an archive: where its bytes lie (offsets from the start of the whole file)."""

    name: str
    header: int
    start: int
    stored_bytes: int
    size: int
    crc: int
    method: int

    @property
    def end(self) -> int:
        return self.start + self.stored_bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class Archive:
    """An opened archive. ``start`` is where its first local header lies: what comes before is the
    model. ``where`` names the file in messages."""

    where: str
    start: int
    entries: Mapping[str, Entry]
    data: bytes = field(repr=False)

    def read(self, name: str, *, limit: int = MAX_TOTAL_BYTES) -> bytes:
        """The content of an entry; BundleError when it is absent, altered or above ``limit`` bytes."""
        entry = self.entries.get(name)
        if entry is None:
            raise BundleError(f"{self.where}: {name} is missing")
        if entry.size > limit:
            raise BundleError(f"{self.where}: {name}: {entry.size} bytes are more than the {limit} allowed")
        content = self.data[entry.start : entry.end]
        if entry.method == _DEFLATED:
            content = _inflate(content, entry, self.where)
        if zlib.crc32(content) != entry.crc:
            raise BundleError(f"{self.where}: {name}: damaged (its checksum is wrong)")
        return content

    def read_stored(self, name: str) -> bytes:
        """As ``read``, for entries that are never written deflated: refuses those that are."""
        entry = self.entries.get(name)
        if entry is not None and entry.method != _STORED:
            raise BundleError(f"{self.where}: {name}: must be stored, not deflated")
        return self.read(name)


def carries_archive(data: bytes) -> bool:
    """Whether a zip archive ends this file."""
    return _find_end(data) >= 0


def begins(data: bytes, names: Sequence[bytes]) -> bool:
    """Whether a file whose name begins with one of ``names`` begins anywhere in ``data``: so what is
    left of an archive is recognised when its end is missing."""
    for name in names:
        place = data.find(name)
        while place >= 0:
            header = place - _LOCAL.size
            if header >= 0 and data[header : header + len(_LOCAL_MARK)] == _LOCAL_MARK:
                return True
            place = data.find(name, place + 1)
    return False


def read(data: bytes, *, where: str) -> Archive:
    """Open the archive at the end of ``data``; no entry is read yet.

    Raises BundleError naming ``where`` and the entry.
    """
    end = _find_end(data)
    if end < 0:
        raise BundleError(f"{where}: no zip archive at its end")
    entries: dict[str, Entry] = {}
    total = 0
    directory, count, shift = _directory(data, end, where)
    place = directory
    for _ in range(count):
        entry, place = _entry(data, place, end, shift, where)
        if entry.name in entries:
            raise BundleError(f"{where}: {entry.name} is in the archive twice")
        total += entry.size
        if total > MAX_TOTAL_BYTES:
            raise BundleError(f"{where}: the archive holds more than {MAX_TOTAL_BYTES} bytes")
        entries[entry.name] = entry
    if place != end:
        raise BundleError(f"{where}: the archive's directory is damaged")
    _check_apart(entries, directory, where)
    start = min((entry.header for entry in entries.values()), default=directory)
    return Archive(where=where, start=start, entries=entries, data=data)


def append(model: bytes, files: Mapping[str, bytes]) -> bytes:
    """``model`` with ``files`` behind it as a stored archive, in the order given."""
    parts: list[bytes] = [model]
    directory: list[bytes] = []
    place = len(model)
    for name, content in files.items():
        encoded = name.encode()
        common = (_VERSION, _UTF8, _STORED, 0, _JANUARY_1980, zlib.crc32(content), len(content), len(content))
        local = _LOCAL.pack(_LOCAL_MARK, *common, len(encoded), 0) + encoded
        directory.append(
            _CENTRAL.pack(
                _CENTRAL_MARK, 3 << 8 | _VERSION, *common, len(encoded), 0, 0, 0, 0, _ORDINARY_FILE, place
            )
            + encoded
        )
        parts += (local, content)
        place += len(local) + len(content)
    size = sum(map(len, directory))
    end = _END.pack(_END_MARK, 0, 0, len(directory), len(directory), size, place, 0)
    return b"".join((*parts, *directory, end))


def _find_end(data: bytes) -> int:
    """Where the archive's last record begins, or -1: it and its comment end the file exactly."""
    first = max(0, len(data) - _END.size - _LONGEST_COMMENT)
    place = data.rfind(_END_MARK, first, max(0, len(data) - _END.size + len(_END_MARK)))
    while place >= 0 and place + _END.size + _END.unpack_from(data, place)[-1] != len(data):
        place = data.rfind(_END_MARK, first, place)
    return place


def _directory(data: bytes, end: int, where: str) -> tuple[int, int, int]:
    """Where the central directory begins, its number of entries, and what to add to its offsets.

    Offsets count from the start of the file, or (archives glued on by ``cat``) of the archive.
    """
    _, disk, first_disk, here, count, size, offset, _ = _END.unpack_from(data, end)
    if count == 0xFFFF or size == 0xFFFFFFFF or offset == 0xFFFFFFFF:
        raise BundleError(f"{where}: zip64 archives are not supported")
    if disk or first_disk or here != count:
        raise BundleError(f"{where}: archives in several parts are not supported")
    if count > MAX_ENTRIES:
        raise BundleError(f"{where}: {count} files in the archive are more than the {MAX_ENTRIES} allowed")
    if offset + size > end:
        raise BundleError(f"{where}: the archive's directory lies outside the file (truncated?)")
    return end - size, count, end - size - offset


def _entry(data: bytes, place: int, end: int, shift: int, where: str) -> tuple[Entry, int]:
    """The entry described at ``place`` in the central directory, and the place after it."""
    if place + _CENTRAL.size > end or data[place : place + 4] != _CENTRAL_MARK:
        raise BundleError(f"{where}: the archive's directory is damaged")
    (
        _,
        _,
        _,
        flags,
        method,
        _,
        _,
        crc,
        stored_bytes,
        size,
        name_bytes,
        extra_bytes,
        comment_bytes,
        disk,
        _,
        _,
        offset,
    ) = _CENTRAL.unpack_from(data, place)
    after = place + _CENTRAL.size + name_bytes + extra_bytes + comment_bytes
    raw_name = data[place + _CENTRAL.size : place + _CENTRAL.size + name_bytes]
    name = _name(raw_name, where)
    if after > end:
        raise BundleError(f"{where}: {name}: the archive's directory is damaged")
    if 0xFFFFFFFF in (stored_bytes, size, offset) or disk:
        raise BundleError(f"{where}: {name}: zip64 archives are not supported")
    if flags & _ENCRYPTED:
        raise BundleError(f"{where}: {name}: encrypted files are not supported")
    if method not in (_STORED, _DEFLATED) or (method == _STORED and stored_bytes != size):
        raise BundleError(f"{where}: {name}: stored in a way that is not supported (method {method})")
    header = shift + offset
    start = _content_start(data, header, (flags, method, raw_name), f"{where}: {name}")
    entry = Entry(
        name=name, header=header, start=start, stored_bytes=stored_bytes, size=size, crc=crc, method=method
    )
    return entry, after


def _content_start(data: bytes, header: int, directory: tuple[int, int, bytes], where: str) -> int:
    """Where the content after a local header begins; the header must agree with the directory."""
    if header + _LOCAL.size > len(data) or data[header : header + 4] != _LOCAL_MARK:
        raise BundleError(f"{where}: its header is damaged")
    _, _, flags, method, _, _, _, _, _, name_bytes, extra_bytes = _LOCAL.unpack_from(data, header)
    name = data[header + _LOCAL.size : header + _LOCAL.size + name_bytes]
    if (flags, method, name) != directory:
        raise BundleError(f"{where}: its header does not agree with the archive's directory")
    start: int = header + _LOCAL.size + name_bytes + extra_bytes
    return start


def _name(raw: bytes, where: str) -> str:
    try:
        name = raw.decode()
    except UnicodeDecodeError:
        raise BundleError(f"{where}: a file name in the archive is not UTF-8: {raw[:80]!r}") from None
    escapes = any(part in ("", ".", "..") for part in name.removesuffix("/").split("/"))
    if escapes or "\\" in name or ":" in name or not name.isprintable():
        raise BundleError(f"{where}: {name[:80]!r} is not an acceptable file name")
    return name


def _check_apart(entries: Mapping[str, Entry], directory: int, where: str) -> None:
    """No two entries share bytes, and none reaches into the directory (as overlap bombs do)."""
    before = None
    for entry in sorted(entries.values(), key=lambda entry: entry.header):
        if before is not None and before.end > entry.header:
            raise BundleError(f"{where}: {before.name} and {entry.name} overlap in the archive")
        before = entry
    if before is not None and before.end > directory:
        raise BundleError(f"{where}: {before.name}: reaches into the archive's directory")


def _inflate(content: bytes, entry: Entry, where: str) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = inflater.decompress(content, entry.size) if entry.size else b""
    except zlib.error:
        raise BundleError(f"{where}: {entry.name}: damaged (cannot be inflated)") from None
    if len(inflated) != entry.size or inflater.unconsumed_tail:
        raise BundleError(f"{where}: {entry.name}: damaged (not of its declared size)")
    return inflated
