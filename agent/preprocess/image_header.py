"""Format and size of an encoded image, read from its header without decoding a pixel.

The size bounds what a decoder may allocate, so a header counts only where OpenCV's decoders, which
tell formats apart by the same first bytes, must read the same size out of it.

JPEG (ITU T.81 annex B), PNG (W3C), WebP (RFC 9649), BMP, GIF and binary PNM. A file of another
format is not decoded at all: without its size nothing bounds the memory its decoding takes.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from agent.errors import FrameError

# A comment ends at either line end, and what ends a number is no part of the next: as OpenCV reads it.
_PNM = re.compile(rb"P[56]\s(?:\s|#[^\r\n]*[\r\n])*(\d{1,9})\s(?:\s|#[^\r\n]*[\r\n])*(\d{1,9})\s")
_JPEG_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_BARE = frozenset(range(0xD0, 0xD9)) | {0x01}
_MOST_CHUNKS = 100_000
"""More than any PNG has whose writer meant well."""
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".ppm", ".pgm", ".pnm")
"""How files of these formats are called, in lower case."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """``complete`` is False when the file lacks its end, as after an interrupted copy."""

    format: str
    width: int
    height: int
    complete: bool = True


def read_header(data: bytes) -> Header:
    """The header of an encoded image. Raises FrameError when there is none that can be read."""
    for magic, reader in _READERS:
        if data.startswith(magic):
            header = reader(data)
            if header is None or header.width < 1 or header.height < 1:
                raise FrameError("decode: the image's header is damaged")
            return header
    what = "the file is empty" if not data else f"not an image (begins with {data[:8].hex(' ')})"
    raise FrameError(f"decode: {what}; JPEG, PNG, WebP, BMP, GIF and PNM are read")


def _jpeg(data: bytes) -> Header | None:
    at = 2
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
        elif marker == 0x00:
            return None  # no marker: decoders look for the next one from here, past no segment
        elif marker in _JPEG_BARE:
            at += 2
        elif marker in _JPEG_SIZES:
            height, width = _big(data, at + 5, 2), _big(data, at + 7, 2)
            # Thumbnails inside earlier segments carry end markers of their own: look behind here.
            return Header(format="JPEG", width=width, height=height, complete=data.rfind(b"\xff\xd9", at) > 0)
        else:
            at += 2 + _big(data, at + 2, 2)
    return None


def _png(data: bytes) -> Header | None:
    if len(data) < 24 or data[12:16] != b"IHDR":
        return None
    whole = _png_is_whole(data)
    return Header(format="PNG", width=_big(data, 16, 4), height=_big(data, 20, 4), complete=whole)


def _png_is_whole(data: bytes) -> bool:
    """Whether every chunk lies within the file: OpenCV first makes room for what a chunk claims to hold,
    and that may be 2 GB."""
    at = 8
    for _ in range(_MOST_CHUNKS):
        if at + 12 > len(data):
            return False
        if data[at + 4 : at + 8] == b"IEND":
            return True
        at += 12 + _big(data, at, 4)
    return False


def _bmp(data: bytes) -> Header | None:
    if len(data) < 26:
        return None
    if _little(data, 14, 4) == 12:
        return Header(format="BMP", width=_little(data, 18, 2), height=_little(data, 20, 2))
    width = int.from_bytes(data[18:22], "little", signed=True)
    height = int.from_bytes(data[22:26], "little", signed=True)
    return Header(format="BMP", width=width, height=abs(height))


def _gif(data: bytes) -> Header | None:
    if len(data) < 10:
        return None
    return Header(format="GIF", width=_little(data, 6, 2), height=_little(data, 8, 2))


def _pnm(data: bytes) -> Header | None:
    found = _PNM.match(data[:4096])
    return Header(format="PNM", width=int(found[1]), height=int(found[2])) if found else None


def _webp(data: bytes) -> Header | None:
    if len(data) < 30 or data[8:12] != b"WEBP":  # RIFF also holds sound and films
        return None
    whole = len(data) >= 8 + _little(data, 4, 4)
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = _little(data, 24, 3) + 1, _little(data, 27, 3) + 1
    elif kind == b"VP8L":
        bits = _little(data, 21, 4)
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    elif kind == b"VP8 ":
        width, height = _little(data, 26, 2) & 0x3FFF, _little(data, 28, 2) & 0x3FFF
    else:
        return None
    return Header(format="WebP", width=width, height=height, complete=whole)


def _big(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "big")


def _little(data: bytes, at: int, size: int) -> int:
    return int.from_bytes(data[at : at + size], "little")


_READERS: tuple[tuple[bytes, Callable[[bytes], Header | None]], ...] = (
    (b"\xff\xd8\xff", _jpeg),
    (b"\x89PNG\r\n\x1a\n", _png),
    (b"RIFF", _webp),
    (b"BM", _bmp),
    (b"GIF8", _gif),
    (b"P5", _pnm),
    (b"P6", _pnm),
)
