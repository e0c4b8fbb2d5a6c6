"""Which sampled frames of a stream count as independent."""

import numpy as np
import pytest

from agent.monitor.thinning import Passed, Thinning

FEATURES = 36


def scenes(n: int, dwell: int, seed: int = 0, noise: float = 0.3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    levels = rng.normal(size=(n // dwell + 1, FEATURES)) @ rng.normal(size=(FEATURES, FEATURES)) / 6
    rows = np.repeat(levels, dwell, axis=0)[:n] + noise * rng.normal(size=(n, FEATURES))
    return rows.astype(np.float32)


def feed(thinning: Thinning, rows: np.ndarray, start: int = 0) -> list[Passed]:
    passed: list[Passed] = []
    for at, row in enumerate(rows, start):
        passed += thinning.add(row, predicted=at % 7, right=at / 1e6, at_ns=at)
    return passed


def test_every_frame_comes_out_once_in_order_with_what_it_came_with() -> None:
    rows = scenes(1000, 10)
    passed = feed(Thinning(3.0), rows)
    assert [frame.at_ns for frame in passed] == list(range(1000))
    assert [frame.predicted for frame in passed] == [at % 7 for at in range(1000)]
    assert [frame.right for frame in passed] == [at / 1e6 for at in range(1000)]
    assert all(np.array_equal(frame.row, row) for frame, row in zip(passed, rows, strict=True))


def test_the_first_frames_are_held_back_until_the_dwell_is_known() -> None:
    thinning, rows = Thinning(3.0, first=64), scenes(64, 1)
    assert feed(thinning, rows[:63]) == []
    assert thinning.dwell_samples is None
    assert thinning.interval == 1
    assert thinning.effective(250) == 250.0
    released = thinning.add(rows[63], predicted=None, right=None, at_ns=63)
    assert len(released) == 64
    assert thinning.dwell_samples is not None


def test_independent_frames_all_count() -> None:
    thinning = Thinning(3.0)
    passed = feed(thinning, scenes(10_000, 1))
    assert all(frame.independent for frame in passed)
    assert thinning.interval == 1
    assert thinning.effective(250) == 250.0


@pytest.mark.parametrize("dwell", [5, 10, 25, 50])
def test_dwelling_frames_are_thinned_to_the_multiple_of_the_dwell(dwell: int) -> None:
    thinning = Thinning(3.0)
    passed = feed(thinning, scenes(16_384, dwell))
    assert thinning.interval == pytest.approx(3 * dwell, rel=0.3)
    independent = [frame.at_ns for frame in passed[8192:] if frame.independent]
    assert set(np.diff(independent)) == {thinning.interval}
    assert thinning.effective(1000) == pytest.approx(1000 / dwell, rel=0.3)
    assert thinning.lag_1 is not None
    assert thinning.lag_1 < 0.1


def test_scenes_of_250_samples_are_found_although_the_first_frames_show_only_one() -> None:
    thinning = Thinning(3.0)
    passed = feed(thinning, scenes(20_000, 250))
    assert thinning.interval == pytest.approx(750, rel=0.25)
    assert sum(frame.independent for frame in passed[:2048]) < 450
    assert sum(frame.independent for frame in passed[10_000:]) in range(10, 18)


def test_it_follows_a_stream_that_begins_to_dwell_and_ignores_small_differences() -> None:
    thinning = Thinning(3.0)
    feed(thinning, scenes(4096, 1))
    assert thinning.interval == 1
    feed(thinning, scenes(40_000, 20, seed=1), start=4096)
    settled = thinning.interval
    assert settled == pytest.approx(60, rel=0.25)
    feed(thinning, scenes(20_000, 20, seed=2), start=44_096)
    assert thinning.interval == settled


def test_once_known_well_it_only_shortens_for_scenes_half_as_long() -> None:
    """A window of most of a day that becomes a little shorter leaves out another part of the day."""
    thinning = Thinning(3.0)
    feed(thinning, scenes(40_000, 30))
    settled = thinning.interval
    assert settled == pytest.approx(90, rel=0.25)
    feed(thinning, scenes(40_000, 20, seed=1), start=40_000)
    assert thinning.interval == settled
    feed(thinning, scenes(40_000, 10, seed=2), start=80_000)
    assert thinning.interval == pytest.approx(30, rel=0.25)
    feed(thinning, scenes(40_000, 20, seed=3), start=120_000)
    assert thinning.interval == pytest.approx(60, rel=0.25)


def test_multiple_0_takes_every_frame_for_independent_at_once() -> None:
    thinning = Thinning(0.0)
    passed = feed(thinning, scenes(300, 50))
    assert len(passed) == 300
    assert all(frame.independent for frame in passed)
    assert thinning.interval == 1
    assert thinning.dwell_samples is None
    assert thinning.lag_1 is not None
    assert thinning.lag_1 > 0.5


def test_a_frozen_scene_is_one_observation() -> None:
    passed = feed(Thinning(3.0), np.ones((128, FEATURES), dtype=np.float32))
    assert [frame.independent for frame in passed] == [True] + [False] * 127


def test_what_is_held_back_is_released_when_the_stream_ends() -> None:
    thinning = Thinning(3.0)
    assert feed(thinning, scenes(50, 1)) == []
    assert [frame.at_ns for frame in thinning.release()] == list(range(50))
    assert thinning.release() == ()


def test_lag_1_is_unknown_for_a_few_independent_frames() -> None:
    thinning = Thinning(3.0)
    feed(thinning, scenes(128, 50))
    assert thinning.lag_1 is None


def test_at_another_pace_it_is_measured_anew() -> None:
    rng = np.random.default_rng(4)
    thinning = Thinning(3.0, 128)

    def show(scenes: int, frames: int) -> int:
        independent = 0
        for _ in range(scenes):
            scene = rng.normal(size=4)
            for _ in range(frames):
                row = (scene + 0.1 * rng.normal(size=4)).astype(np.float32)
                passed = thinning.add(row, predicted=None, right=None, at_ns=0)
                independent += sum(frame.independent for frame in passed)
        return independent

    show(200, 5)
    assert 8 <= thinning.interval <= 20
    thinning.restart()
    assert thinning.dwell_samples is None
    assert show(40, 50) <= 40
