"""Latencies counted on a logarithmic scale, so that any two counts merge by addition.

A bucket ends 4 % above its beginning. What a percentile says is that point of its bucket from which
neither end is further than 1.96 % away, as in DDSketch (Masson, Rim, Lee: "DDSketch: a fast and
fully-mergeable quantile sketch with relative-error guarantees", VLDB 2019).
"""

import math
from collections.abc import Mapping

from agent.telemetry.health_body import LatencyCounts

GROWTH = 1.04
_PER_LOG = 1 / math.log(GROWTH)
_SHORTEST_NS = 1000
"""Bucket 0 begins at one microsecond; what is shorter counts as that."""


class LatencyHistogram:
    """Frames by how long each took."""

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}

    def add(self, ns: int) -> None:
        """One frame that took ``ns`` nanoseconds."""
        bucket = int(math.log(ns / _SHORTEST_NS) * _PER_LOG) if ns > _SHORTEST_NS else 0
        counts = self._counts
        counts[bucket] = counts.get(bucket, 0) + 1

    @property
    def n(self) -> int:
        """Frames so far."""
        return sum(self._counts.values())

    def percentile(self, q: float) -> float | None:
        """The latency in ms that a share ``q`` (0..1) of the frames did not exceed (nearest rank), to
        within 2 %; None without frames."""
        return _percentile(self._counts, q)

    def counts(self) -> LatencyCounts:
        return LatencyCounts(
            growth=GROWTH, counts={str(bucket): n for bucket, n in sorted(self._counts.items())}
        )

    def clear(self) -> None:
        self._counts.clear()


def percentile(counted: LatencyCounts, q: float) -> float | None:
    """The same of counts that came in a message. Raises ValueError where the scale is another."""
    return _percentile(_numbered(counted), q)


def merge(first: LatencyCounts, second: LatencyCounts) -> LatencyCounts:
    """The counts of both together. Raises ValueError where either's scale is another."""
    total = _numbered(first)
    for bucket, n in _numbered(second).items():
        total[bucket] = total.get(bucket, 0) + n
    return LatencyCounts(growth=GROWTH, counts={str(bucket): n for bucket, n in sorted(total.items())})


def _numbered(counted: LatencyCounts) -> dict[int, int]:
    if counted.growth != GROWTH:
        raise ValueError(f"latencies on a scale of {counted.growth:g}, not {GROWTH:g}")
    return {int(bucket): n for bucket, n in counted.counts.items()}


def _percentile(counts: Mapping[int, int], q: float) -> float | None:
    rank = max(1, math.ceil(q * sum(counts.values())))
    passed = 0
    for bucket, n in sorted(counts.items()):
        passed += n
        if passed >= rank:
            # Between the ends a and a·g of the bucket, 2·a·g/(1 + g) is never further than
            # (g - 1)/(g + 1) of the truth away, on either side.
            microseconds = GROWTH**bucket * 2 * GROWTH / (1 + GROWTH)
            return float(f"{microseconds / 1000:.5g}")
    return None
