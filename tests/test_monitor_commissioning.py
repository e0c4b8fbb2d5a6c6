"""The device's own baseline: when it is complete, what becomes of it, and its file's bytes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.monitor.commissioning import MOST_ROWS, Baseline, Wanted, baseline_key
from agent.monitor.groups import NO_GROUPS, Groups
from agent.monitor.reference import Reference, build

S = 10**9
FEATURES = ("image.light", "image.texture", "output.top_score")


def wanted(*, hours: float = 24.0, samples: int = 2000, key: str = "k") -> Wanted:
    return Wanted(key=key, features=len(FEATURES), hours=hours, samples=samples)


def training(groups: Groups = NO_GROUPS) -> Reference:
    rows = np.random.default_rng(9).normal(size=(200, 3)).astype(np.float32)
    of_row = np.zeros(100, dtype=np.int64) if groups.names else np.full(100, -1)
    return build(
        features=FEATURES,
        families=("light", "texture", "output"),
        profile_rows=rows[:100],
        profile_groups=of_row,
        pixels=np.zeros((3, 256), dtype=np.int64),
        calibration=rows[100:],
        calibration_groups=of_row,
        groups=groups,
        fingerprint="print",
    )


def gather(baseline: Baseline, n: int, *, every_s: float, start: int = 0, start_s: float = 0.0) -> None:
    for at in range(start, start + n):
        row = np.array([at, -at, at / 7], dtype=np.float32)
        ns = int((start_s + (at - start) * every_s) * S)
        baseline.add(row, predicted=at % 3, right=0.5 + at % 2 / 4, at_ns=ns)


def test_a_day_of_a_frame_every_10_seconds_is_kept_apart_evenly() -> None:
    baseline = Baseline(wanted())
    gather(baseline, 8640, every_s=10.0)
    assert not baseline.ready
    assert baseline.n == 4000  # SPARE times 2,000: one each 21.6 s
    gather(baseline, 1, every_s=10.0, start=8640, start_s=86_400.0)
    assert baseline.hours == pytest.approx(24.0)
    assert baseline.ready


def test_many_rows_in_few_hours_are_not_enough_and_the_other_way_round() -> None:
    quick = Baseline(wanted(hours=1.0, samples=100))
    gather(quick, 3000, every_s=1.0)
    assert (quick.ready, quick.n) == (False, 167)
    slow = Baseline(wanted(hours=1.0, samples=100))
    gather(slow, 99, every_s=300.0)
    assert slow.hours > 8
    assert not slow.ready
    gather(slow, 1, every_s=1.0, start=99, start_s=99 * 300.0)
    assert slow.ready


def test_nothing_is_taken_once_it_is_ready() -> None:
    baseline = Baseline(wanted(hours=0.0, samples=100))
    gather(baseline, 150, every_s=1.0)
    assert baseline.n == 100


def test_time_in_which_nobody_looked_does_not_count() -> None:
    baseline = Baseline(wanted(hours=10.0, samples=100))
    gather(baseline, 61, every_s=60.0)
    gather(baseline, 61, every_s=60.0, start=61, start_s=3600.0 + 8 * 3600.0)
    assert baseline.hours == pytest.approx(2.0 + 1 / 60)


def test_a_slow_stream_is_not_taken_for_one_that_looks_away() -> None:
    baseline = Baseline(wanted(hours=10.0, samples=100))
    gather(baseline, 6, every_s=7200.0)
    assert baseline.hours == pytest.approx(10.0)


def test_a_clock_that_begins_again_costs_nothing() -> None:
    baseline = Baseline(wanted(hours=10.0, samples=100))
    gather(baseline, 61, every_s=60.0, start_s=1e6)
    gather(baseline, 61, every_s=60.0)
    assert baseline.hours == pytest.approx(2.0)


def test_memory_is_bounded() -> None:
    baseline = Baseline(wanted(hours=0.0, samples=50_000))
    gather(baseline, MOST_ROWS + 5, every_s=1.0)
    assert baseline.n == MOST_ROWS
    assert baseline.ready


def test_reference_has_disjoint_rows_from_all_hours_and_its_own_edges() -> None:
    baseline = Baseline(wanted(hours=0.0, samples=2000))
    gather(baseline, 2000, every_s=1.0)
    reference = baseline.reference(training())
    calibration = set(reference.calibration[:, 0].astype(int).tolist())
    assert len(calibration) == 1000
    assert reference.profile.n == 1000
    # 8 blocks of 250 rows, each of two pairs of runs: the second run of a pair is for calibration.
    runs = [range(63, 126), range(188, 250), range(313, 376)]
    assert {at for at in calibration if at < 376} == {at for run in runs for at in run}
    assert reference.edges[0, 7] == pytest.approx(968, abs=20)  # the profile's own median
    assert reference.features == FEATURES
    assert reference.families == ("light", "texture", "output")
    assert reference.fingerprint == "print"
    assert reference.wander is not None
    assert len(reference.wander.sizes) == 8
    assert reference.groups == NO_GROUPS
    assert reference.calibration_groups.tolist() == [-1] * 1000


@pytest.mark.parametrize(
    ("n", "block"), [(100, 250), (101, 10), (2001, 250), (7, 1), (2, 1), (1, 1), (20_000, 1)]
)
def test_half_the_rows_are_for_calibration(n: int, block: int) -> None:
    baseline = Baseline(wanted(hours=0.0, samples=n))
    gather(baseline, n, every_s=1.0)
    reference = baseline.reference(training(), block=block)
    assert (len(reference.calibration), reference.profile.n) == (n // 2, n - n // 2)


def test_reference_keeps_right_and_groups_with_their_rows() -> None:
    baseline = Baseline(wanted(hours=0.0, samples=400))
    gather(baseline, 400, every_s=1.0)
    reference = baseline.reference(training(Groups(names=("cat", "other"), classes=(2,))), block=50)
    at = reference.calibration[:, 0].astype(int)
    assert reference.calibration_right is not None
    assert reference.profile_right is not None
    assert reference.calibration_right.tolist() == [0.5 + index % 2 / 4 for index in at]
    assert len(reference.profile_right) == 200
    assert reference.groups.classes == (0, 1, 2)
    assert reference.groups.names == ("class 0", "class 1", "cat", "other")
    assert reference.calibration_groups.tolist() == [index % 3 for index in at]
    assert reference.profile.groups.sum() == 200


def test_without_confidence_the_reference_has_none() -> None:
    baseline = Baseline(wanted(hours=0.0, samples=100))
    for at in range(100):
        baseline.add(np.full(3, at, dtype=np.float32), predicted=None, right=None, at_ns=at * S)
    reference = baseline.reference(training(Groups(names=("cat", "other"), classes=(2,))))
    assert reference.calibration_right is None
    assert reference.profile_right is None
    assert reference.groups == NO_GROUPS


def rows_of(baseline: Baseline) -> list[list[float]]:
    reference = baseline.reference(training(), block=10)
    return [*reference.calibration.tolist(), reference.profile.mean.tolist()]


@given(parts=st.lists(st.integers(min_value=1, max_value=60), min_size=1, max_size=5))
@settings(max_examples=30, deadline=None)
def test_what_was_appended_in_parts_is_restored_whole(parts: list[int]) -> None:
    baseline = Baseline(wanted(hours=0.0, samples=1000))
    data, start = baseline.head(), 0
    for count in parts:
        gather(baseline, count, every_s=1.0, start=start, start_s=float(start))
        data += baseline.unsaved()
        baseline.saved()
        start += count
    restored = Baseline.restore(data, wanted(hours=0.0, samples=1000))
    assert (restored.problem, restored.length) == ("", len(data))
    assert restored.baseline.n == baseline.n == sum(parts)
    assert restored.baseline.hours == baseline.hours
    assert restored.baseline.unsaved() == baseline.unsaved() == b""
    assert rows_of(restored.baseline) == rows_of(baseline)


def test_gathering_goes_on_after_a_restart_without_the_time_in_between() -> None:
    first = Baseline(wanted(hours=1.0, samples=100))
    gather(first, 31, every_s=60.0)
    data = first.head() + first.unsaved()
    second = Baseline.restore(data, wanted(hours=1.0, samples=100)).baseline
    gather(second, 31, every_s=60.0, start=31, start_s=5.0)
    assert second.hours == pytest.approx(1.0)
    assert second.n == 61  # the first after the restart is no 18 s from the last before it


@given(cut=st.integers(min_value=1, max_value=400), flip=st.booleans())
@settings(max_examples=60, deadline=None)
def test_a_damaged_end_costs_only_the_last_part(cut: int, flip: bool) -> None:
    baseline = Baseline(wanted(hours=0.0, samples=1000))
    gather(baseline, 50, every_s=1.0)
    good = baseline.head() + baseline.unsaved()
    baseline.saved()
    gather(baseline, 20, every_s=1.0, start=50, start_s=50.0)
    last = baseline.unsaved()
    assert len(last) == 16 + 20 * 20 >= cut
    damaged = bytearray(good + last)
    if flip:
        damaged[-cut] ^= 0x40
    else:
        del damaged[-cut:]
    restored = Baseline.restore(bytes(damaged), wanted(hours=0.0, samples=1000))
    assert restored.baseline.n == 50
    assert restored.length == len(good)
    assert restored.problem.endswith("bytes are damaged")


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "not a baseline"),
        (b"\x00" * 4096, "not a baseline"),
        (b'{"schema": "litewatch.blessings/1", "key": "k", "features": 3}\n', "of another schema"),
        (b'{"schema": "litewatch.baseline/1", "key": "k", "features": 3}', "of another schema"),
        (Baseline(wanted(key="other")).head(), "of another bundle or thinning"),
        (b'{"schema": "litewatch.baseline/1", "key": "k", "features": 4}\n', "of another bundle or thinning"),
    ],
)
def test_a_foreign_file_is_refused(data: bytes, problem: str) -> None:
    restored = Baseline.restore(data, wanted())
    assert (restored.problem, restored.length, restored.baseline.n) == (problem, 0, 0)


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_no_bytes_break_it(data: bytes) -> None:
    assert Baseline.restore(data, wanted()).baseline.n == 0
    assert Baseline.restore(Baseline(wanted()).head() + data, wanted()).baseline.n == 0


def test_forget_begins_anew() -> None:
    baseline = Baseline(wanted(hours=0.0, samples=100))
    gather(baseline, 100, every_s=1.0)
    before = baseline.beginnings
    baseline.forget()
    assert (baseline.n, baseline.hours, baseline.ready, baseline.unsaved()) == (0, 0.0, False, b"")
    assert baseline.beginnings == before + 1
    gather(baseline, 100, every_s=1.0)
    assert baseline.ready


def test_key_differs_with_every_part() -> None:
    keys = {baseline_key(*parts) for parts in [("a", "b", 3.0), ("a", "b", 2.0), ("ab", "", 3.0), ("a", "b")]}
    assert len(keys) == 4
    assert all(len(key) == 64 for key in keys)


def test_a_night_without_a_camera_after_the_first_frame_does_not_complete_the_day() -> None:
    baseline = Baseline(wanted())
    row = np.zeros(len(FEATURES), np.float32)
    for at_s in (0, 25 * 3600, 25 * 3600 + 10, 25 * 3600 + 20):
        baseline.add(row, predicted=None, right=None, at_ns=at_s * 1_000_000_000)
    assert baseline.hours < 0.2
