"""Normal days wander; what follows them is no alarm, what does not still is."""

from dataclasses import replace

import numpy as np
import pytest
from days import NO_PIXELS, PER_DAY, QUIET, WINDOW, Camera, baseline
from population import groups_of, population

from agent.monitor.drift.evidence import MAX_CHI2, T2, Statistics
from agent.monitor.drift.resampling import calibrate
from agent.monitor.groups import NO_GROUPS
from agent.monitor.profiles import profile_of
from agent.monitor.reference import build
from agent.monitor.scores import row_scores, whitening
from agent.monitor.wander import FEWEST_BLOCKS, level_axes_of, share_axes_of

DAY_S = 86_400.0
ALPHA = (WINDOW / PER_DAY) / 30 / 3
"""One window's part of a third of one false alarm a month."""


def windows(reference, rows, classes):
    groups = groups_of(reference.groups, classes)
    for start in range(0, len(rows) - WINDOW + 1, WINDOW):
        yield profile_of(
            rows[start : start + WINDOW], groups[start : start + WINDOW], features=reference.features,
            edges=reference.edges, n_groups=len(reference.groups.names), pixels=NO_PIXELS,
        )  # fmt: skip


def p_values(reference, rows, classes):
    """The panel's p-value of each window, without describing how far its features lie."""
    null = calibrate(reference, samples=WINDOW, resamples=4000, seed=1)
    statistics = Statistics(reference, WINDOW)
    smallest = [min(null.p(statistics.of(window)).values()) for window in windows(reference, rows, classes)]
    return 1 - (1 - np.array(smallest)) ** len(statistics.names)


def test_days_that_wander_keep_the_promise_and_a_fault_is_found():
    """Five cameras, baselines of one day, 240 other device-days: the panel's share of the promise is 3
    false alarms, one per 30 device-days would be 8. Without knowing that days wander every window is
    an alarm. A shift of half a sigma in four features is found whatever the hour."""
    false, blind, found, days = 0, [], [], 48
    for seed in range(5):
        rng = np.random.default_rng(1000 + seed)
        camera = Camera(seed)
        reference = baseline(*camera.days(rng, 1))
        unchanged = camera.days(rng, days)
        false += (p_values(reference, *unchanged) <= ALPHA).sum()
        if seed == 0:
            part = unchanged[0][:PER_DAY], unchanged[1][:PER_DAY]
            blind.append((p_values(replace(reference, wander=None), *part) <= ALPHA).mean())
        found.append((p_values(reference, *camera.days(rng, 1, shift=QUIET, by=0.5)) <= ALPHA).mean())
    assert false <= 8
    assert min(blind) > 0.9
    assert np.mean(found) >= 0.9


def test_rows_in_any_order_do_not_wander():
    rng = np.random.default_rng(5)
    source = population(0)
    reference = baseline(*source.draw(rng, 2750))
    axes = Statistics(reference, WINDOW).axes
    assert (axes[T2].variance < 12).all()
    assert axes[T2].rest < 1.5
    assert (axes[MAX_CHI2].rest < 2).all()
    later = p_values(reference, *source.draw(rng, 200 * WINDOW))
    assert (later <= 0.01).mean() <= 0.02
    shifted = p_values(reference, *source.draw(rng, 40 * WINDOW, shift=(4, 10, 20)))
    assert (shifted <= ALPHA).mean() >= 0.95


def test_steady_scores_do_not_follow_the_day():
    camera, rng = Camera(0), np.random.default_rng(2)
    reference = baseline(*camera.days(rng, 1))
    wander = reference.wander
    rows, _ = camera.days(rng, 3)

    def furthest(scores):
        return np.abs(scores[: 33 * WINDOW].reshape(33, WINDOW, -1).mean(axis=1)).max(axis=0)

    scores = row_scores(rows, reference.edges, wander.scores)
    steady = wander.steady(scores)
    assert steady.shape == (len(rows), len(wander.steady_features))
    assert furthest(scores)[:10].min() > 0.6
    assert furthest(steady).max() < 0.35
    np.testing.assert_allclose(steady.std(axis=0), 1.0, atol=0.15)


def test_steady_scores_have_variance_one_within_the_blocks_and_mean_zero():
    camera, rng = Camera(1), np.random.default_rng(3)
    rows, classes = camera.days(rng, 1)
    wander = baseline(rows, classes).wander
    steady = wander.steady(row_scores(rows, baseline(rows, classes).edges, wander.scores))
    blocks = np.arange(PER_DAY) * 11 // PER_DAY
    within = sum(
        ((steady[blocks == k] - steady[blocks == k].mean(axis=0)) ** 2).sum(axis=0) for k in range(11)
    )
    np.testing.assert_allclose(within / (PER_DAY - 11), 1.0, rtol=1e-9)
    np.testing.assert_allclose(steady.mean(axis=0), 0.0, atol=1e-9)


def test_blocks_are_counted_exactly_and_the_covariance_is_that_within_them():
    camera, rng = Camera(2), np.random.default_rng(4)
    rows, classes = camera.days(rng, 1)
    reference = baseline(rows, classes)
    wander = reference.wander
    assert wander.counts.shape == (11, 34, 16)
    assert wander.sizes.tolist() == [250.0] * 11
    np.testing.assert_array_equal(wander.counts.sum(axis=(0, 2)), [PER_DAY] * 34)
    np.testing.assert_array_equal(wander.groups.sum(axis=1), [250] * 11)
    assert np.bincount(wander.calibration_blocks).tolist() == [125] * 11
    scores = row_scores(rows, reference.edges, wander.scores).reshape(11, 250, 34)
    np.testing.assert_allclose(wander.levels, scores.mean(axis=1), atol=1e-12)
    pooled = np.mean([np.cov(block.T) for block in scores], axis=0)
    np.testing.assert_allclose(wander.within, pooled, atol=1e-10)
    whiten = whitening(wander.within)
    mixed = 0.9 * wander.within + 0.1 * np.eye(34)
    np.testing.assert_allclose(whiten @ whiten.T, np.linalg.inv(mixed), atol=1e-8)


def test_too_few_blocks_say_nothing():
    rows, classes = Camera(2).days(np.random.default_rng(4), 1)
    assert baseline(rows, classes, block=PER_DAY // (FEWEST_BLOCKS - 1)).wander is None
    assert baseline(rows, classes, block=PER_DAY // FEWEST_BLOCKS).wander is not None


def test_a_direction_that_wanders_is_found_and_weighed_by_what_it_does(rng):
    direction = np.ones(20) / np.sqrt(20)
    blocks = rng.normal(size=(40, 20)) + 8 * rng.normal(size=(40, 1)) * direction
    axes = share_axes_of(blocks, chance=np.array(20.0), scale=1.0)
    assert axes.axes.shape[1] <= 2  # chance reaches the edge every other time
    assert abs(axes.axes[:, 0] @ direction) > 0.98
    assert 30 < axes.variance[0] < 130
    along, across = 16 * direction, 16 * np.roll(np.eye(20)[0] - np.eye(20)[1], 3) / np.sqrt(2)
    near, far = axes.distance(np.stack([along, across]) + axes.centre)
    assert near < 12 < 200 < far


def test_far_out_on_an_axis_the_others_are_known_less_well(rng):
    blocks = rng.normal(size=(12, 10))
    blocks[:, 0] += 20 * np.linspace(-1, 1, 12)
    axes = level_axes_of(blocks, chance=np.array(10.0), scale=1.0)
    fault = np.zeros((3, 10))
    fault[:, 5] = 9
    fault[1:, 0] = 15, 60
    seen, within, beyond = axes.distance(fault + axes.centre) - axes.distance(
        fault * (np.arange(10) != 5) + axes.centre
    )
    assert beyond < 0.5 * min(seen, within)


def test_longer_windows_wander_more_than_chance_does(rng):
    blocks = rng.normal(size=(30, 5))
    blocks[:, 2] *= 10
    short, long = (share_axes_of(blocks, chance=np.array(5.0), scale=scale) for scale in (1.0, 4.0))
    np.testing.assert_allclose(long.variance - 31 / 30, 4 * (short.variance - 31 / 30))


def test_thresholds_of_another_baseline_are_not_taken_from_the_cache():
    from agent.monitor.drift.null import null_key

    reference = baseline(*Camera(0).days(np.random.default_rng(1), 1))
    options = {"samples": WINDOW, "resamples": 4000, "seed": 1}
    assert null_key(reference, **options) != null_key(replace(reference, wander=None), **options)


@pytest.mark.parametrize("given", [{}, {"profile_right": np.ones(1375), "calibration_right": np.zeros(1375)}])
def test_a_reference_may_know_how_often_its_rows_were_right(given):
    reference = baseline(*Camera(0).days(np.random.default_rng(1), 1), **given)
    assert reference.profile_right is given.get("profile_right")
    assert reference.calibration_right is given.get("calibration_right")


def test_sensors_that_go_with_the_day_keep_the_promise_and_their_covariance_is_watched():
    rng = np.random.default_rng(8)
    loadings = rng.normal(size=(2, 6))

    def days(days, *, decorrelated=False):
        n = days * PER_DAY
        warm = np.sin(2 * np.pi * np.arange(n) / PER_DAY)
        rows = rng.normal(size=(n, 2)) @ loadings + 0.3 * rng.normal(size=(n, 6))
        if decorrelated:
            rows[:, 0] = rng.permutation(rows[:, 0])
        return (rows + 3 * warm[:, None] * [1, 1, -1, 0, 0, 0]).astype(np.float32)

    def reference_of(rows):
        numbers = np.arange(PER_DAY) * 11 // PER_DAY
        profile = np.arange(PER_DAY) // 25 % 2 == 0
        none = np.full(PER_DAY // 2, -1)
        return build(
            features=tuple("abcdef"), families=("value",) * 6, pixels=NO_PIXELS,
            profile_rows=rows[profile], profile_groups=none, calibration=rows[~profile],
            calibration_groups=none, groups=NO_GROUPS,
            fingerprint="", blocks=(numbers[profile], numbers[~profile]),
        )  # fmt: skip

    reference = reference_of(days(1))
    assert Statistics(reference, WINDOW).names == ("t2", "max_chi2", "covariance")
    null = calibrate(reference, samples=WINDOW, resamples=4000, seed=1)
    statistics = Statistics(reference, WINDOW)

    def found(rows):
        given = [
            profile_of(
                window, np.full(WINDOW, -1), features=reference.features, edges=reference.edges, n_groups=0,
                pixels=NO_PIXELS, elements=6,
            )
            for window in rows[: len(rows) // WINDOW * WINDOW].reshape(-1, WINDOW, 6)
        ]  # fmt: skip
        return np.array([null.p(statistics.of(window))["covariance"] for window in given])

    assert (found(days(40)) <= ALPHA / 3).sum() <= 2
    assert (found(days(2, decorrelated=True)) <= ALPHA / 3).mean() >= 0.95
