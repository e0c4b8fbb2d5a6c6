"""What a detector's statistics look like when nothing has changed."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.monitor.drift.tail import Tail, fit_tail, p_value
from agent.monitor.reference import Reference

REVISION = 2
"""Changes whenever the same reference and options give other thresholds: old caches are refused."""
_SCHEMA = "litewatch.null/1"


def alpha_floor(resamples: int) -> float:
    """The smallest p-value that a tail fitted to ``resamples`` windows is trusted to tell."""
    return 1.0 / (100.0 * resamples)


@dataclass(frozen=True, kw_only=True)
class Null:
    """``table`` holds each statistic (``names``) over R resampled windows of ``samples``
    observations: float64 (S, R), each row ascending. ``key`` names what it was made from."""

    names: tuple[str, ...]
    samples: int
    key: str
    table: NDArray[np.float64]

    @property
    def resamples(self) -> int:
        return int(self.table.shape[1])

    def p(self, statistics: Mapping[str, float]) -> dict[str, float]:
        """Each statistic's p-value, above 0."""
        floor = alpha_floor(self.resamples) / len(self.names)
        return {
            name: p_value(statistics[name], sample, tail, floor=floor)
            for name, sample, tail in zip(self.names, self.table, self._tails, strict=True)
        }

    @cached_property
    def _tails(self) -> tuple[Tail, ...]:
        return tuple(fit_tail(sample) for sample in self.table)

    def encode(self) -> bytes:
        """For a cache file: a line of JSON, then the table."""
        values = self.table.astype("<f8").tobytes()
        header = {
            "schema": _SCHEMA,
            "names": self.names,
            "samples": self.samples,
            "resamples": self.resamples,
            "key": self.key,
            "sha256": hashlib.sha256(values).hexdigest(),
        }
        return json.dumps(header).encode() + b"\n" + values

    @staticmethod
    def decode(data: bytes) -> "Null":
        """Raises ValueError when ``data`` is not what ``encode`` wrote, in full."""
        line, _, values = data.partition(b"\n")
        try:
            header = json.loads(line)
            if header["schema"] != _SCHEMA or header["sha256"] != hashlib.sha256(values).hexdigest():
                raise ValueError("altered or of another schema")
            names = tuple(str(name) for name in header["names"])
            table = np.frombuffer(values, dtype="<f8").reshape(len(names), header["resamples"])
            return Null(names=names, samples=int(header["samples"]), key=str(header["key"]), table=table)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"not a cached null distribution: {error}") from None


def null_key(reference: Reference, *, samples: int, resamples: int, seed: int) -> str:
    """Names the null of exactly this reference with these options: 64 hex characters."""
    digest = hashlib.sha256(json.dumps([REVISION, samples, resamples, seed]).encode())
    arrays: list[NDArray[Any]] = [
        reference.edges,
        reference.profile.counts,
        reference.profile.groups,
        reference.covariance,
        reference.calibration,
        reference.calibration_groups,
        reference.profile.cross,
    ]
    if reference.wander:
        arrays += [reference.wander.counts, reference.wander.calibration_blocks]
    for array in arrays:
        digest.update(repr(array.shape).encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
