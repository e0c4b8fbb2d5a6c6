"""The device's own baseline: what is normal here, gathered over at least a day.

A reference from training cannot tell whether anything *changed* on this device: its camera, scene
and light were always different. Independent sampled frames are gathered in order of time until they
cover both the wanted hours (a shorter baseline makes every night an alarm) and the wanted number;
from then on change is judged against them. Time in which nothing was observed does not count.

Pure: ``Baseline`` says which bytes to append to its file and is made again from what the file holds.
The file is a line of JSON, then *chunks* of rows, each with its own checksum: what a pulled plug
cuts off is the last chunk.
"""

import hashlib
import json
import statistics
import struct
import zlib
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.document import DocumentError, read_json
from agent.monitor import reference as references
from agent.monitor.groups import NO_GROUPS, Groups, group_classes
from agent.monitor.reference import Reference
from agent.structure import StructureProblemsError, structure

MOST_ROWS = 20_000
SPARE = 2
"""Rows are kept apart in time so that the wanted hours hold so many times the wanted rows."""
LONGEST_GAP_S = 600.0
GAPS_AS_LONG = 5.0
"""A gap longer than LONGEST_GAP_S and than so many usual ones was not observed."""
PAIRS = 2
"""Each block gives so many runs of rows to the profile and to the calibration, in turn."""
_NO_CLASS = -(2**31)
_NANOSECONDS = 1e9
_SCHEMA = "litewatch.baseline/1"
_CHUNK = struct.Struct("<IdI")
"""Rows, hours observed at its end, CRC-32 of both and of the rows."""

Row = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """``key`` names the circumstances (see ``baseline_key``); rows of ``features`` numbers."""

    key: str
    features: int
    hours: float
    samples: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Restored:
    """``length``: the bytes of the file that hold good; ``problem``: why others do not."""

    baseline: "Baseline"
    length: int
    problem: str = ""
    outdated: bool = False
    """It is whole, but of another bundle or another sampling."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Header:
    schema: str
    key: str
    features: int


class Baseline:
    """Gathers rows until it is ready, and then takes no more."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._dtype = _record(wanted.features)
        self._apart_s = wanted.hours * 3600.0 / min(SPARE * wanted.samples, MOST_ROWS)
        self._beginnings = 0
        self.forget()

    def forget(self) -> None:
        """Begin anew."""
        self._beginnings += 1
        self._rows = np.empty(128, dtype=self._dtype)
        self._n = 0
        self._saved = 0
        self._observed_s = 0.0
        self._due_s = 0.0
        self._newest_ns: int | None = None
        self._doubted_s = 0.0
        self._gaps: deque[float] = deque(maxlen=32)

    @property
    def n(self) -> int:
        """Rows so far."""
        return self._n

    @property
    def beginnings(self) -> int:
        """How often it began anew: what was saved before that is to be forgotten."""
        return self._beginnings

    @property
    def samples_wanted(self) -> int:
        return self._wanted.samples

    @property
    def hours(self) -> float:
        """Hours observed so far."""
        return self._observed_s / 3600.0

    @property
    def hours_wanted(self) -> float:
        return self._wanted.hours

    @property
    def ready(self) -> bool:
        enough = self._n >= self._wanted.samples and self.hours >= self._wanted.hours
        return enough or self._n >= MOST_ROWS

    def add(self, row: Row, *, predicted: int | None, right: float | None, at_ns: int) -> None:
        """Take in an independent sampled frame: features (F,), predicted class, how probably rightly,
        and the monotonic time. Not every one is kept: see SPARE."""
        if self.ready:
            return
        self._observe(at_ns)
        if self._observed_s < self._due_s:
            return
        if self._apart_s:
            self._due_s += self._apart_s * (1 + (self._observed_s - self._due_s) // self._apart_s)
        if self._n == len(self._rows):
            self._rows = np.concatenate([self._rows, np.empty_like(self._rows)])
        known = np.nan if right is None else right
        self._rows[self._n] = (row, known, _NO_CLASS if predicted is None else predicted)
        self._n += 1

    def reference(self, training: Reference, *, block: int = 250) -> Reference:
        """The reference of these rows, with bins and groups of its own; ``block`` is the length of a
        window. Features, names of classes and fingerprint are those of ``training``.

        Contiguous runs go in turn to the profile and to the calibration, so that both saw day and night.
        """
        rows = self._rows  # before their number: another thread may begin anew
        table = rows[: self._n].copy()
        numbers, calibrates = _split(len(table), block)
        groups = _groups(table["predicted"], training.groups)
        of_row = np.array([groups.of_class(index) for index in _classes(table)], dtype=np.int64)
        right = None if np.isnan(table["right"]).any() else table["right"].astype(np.float64)
        return references.build(
            features=training.features,
            families=training.families,
            profile_rows=table["row"][~calibrates],
            profile_groups=of_row[~calibrates],
            pixels=np.zeros((0, 256), dtype=np.int64),
            calibration=table["row"][calibrates],
            calibration_groups=of_row[calibrates],
            groups=groups,
            fingerprint=training.fingerprint,
            blocks=(numbers[~calibrates], numbers[calibrates]),
            profile_right=None if right is None else right[~calibrates],
            calibration_right=None if right is None else right[calibrates],
        )

    def head(self) -> bytes:
        """What a new file begins with."""
        header = {"schema": _SCHEMA, "key": self._wanted.key, "features": self._wanted.features}
        return json.dumps(header).encode() + b"\n"

    def unsaved(self) -> bytes:
        """What to append to the file; empty when nothing is new."""
        if self._saved == self._n:
            return b""
        return _chunk(self._rows[self._saved : self._n], self.hours)

    def saved(self) -> None:
        """What ``unsaved`` gave is in the file, and nothing was added since."""
        self._saved = self._n

    @staticmethod
    def restore(data: bytes, wanted: Wanted) -> Restored:
        """The baseline whose file holds ``data``; an empty one, with the problem, when it cannot be
        used or belongs to other circumstances. A damaged end costs only that."""
        baseline = Baseline(wanted)
        line, newline, _ = data.partition(b"\n")
        try:
            header = structure(read_json(line), _Header)
        except (DocumentError, StructureProblemsError):
            return Restored(baseline=baseline, length=0, problem="not a baseline")
        if header.schema != _SCHEMA or not newline:
            return Restored(baseline=baseline, length=0, problem="of another schema")
        if (header.key, header.features) != (wanted.key, wanted.features):
            problem = "of another bundle or thinning"
            return Restored(baseline=baseline, length=0, problem=problem, outdated=True)
        length = baseline._read_chunks(data, len(line) + 1)
        problem = "" if length == len(data) else f"its last {len(data) - length} bytes are damaged"
        return Restored(baseline=baseline, length=length, problem=problem)

    def _read_chunks(self, data: bytes, start: int) -> int:
        """Take in whole chunks; where the good ones end."""
        chunks = []
        while len(data) - start >= _CHUNK.size:
            rows, hours, checksum = _CHUNK.unpack_from(data, start)
            stop = start + _CHUNK.size + rows * self._dtype.itemsize
            body = data[start + _CHUNK.size : stop]
            if stop > len(data) or not rows or checksum != _checksum(rows, hours, body):
                break
            table = np.frombuffer(body, self._dtype)
            if not np.isfinite(table["row"]).all() or self._n + rows > MOST_ROWS:
                break
            chunks.append(table)
            self._n += rows
            self._observed_s = hours * 3600.0
            start = stop
        if chunks:
            self._rows = np.concatenate(chunks)
            self._saved = self._n
            self._due_s = self._observed_s + self._apart_s
        return start

    def _observe(self, at_ns: int) -> None:
        """Add the time since the last frame to what was observed, unless nobody was looking."""
        if self._newest_ns is not None:
            gap = max(at_ns - self._newest_ns, 0) / _NANOSECONDS
            self._observed_s += self._counted_s(gap)
            self._gaps.append(gap)
        self._newest_ns = at_ns

    def _counted_s(self, gap_s: float) -> float:
        """How much of a gap was observed. Of a long first one only LONGEST_GAP_S, until the next shows
        that this source is so slow: a night without a camera must not complete the day."""
        if not self._gaps:
            counted = min(gap_s, LONGEST_GAP_S)
            self._doubted_s = gap_s - counted
            return counted
        doubted, self._doubted_s = self._doubted_s, 0.0
        confirmed = doubted if self._gaps[-1] <= GAPS_AS_LONG * gap_s else 0.0
        usual = statistics.median(self._gaps)
        looked_away = gap_s > max(LONGEST_GAP_S, GAPS_AS_LONG * usual)
        return confirmed + (usual if looked_away else gap_s)


def baseline_key(*parts: str | float) -> str:
    """Names the circumstances a baseline was gathered under (manifest, features, thinning …): in
    others it must be gathered anew."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _record(features: int) -> np.dtype[Any]:
    return np.dtype([("row", "<f4", (features,)), ("right", "<f4"), ("predicted", "<i4")])


def _chunk(table: NDArray[Any], hours: float) -> bytes:
    body = table.tobytes()
    return _CHUNK.pack(len(table), hours, _checksum(len(table), hours, body)) + body


def _checksum(rows: int, hours: float, body: bytes) -> int:
    return zlib.crc32(body, zlib.crc32(struct.pack("<Id", rows, hours)))


def _split(n: int, block: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The block of each of ``n`` rows in order of time, and whether it is for calibration (n // 2
    are). Blocks are about equally long, near ``block`` rows. Each is cut into PAIRS pairs of runs, the
    first for the profile and the second, just as long, for calibration."""
    half = n // 2
    blocks = max(1, min(round(n / max(block, 1)), half // PAIRS))
    pair_of_half = np.arange(half) * blocks * PAIRS // max(half, 1)
    lengths = np.bincount(pair_of_half, minlength=blocks * PAIRS)
    calibrates = np.repeat(np.tile([False, True], blocks * PAIRS), np.repeat(lengths, 2))
    numbers = np.repeat(np.arange(blocks * PAIRS) // PAIRS, 2 * lengths)
    if n % 2:
        calibrates, numbers = np.append(calibrates, False), np.append(numbers, blocks - 1)
    return numbers, calibrates


def _classes(table: NDArray[Any]) -> list[int | None]:
    return [None if index == _NO_CLASS else index for index in table["predicted"].tolist()]


def _groups(predicted: NDArray[np.int32], training: Groups) -> Groups:
    if not training.names or (predicted == _NO_CLASS).any():
        return NO_GROUPS
    known = dict(zip(training.classes, training.names, strict=False))
    labels = [known.get(index, "") for index in range(max(known, default=-1) + 1)]
    return group_classes(predicted.astype(np.int64), labels)
