"""A window's counts and moments in as few bytes as they need, exactly.

Layout, all numbers little-endian and of fixed width for a given window: magic ``LWP1``, the first 8
bytes of the SHA-256 of the features' names, n (uint64), features (uint16), groups (uint16), then per
feature its mean and m2 (float64), then one stream of bits: n's width in bits for each count, all bins of
a feature but the last (which the others and n determine), then the groups. Counts need no more bits
than n does. Pixel counts and a vector's products are not part of it: they describe, no detector needs
them merged, and each is larger than all the rest.
"""

import base64
import binascii
import hashlib
import struct
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from agent.contracts import Profile
from agent.monitor.bins import BINS

_MAGIC = b"LWP1"
_HEADER = struct.Struct("<4s8sQHH")
_MOST_BITS = 53


class PackedError(ValueError):
    """The bytes are no packed profile of these features."""


def encode(profile: Profile) -> bytes:
    """The profile's counts, groups and moments; 16 features of 500 observations are 580 bytes."""
    features, groups = len(profile.features), len(profile.groups)
    moments = np.column_stack([profile.mean, profile.m2]).astype("<f8").tobytes()
    counts = np.concatenate([profile.counts[:, :-1].ravel(), profile.groups])
    header = _HEADER.pack(_MAGIC, _names(profile.features), profile.n, features, groups)
    return header + moments + _pack(counts, _width(profile.n))


def decode(data: bytes, features: tuple[str, ...]) -> Profile:
    """What ``encode`` packed, without pixels and products; ``features`` name what was counted.

    Raises PackedError.
    """
    if len(data) < _HEADER.size:
        raise PackedError("too short for a packed profile")
    magic, names, n, width, groups = _HEADER.unpack_from(data)
    if magic != _MAGIC:
        raise PackedError("not a packed profile")
    if names != _names(features) or width != len(features):
        raise PackedError("counts other features")
    bits = _width(n)
    cells = width * (BINS - 1) + groups
    start = _HEADER.size + width * 16
    if bits > _MOST_BITS or len(data) != start + (cells * bits + 7) // 8:
        raise PackedError(f"of another length than {n} observations of {width} features have")
    moments = np.frombuffer(data, "<f8", width * 2, _HEADER.size).reshape(width, 2).astype(np.float64)
    numbers = _unpack(data[start:], cells, bits)
    first = numbers[: width * (BINS - 1)].reshape(width, BINS - 1)
    last = n - first.sum(axis=1, keepdims=True)
    if (last < 0).any() or not np.isfinite(moments).all():
        raise PackedError("holds counts or moments that cannot be")
    return Profile(
        features=features,
        n=n,
        counts=np.concatenate([first, last], axis=1),
        mean=moments[:, 0].copy(),
        m2=moments[:, 1].copy(),
        groups=numbers[width * (BINS - 1) :],
        pixels=np.zeros((0, 256), dtype=np.int64),
    )


def to_text(data: bytes) -> str:
    """As base64, for a JSON message: 16 features of 500 observations are 776 characters."""
    return base64.b64encode(data).decode("ascii")


def from_text(text: str) -> bytes:
    """The bytes of ``to_text``. Raises PackedError."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise PackedError("not base64") from None


def _names(features: Iterable[str]) -> bytes:
    return hashlib.sha256("\n".join(features).encode("utf-8", "surrogatepass")).digest()[:8]


def _width(n: int) -> int:
    return max(n.bit_length(), 1)


def _pack(numbers: NDArray[np.int64], bits: int) -> bytes:
    shifts = np.arange(bits - 1, -1, -1)
    return np.packbits(((numbers[:, None] >> shifts) & 1).astype(np.uint8)).tobytes()


def _unpack(data: bytes, count: int, bits: int) -> NDArray[np.int64]:
    flat = np.unpackbits(np.frombuffer(data, np.uint8), count=count * bits).reshape(count, bits)
    weights = np.int64(1) << np.arange(bits - 1, -1, -1, dtype=np.int64)
    return flat.astype(np.int64) @ weights
