"""Latencies on a logarithmic scale: as exact as promised, and merged without loss."""

import json
import math
from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.monitor.latency import GROWTH, LatencyHistogram, merge, percentile
from agent.telemetry.health_body import LatencyCounts

LATENCIES = st.lists(st.integers(1_000, 3_600_000_000_000), min_size=1, max_size=200)
SHARES = st.floats(0, 1, allow_nan=False)


def histogram(latencies_ns: list[int]) -> LatencyHistogram:
    made = LatencyHistogram()
    for ns in latencies_ns:
        made.add(ns)
    return made


def exact_ms(latencies_ns: list[int], q: float) -> float:
    return sorted(latencies_ns)[max(1, math.ceil(q * len(latencies_ns))) - 1] / 1e6


@given(LATENCIES, SHARES)
def test_a_percentile_is_within_two_percent_of_the_exact_one(latencies_ns: list[int], q: float) -> None:
    said = histogram(latencies_ns).percentile(q)
    assert said is not None
    assert abs(said / exact_ms(latencies_ns, q) - 1) <= 0.02


@given(LATENCIES, LATENCIES)
def test_merged_counts_are_those_of_all_frames_together(first: list[int], second: list[int]) -> None:
    merged = merge(histogram(first).counts(), histogram(second).counts())
    assert merged == histogram(first + second).counts()
    assert percentile(merged, 0.95) == histogram(first + second).percentile(0.95)


def test_the_percentiles_of_a_known_distribution() -> None:
    """1 to 1000 ms, each once."""
    made = histogram([ms * 1_000_000 for ms in range(1, 1001)])
    assert made.n == 1000
    for q, exact in ((0.5, 500), (0.95, 950), (0.99, 990), (1.0, 1000), (0.0, 1)):
        assert made.percentile(q) == pytest.approx(exact, rel=0.02)


def test_the_very_ends_of_the_scale() -> None:
    made = histogram([0, 1, 999, 1000])
    assert made.counts() == LatencyCounts(growth=GROWTH, counts={"0": 4})
    assert histogram([2**63]).percentile(0.5) == pytest.approx(2**63 / 1e6, rel=0.02)


def test_no_frames_have_no_percentile() -> None:
    made = LatencyHistogram()
    assert made.percentile(0.5) is None
    made.add(5_000_000)
    made.clear()
    assert (made.n, made.percentile(0.5), made.counts().counts) == (0, None, {})


def test_counts_survive_json_and_other_scales_are_refused() -> None:
    counts = histogram([7_300_000, 7_400_000, 82_000_000]).counts()
    read = LatencyCounts(**json.loads(json.dumps(asdict(counts))))
    assert merge(read, counts).counts == {bucket: 2 * n for bucket, n in counts.counts.items()}
    with pytest.raises(ValueError, match=r"on a scale of 1\.1, not 1\.04"):
        merge(read, LatencyCounts(growth=1.1, counts={}))
    with pytest.raises(ValueError, match=r"on a scale of 1\.1, not 1\.04"):
        percentile(LatencyCounts(growth=1.1, counts={}), 0.5)
