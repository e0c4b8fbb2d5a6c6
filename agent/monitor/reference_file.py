"""The shape of ``reference.json`` and ``calibration.npy``: strictly typed, checked, nothing computed.

``reference.json`` is meant to be read by people: one entry per feature with its edges, counts and
moments. ``calibration.npy`` is float32 (N, F + 1): the features of each calibration row and, last,
the group of its predicted class (-1 without classes).
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from agent import npy
from agent.document import DocumentError, read_json
from agent.errors import BundleError
from agent.monitor.bins import BINS
from agent.structure import StructureProblemsError, structure

JSON_NAME, ROWS_NAME = "reference.json", "calibration.npy"
MAX_JSON_BYTES = 32 * 2**20
MAX_ROWS_BYTES = 64 * 2**20
MAX_FEATURES = 1024
MAX_GROUPS = 256
_MAX_COUNT = 2**53
_MAX_VALUE = float(np.finfo(np.float32).max)


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureEntry:
    name: str
    family: str
    edges: tuple[float, ...]
    counts: tuple[int, ...]
    mean: float
    m2: float


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupEntry:
    """``index`` is the class index, null for the last group: all other classes."""

    name: str
    index: int | None
    count: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ReferenceFile:
    """``covariance`` is the lower triangle: row i has i + 1 numbers. ``pixels`` has 3 rows of 256
    counts, or none for vectors. ``cross`` is the lower triangle of a profile's; files of before it
    was kept have none."""

    schema: Literal["litewatch.reference/1"]
    fingerprint: str
    n: int
    accuracy: float | None
    mse: float | None
    labelled: int
    features: tuple[FeatureEntry, ...]
    groups: tuple[GroupEntry, ...]
    covariance: tuple[tuple[float, ...], ...]
    pixels: tuple[tuple[int, ...], ...]
    cross: tuple[tuple[float, ...], ...] = ()


def parse(data: bytes) -> ReferenceFile:
    """Read ``reference.json``. Raises BundleError with every problem by dotted path."""
    if len(data) > MAX_JSON_BYTES:
        raise BundleError(f"{JSON_NAME}: {len(data)} bytes are more than the {MAX_JSON_BYTES} allowed")
    try:
        file = structure(read_json(data), ReferenceFile, root=JSON_NAME)
    except StructureProblemsError as error:
        raise BundleError(*error.problems) from None
    except DocumentError as error:
        raise BundleError(f"{JSON_NAME}: {error}") from None
    problems = [f"{JSON_NAME}.{problem}" for problem in _problems(file)]
    if problems:
        raise BundleError(*problems)
    return file


def parse_rows(data: bytes, file: ReferenceFile) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Read ``calibration.npy``: the rows float32 (N, F) and their groups int64 (N,).
    Raises BundleError."""
    if len(data) > MAX_ROWS_BYTES:
        raise BundleError(f"{ROWS_NAME}: {len(data)} bytes are more than the {MAX_ROWS_BYTES} allowed")
    table = _table(data, columns=len(file.features) + 1)
    groups = table[:, -1]
    first = 0 if file.groups else -1
    last = len(file.groups) - 1
    if (groups != np.rint(groups)).any() or groups.min() < first or groups.max() > last:
        raise BundleError(f"{ROWS_NAME}: the last column must hold group numbers {first} … {last}")
    return table[:, :-1].copy(), groups.astype(np.int64)


def _table(data: bytes, *, columns: int) -> NDArray[np.float32]:
    try:
        table = npy.decode(data)
    except npy.NpyError as error:
        raise BundleError(f"{ROWS_NAME}: {error}") from None
    if table.dtype != np.float32 or table.ndim != 2 or table.shape[1] != columns or not len(table):
        raise BundleError(
            f"{ROWS_NAME}: expected float32 of shape (N, {columns}), got {table.dtype} {table.shape}"
        )
    if not np.isfinite(table).all():
        raise BundleError(f"{ROWS_NAME}: holds values that are not finite numbers")
    return table


def _problems(file: ReferenceFile) -> Iterator[str]:
    if not 1 <= file.n <= _MAX_COUNT:
        yield f"n: expected 1 … {_MAX_COUNT} profile rows, got {file.n}"
    if not 0 <= file.labelled <= _MAX_COUNT:
        yield f"labelled: expected 0 or more, got {file.labelled}"
    if file.accuracy is not None and not 0 <= file.accuracy <= 1:
        yield f"accuracy: expected 0 … 1, got {file.accuracy}"
    if file.mse is not None and file.mse < 0:
        yield f"mse: expected 0 or more, got {file.mse}"
    if not 1 <= len(file.features) <= MAX_FEATURES:
        yield f"features: expected 1 … {MAX_FEATURES}, got {len(file.features)}"
    if len({feature.name for feature in file.features}) < len(file.features):
        yield "features: names repeat"
    for at, feature in enumerate(file.features):
        yield from _feature_problems(feature, file.n, f"features[{at}]")
    yield from _group_problems(file)
    yield from _covariance_problems(file)
    yield from _pixel_problems(file.pixels)


def _feature_problems(feature: FeatureEntry, n: int, where: str) -> Iterator[str]:
    edges = feature.edges
    if len(edges) != BINS - 1:
        yield f"{where}.edges: expected {BINS - 1} numbers, got {len(edges)}"
    if any(b < a for a, b in itertools.pairwise(edges)):
        yield f"{where}.edges: must never decrease"
    if any(abs(value) > _MAX_VALUE for value in (*edges, feature.mean)):
        yield f"{where}: holds numbers beyond float32"
    if len(feature.counts) != BINS:
        yield f"{where}.counts: expected {BINS} numbers, got {len(feature.counts)}"
    if any(count < 0 for count in feature.counts) or sum(feature.counts) != n:
        yield f"{where}.counts: must be 0 or more and add up to n = {n}"
    if not 0 <= feature.m2 <= n * _MAX_VALUE**2:
        yield f"{where}.m2: expected a sum of squares, got {feature.m2}"


def _group_problems(file: ReferenceFile) -> Iterator[str]:
    if not file.groups:
        return
    *alone, rest = file.groups
    if len(file.groups) > MAX_GROUPS:
        yield f"groups: expected at most {MAX_GROUPS}, got {len(file.groups)}"
    if rest.index is not None or any(group.index is None for group in alone):
        yield "groups: every index but the last must be a class index, the last null"
    if len({group.name for group in file.groups}) < len(file.groups):
        yield "groups: names repeat"
    if len({group.index for group in file.groups}) < len(file.groups):
        yield "groups: indices repeat"
    if any(group.count < 0 for group in file.groups) or sum(g.count for g in file.groups) != file.n:
        yield f"groups: counts must be 0 or more and add up to n = {file.n}"


def _covariance_problems(file: ReferenceFile) -> Iterator[str]:
    if len(file.covariance) != len(file.features):
        yield f"covariance: expected {len(file.features)} rows of 1, 2, 3, … numbers"
    else:
        yield from _triangle_problems(file.covariance, "covariance", largest=_MAX_VALUE**2)
    if len(file.cross) > len(file.features):
        yield f"cross: expected at most {len(file.features)} rows"
    else:
        yield from _triangle_problems(file.cross, "cross", largest=file.n * _MAX_VALUE**2)


def _triangle_problems(rows: tuple[tuple[float, ...], ...], where: str, *, largest: float) -> Iterator[str]:
    if [len(row) for row in rows] != list(range(1, len(rows) + 1)):
        yield f"{where}: expected {len(rows)} rows of 1, 2, 3, … numbers"
        return
    if not all(0 <= row[-1] <= largest for row in rows):
        yield f"{where}: variances must be 0 or more"
        return
    deviations = [math.sqrt(row[-1]) for row in rows]
    for at, row in enumerate(rows):
        bounds = (deviations[at] * deviation for deviation in deviations)
        if any(abs(value) > bound * 1.001 for value, bound in zip(row, bounds, strict=False)):
            yield f"{where}[{at}]: larger than the variances allow"


def _pixel_problems(pixels: tuple[tuple[int, ...], ...]) -> Iterator[str]:
    if len(pixels) not in (0, 3) or any(len(row) != 256 for row in pixels):
        yield "pixels: expected no rows, or 3 rows of 256 counts"
    elif any(not 0 <= count <= _MAX_COUNT for row in pixels for count in row):
        yield f"pixels: counts must be 0 … {_MAX_COUNT}"
    elif len({sum(row) for row in pixels}) > 1:
        yield "pixels: every channel must count equally many"
