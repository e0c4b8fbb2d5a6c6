"""The cumulative sum: what it adds up, when it speaks, and that it keeps its promise."""

import dataclasses
import math

import numpy as np
import pytest

from agent import npy
from agent.contracts import Detector, DriftScore, Sampled
from agent.monitor.commissioning import Baseline, Wanted
from agent.monitor.drift.cusum import STREAM_ROWS, STREAMS, Cusum, simulate
from agent.monitor.groups import NO_GROUPS
from agent.monitor.plan import Plan
from agent.monitor.promise import MONTH_S
from agent.monitor.reference import Reference, build
from agent.monitor.steady import Level, Steady

S = 10**9
FEATURES = 12
NIGHT = np.array([2.5, -2.0, 1.5, 1.0, 0, 0, 0, 0, 0, 0, 0, 0])


class Memory:
    """A cache in a dictionary, which counts what was not there."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.missed = 0

    def get(self, key: str) -> bytes | None:
        self.missed += key not in self.kept
        return self.kept.get(key)

    def put(self, key: str, content: bytes) -> None:
        self.kept[key] = content


def reference_of(rows: np.ndarray) -> Reference:
    half = len(rows) // 2
    names = tuple(f"feature {at}" for at in range(rows.shape[1]))
    return build(
        features=names,
        families=("light",) * rows.shape[1],
        profile_rows=rows[:half],
        profile_groups=np.full(half, -1),
        pixels=np.zeros((0, 256), dtype=np.int64),
        calibration=rows[half:],
        calibration_groups=np.full(len(rows) - half, -1),
        groups=NO_GROUPS,
        fingerprint="print",
    )


def plan(**changes: float) -> Plan:
    numbers = {"samples": 250, "false_alarms_per_month": 1 / 3, "tolerance_points": 2.0} | changes
    return Plan(calibration_rows=1000, sampled_interval_s=10.0, thinning=3, **numbers)  # type: ignore[arg-type]  # of numbers


def normal(n: int, seed: int, features: int = FEATURES) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, features)).astype(np.float32)


def feed(detector: Detector, rows: np.ndarray, *, every_s: float = 30.0, start: int = 0) -> list[DriftScore]:
    scores = []
    for at, row in enumerate(rows, start):
        sampled = Sampled(row=row, group=-1, right=None, at_ns=int(at * every_s * S), independent=True)
        if (score := detector.add(sampled)) is not None:
            scores.append(score)
    return scores


@pytest.fixture(scope="module")
def reference() -> Reference:
    return reference_of(normal(2000, 0))


@pytest.fixture(scope="module")
def cache(reference: Reference) -> Memory:
    memory = Memory()
    Cusum().make(reference, plan(), memory)
    return memory


def test_sums_are_those_of_page(reference: Reference, cache: Memory) -> None:
    rows = normal(200, 1) + np.eye(FEATURES, dtype=np.float32)[3]
    detector = Cusum().make(reference, plan(samples=200, false_alarms_per_month=1e-9), cache)
    (score,) = feed(detector, rows)
    steady = Steady(reference).of_rows(rows)
    # Each side's error of the level by chance, 1/1000 each, is what the margin of 3 is of.
    allowed = 0.25 + 3 * math.sqrt(2 / 1000)
    largest = 0.0
    for sign in (1, -1):
        for column in (sign * steady).T:
            total = 0.0
            for value in column.tolist():
                total = max(0.0, total + min(max(value, -4.0), 4.0) - allowed)
                largest = max(largest, total)
    assert dict(score.statistics)["cusum"] == pytest.approx(largest, rel=1e-9)
    assert not score.drifted


def test_steady_scores_are_the_same_for_one_row_and_for_many(reference: Reference) -> None:
    rows, steady = normal(50, 2), Steady(reference)
    single = np.array([steady.of_row(row) for row in rows])
    assert np.array_equal(single, steady.of_rows(rows)) or np.abs(single - steady.of_rows(rows)).max() < 1e-12


def test_a_shift_is_seen_within_a_fraction_of_a_window(reference: Reference, cache: Memory) -> None:
    detector = Cusum().make(reference, plan(), cache)
    quiet = feed(detector, normal(1000, 3))
    assert [score.drifted for score in quiet] == [False] * 4
    assert [score.n for score in quiet] == [250] * 4
    shifted = normal(250, 4)
    shifted[:, 5] += 1.0
    scores = feed(detector, shifted, start=1000)
    assert scores[0].drifted
    assert 20 <= scores[0].n <= 60
    statistics = dict(scores[0].statistics)
    assert statistics["cusum"] >= statistics["cusum_threshold"]
    assert scores[0].p <= scores[0].alpha
    # What one false alarm in three months gives the time of so many frames, 30 s apart.
    assert scores[0].alpha == pytest.approx(scores[0].n * 30 / (3 * MONTH_S), rel=1e-3)


def test_after_an_alarm_the_sums_begin_anew(reference: Reference, cache: Memory) -> None:
    shifted = normal(400, 5)
    shifted[:, 5] += 1.0
    detector = Cusum().make(reference, plan(), cache)
    delays = [score.n for score in feed(detector, shifted) if score.drifted]
    assert len(delays) >= 6
    assert min(delays[1:]) >= 15


def test_only_independent_frames_count(reference: Reference, cache: Memory) -> None:
    detector = Cusum().make(reference, plan(), cache)
    row = np.full(FEATURES, 5.0, dtype=np.float32)
    for at in range(1000):
        sampled = Sampled(row=row, group=-1, right=None, at_ns=at * S, independent=False)
        assert detector.add(sampled) is None


def test_the_threshold_follows_the_measured_interval(reference: Reference, cache: Memory) -> None:
    def threshold(every_s: float) -> float:
        scores = feed(Cusum().make(reference, plan(), cache), normal(600, 6), every_s=every_s)
        return dict(scores[-1].statistics)["cusum_threshold"]

    quickest, quick, slow = threshold(0.0003), threshold(0.003), threshold(600.0)
    assert quickest > quick > slow
    # An exponential tail: ten times as many frames a month cost a few points of the sum.
    assert quickest - quick < 15
    assert slow == 25.0


def test_forget_drops_the_sums_but_not_the_interval(reference: Reference, cache: Memory) -> None:
    detector = Cusum().make(reference, plan(), cache)
    shifted = normal(60, 7)
    shifted[:, 5] += 1.0
    first = feed(detector, shifted[:15])
    detector.forget()
    second = feed(detector, normal(235, 8), start=15)
    assert not first
    assert not any(score.drifted for score in second)


def test_thresholds_are_kept_and_damaged_ones_learned_again(reference: Reference) -> None:
    memory = Memory()
    Cusum().make(reference, plan(), memory)
    assert (memory.missed, len(memory.kept)) == (1, 1)
    (key, content), *_ = memory.kept.items()
    table = npy.decode(content)
    assert table.shape == (STREAMS,)
    assert np.all(np.diff(table) >= 0)
    Cusum().make(reference, plan(samples=100), memory)
    assert memory.missed == 1
    for damaged in (b"", content[:-8], npy.encode(np.zeros(3))):
        memory.kept[key] = damaged
        Cusum().make(reference, plan(), memory)
        assert memory.kept[key] == content
    Cusum(allowance=0.5).make(reference, plan(), memory)
    assert len(memory.kept) == 2


def test_simulated_sums_are_those_of_fresh_unchanged_streams(reference: Reference, cache: Memory) -> None:
    table = npy.decode(next(iter(cache.kept.values())))
    level = Level.of(reference, Steady(reference))
    allowed = 0.25 + 3.0 * level.uncertainty
    rng, largest = np.random.default_rng(11), []
    for _ in range(300):
        steady = Steady(reference).of_rows(rng.normal(size=(STREAM_ROWS, FEATURES)).astype(np.float32))
        above, below = np.zeros(FEATURES), np.zeros(FEATURES)
        most = 0.0
        for row in steady:
            above = np.maximum(above + row - allowed, 0.0)
            below = np.maximum(below - row - allowed, 0.0)
            most = max(most, float(above.max()), float(below.max()))
        largest.append(most)
    for share in (0.5, 0.9):
        simulated = float(np.quantile(table, share))
        assert np.mean(np.array(largest) > simulated) == pytest.approx(1 - share, abs=0.07)


def day(rng: np.random.Generator, rows: int = 2880) -> np.ndarray:
    """A day with a dark night, as bright and as long as each day pleases."""
    light = np.clip(np.sin(2 * np.pi * np.arange(rows) / rows) * 3, -1, 1) * rng.normal(1.0, 0.15)
    clouds = np.repeat(rng.normal(0, 0.3, rows // 120), 120)
    level = (light + clouds * (light > 0))[:, None] * NIGHT
    return (level + rng.normal(size=(rows, FEATURES))).astype(np.float32)


def test_other_days_raise_no_alarm_and_faults_on_them_do() -> None:
    rng = np.random.default_rng(12)
    baseline = Baseline(Wanted(key="k", features=FEATURES, hours=24.0, samples=2000))
    rows = [*day(rng), *day(rng)[:10]]
    for at, row in enumerate(rows):
        baseline.add(row, predicted=None, right=None, at_ns=at * 30 * S)
    assert baseline.ready
    detector = Cusum().make(baseline.reference(reference_of(normal(200, 0))), plan(), Memory())
    scores = feed(detector, np.concatenate([day(rng) for _ in range(10)]))
    assert len(scores) >= 110
    assert not any(score.drifted for score in scores)
    faulty = day(rng)
    faulty[:, 7] += 0.8
    seen = [bool(feed(detector, row[None], start=28_800 + at)) for at, row in enumerate(faulty[:200])]
    assert 20 < seen.index(True) < 120


def test_the_uncertainty_of_a_level_is_what_other_days_show() -> None:
    rng = np.random.default_rng(16)
    baseline = Baseline(Wanted(key="k", features=FEATURES, hours=24.0, samples=2000))
    for at, row in enumerate(np.concatenate([day(rng), day(rng)])):
        baseline.add(row, predicted=None, right=None, at_ns=at * 30 * S)
    reference = baseline.reference(reference_of(normal(200, 0)))
    steady = Steady(reference)
    hours = np.concatenate([day(rng) for _ in range(10)]).reshape(-1, 120, FEATURES)
    levels = np.array([steady.of_rows(hour).mean(axis=0) for hour in hours])
    plain = Steady(dataclasses.replace(reference, wander=None))
    wandering = np.array([plain.of_rows(hour).mean(axis=0) for hour in hours])
    assert wandering.std(axis=0).max() > 0.7
    off = np.sqrt(steady.uncertainty**2 + 1 / 120)  # the level itself, and the chance of its own rows
    assert (np.abs(levels) / off).max() < 5.0
    assert len(steady.uncertainty) >= 10
    assert steady.uncertainty.max() < 0.35


def test_without_wandering_a_constant_feature_is_left_out() -> None:
    rows = normal(400, 13)
    rows[:, 2] = 7.0
    reference = reference_of(rows)
    assert Steady(reference).of_rows(rows).shape == (400, FEATURES - 1)
    assert np.isfinite(Steady(reference).of_rows(rows)).all()


def test_a_reference_that_never_varies_gives_no_score() -> None:
    reference = reference_of(np.full((400, 2), 7.0, dtype=np.float32))
    detector = Cusum().make(reference, plan(), Memory())
    assert feed(detector, normal(600, 14, 2)) == []


def test_a_promise_that_cannot_be_kept_is_refused_with_the_numbers() -> None:
    assert Cusum().broken_promise(plan()) == ()
    few = Plan(
        samples=250,
        false_alarms_per_month=1 / 3,
        tolerance_points=2.0,
        calibration_rows=79,
        sampled_interval_s=None,
        thinning=1,
    )
    assert Cusum().broken_promise(few) == (
        "monitor.detectors.cusum: 79 calibration rows say too little about the level that differences are "
        "added up from; pack with at least 80",
    )
    quick = Plan(
        samples=250,
        false_alarms_per_month=1 / 3,
        shared_by=3,
        tolerance_points=2.0,
        calibration_rows=1000,
        sampled_interval_s=0.001,
        thinning=1,
    )
    assert Cusum().broken_promise(quick) == (
        "monitor.false_alarms_per_month: 1 shared by 3 detectors for cusum with an independent frame every "
        "0.001 s is a probability of 1.3e-10 a frame, below 2.4e-10, the least that 4,096,000 simulated "
        "frames can tell; sample every 1.9 times as many frames",
    )


def test_options_that_make_no_sense_are_named() -> None:
    assert Cusum().problems() == []
    assert [problem.split(":")[0] for problem in Cusum(allowance=0, clip=0.0, margin=-1).problems()] == [
        "allowance",
        "clip",
        "margin",
    ]


def test_simulation_repeats_with_its_seed() -> None:
    level = Level(deviations=normal(100, 15).astype(float), uncertainty=np.full(FEATURES, 0.05), wanders=True)
    allowed = np.full(FEATURES, 0.4)
    first = simulate(level, allowed, clip=4.0, seed=1)
    assert np.array_equal(first, simulate(level, allowed, clip=4.0, seed=1))
    assert not np.array_equal(first, simulate(level, allowed, clip=4.0, seed=2))
