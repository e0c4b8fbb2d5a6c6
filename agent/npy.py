"""Arrays as .npy bytes, read without trusting them.

numpy's own reader allocates what a header claims and evaluates the header as Python; here the header
must be exactly what numpy writes for numbers in C order. Format: numpy.lib.format, version 1.0.
"""

import io
import math
import re

import numpy as np
from numpy.lib import format as npy_format

from agent.contracts import Array

_MAGIC = b"\x93NUMPY\x01\x00"
_HEADER = re.compile(
    rb"\{'descr': '([<|][biuf][1248])', 'fortran_order': False, 'shape': \(([0-9, ]{0,200})\), \} *\n"
)


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
    if math.prod(shape) * dtype.itemsize != len(data) - start or len(shape) > 32:
        raise NpyError(f"its header promises {shape} of {dtype}, it holds {len(data) - start} bytes")
    try:
        return np.frombuffer(data, dtype, offset=start).reshape(shape).astype(dtype.newbyteorder("="))
    except ValueError:  # sizes beyond numpy's, hidden behind a zero
        raise NpyError(f"its header promises {shape}") from None
