"""Arrays as .npy bytes, read without trusting them.

numpy's own reader allocates what a header claims and evaluates the header as Python. ``decode`` wants
exactly what ``encode`` writes: numbers in C order. ``load`` reads the files of others: whatever writes
plain numbers, in any order of memory. Format: numpy.lib.format, versions 1.0 to 3.0.
"""

import io
import math
import re
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy_format

from agent.contracts import Array

_MAGIC = b"\x93NUMPY\x01\x00"
_HEADER = re.compile(
    rb"\{'descr': '([<|][biuf][1248])', 'fortran_order': False, 'shape': \(([0-9, ]{0,200})\), \} *\n"
)

_START = re.compile(rb"\x93NUMPY([\x01-\x03])\x00")
_DESCR = re.compile(rb"""['"]descr['"] *: *['"]([<>|=]?[biuf][1248])['"]""")
_ORDER = re.compile(rb"""['"]fortran_order['"] *: *(True|False)""")
_SHAPE = re.compile(rb"""['"]shape['"] *: *\(([0-9, ]{0,200})\)""")
_LONGEST_HEADER = 10_000
_MOST_AXES = 32


class NpyError(ValueError):
    """The bytes are no .npy array of plain numbers."""


def encode(array: Array) -> bytes:
    """``array`` as .npy, little-endian and in C order: equal arrays give equal bytes."""
    plain = np.asarray(array, order="C")
    stream = io.BytesIO()
    npy_format.write_array(
        stream, plain.astype(plain.dtype.newbyteorder("<"), copy=False), version=(1, 0), allow_pickle=False
    )
    return stream.getvalue()


def decode(data: bytes) -> Array:
    """The array, owning its memory. Raises NpyError; never allocates more than ``data`` holds."""
    start = len(_MAGIC) + 2 + int.from_bytes(data[8:10], "little")
    header = _HEADER.fullmatch(data[len(_MAGIC) + 2 : start])
    if data[: len(_MAGIC)] != _MAGIC or header is None:
        raise NpyError("not a .npy array of numbers in C order")
    try:
        dtype = np.dtype(header[1].decode())
        shape = tuple(int(size) for size in header[2].split(b",") if size.strip())
    except (TypeError, ValueError):
        raise NpyError("not a .npy array of numbers in C order") from None
    if math.prod(shape) * dtype.itemsize != len(data) - start or len(shape) > _MOST_AXES:
        raise NpyError(f"its header promises {shape} of {dtype}, it holds {len(data) - start} bytes")
    try:
        return np.frombuffer(data, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))
    except ValueError:  # sizes beyond numpy's, hidden behind a zero
        raise NpyError(f"its header promises {shape}") from None


def load(path: Path) -> Array:
    """The array of numbers (signed, unsigned, real or bool) in a file that something else wrote, in C
    order and this machine's byte order. Raises NpyError for anything else, an empty array included, and
    OSError; never allocates more than the file holds."""
    size = path.stat().st_size
    with path.open("rb") as file:
        dtype, columns_first, shape = _read_header(file)
        start = file.tell()
        if math.prod(shape) * dtype.itemsize != size - start or len(shape) > _MOST_AXES:
            raise NpyError(f"its header promises {shape} of {dtype}, it holds {size - start} bytes")
        if size == start:
            raise NpyError("holds no numbers")
        flat = np.frombuffer(file.read(size - start), dtype)
    if flat.nbytes != size - start:
        raise NpyError("was cut off while it was read")
    array = flat.reshape(shape, order="F" if columns_first else "C")
    return np.ascontiguousarray(array, dtype.newbyteorder("=")).reshape(shape)


def _read_header(file: BinaryIO) -> tuple[np.dtype[Any], bool, tuple[int, ...]]:
    head = file.read(8)
    if head[:4] == b"PK\x03\x04":
        raise NpyError("is an .npz archive, not a .npy array")
    version = _START.fullmatch(head)
    if version is None:
        raise NpyError("not a .npy array")
    length = int.from_bytes(file.read(2 if version[1] == b"\x01" else 4), "little")
    header = file.read(min(length, _LONGEST_HEADER))
    descr, order, shape = (pattern.search(header) for pattern in (_DESCR, _ORDER, _SHAPE))
    if descr is None or order is None or shape is None or len(header) != length:
        raise NpyError("not a .npy array of plain numbers")
    try:
        dtype = np.dtype(descr[1].decode())
        return dtype, order[1] == b"True", tuple(int(n) for n in shape[1].split(b",") if n.strip())
    except (TypeError, ValueError):
        raise NpyError("not a .npy array of plain numbers") from None
