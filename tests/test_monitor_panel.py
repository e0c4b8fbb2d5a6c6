"""The panel keeps its promise on unchanged data, and finds what changed."""

from dataclasses import replace

import numpy as np
import pytest
from population import population, reference_of, window_of
from scipy.stats import genpareto

from agent.monitor.drift import KINDS
from agent.monitor.drift.null import Null, alpha_floor, null_key
from agent.monitor.drift.panel import Panel, calibrate
from agent.monitor.drift.tail import fit_tail, p_value
from agent.monitor.profiles import merge
from agent.monitor.reference import build
from agent.structure import load_kind

SAMPLES = 100


def panel_of(reference, *, samples=SAMPLES, seed=0):
    null = calibrate(reference, samples=samples, resamples=4000, seed=seed)
    return Panel(reference=reference, null=null)


def p_values(panel, reference, rows, classes):
    windows = zip(np.split(rows, len(rows) // SAMPLES), np.split(classes, len(rows) // SAMPLES), strict=True)
    return np.array([panel.score(window_of(reference, *window), 0.001).p for window in windows])


def test_unchanged_windows_keep_the_promise_and_a_half_sigma_shift_is_found():
    """Profile, calibration and windows come from one population; five populations, 2,000 windows
    each. The rate holds on average over references: a single one may draw unlucky rows, which
    moves its rate at 1 in 100 by a standard deviation of about 0.3 in 100. So the mean of five is
    within 0.4 (three standard errors) of the target; at 1 in 1,000 chance alone gives up to 20
    alarms of 10,000 where 10 are due (99.8 %)."""
    unchanged, shifted = [], []
    for seed in range(5):
        rng = np.random.default_rng(100 + seed)
        source = population(seed)
        reference = reference_of(source, rng)
        panel = panel_of(reference, seed=seed)
        unchanged.append(p_values(panel, reference, *source.draw(rng, 2000 * SAMPLES)))
        shifted.append(p_values(panel, reference, *source.draw(rng, 100 * SAMPLES, shift=(4, 10, 20))))
    unchanged = np.concatenate(unchanged)
    assert 0.002 <= (unchanged <= 0.01).mean() <= 0.014
    assert (unchanged <= 0.001).sum() <= 20
    assert (unchanged > 0).all()
    assert (np.concatenate(shifted) <= 0.001).mean() >= 0.95


@pytest.fixture
def setting(rng):
    source = population(3)
    reference = reference_of(source, rng)
    return source, reference, panel_of(reference)


def test_a_merged_window_scores_like_the_whole(setting, rng):
    source, reference, panel = setting
    rows, classes = source.draw(rng, SAMPLES)
    whole = panel.score(window_of(reference, rows, classes), 0.01)
    halves = window_of(reference, rows[:37], classes[:37]), window_of(reference, rows[37:], classes[37:])
    assert panel.score(merge(*halves), 0.01) == whole


def test_a_longer_window_is_judged_as_a_window(setting, rng):
    source, reference, panel = setting
    profile = window_of(reference, *source.draw(rng, SAMPLES))
    once, twice = panel.score(profile, 0.01), panel.score(merge(profile, profile), 0.01)
    assert twice.p == pytest.approx(once.p)
    assert (once.n, twice.n) == (SAMPLES, 2 * SAMPLES)


def test_the_score_says_what_it_found(setting, rng):
    source, reference, panel = setting
    rows, classes = source.draw(rng, SAMPLES)
    rows[:, 13] *= 3
    score = panel.score(window_of(reference, rows, classes), 0.001)
    assert score.drifted
    assert score.detector == "panel"
    assert score.distances[0].name == "feature 13"
    found = dict(score.statistics)
    assert set(found) == {"t2", "max_chi2", "class_chi2", "t2_p", "max_chi2_p", "class_chi2_p"}
    assert found["max_chi2"] == score.distances[0].chi2
    smallest = min(value for name, value in found.items() if name.endswith("_p"))
    assert score.p == pytest.approx(1 - (1 - smallest) ** 3)
    assert score.p >= alpha_floor(4000) * (1 - 1e-4)


def test_another_mix_of_classes_is_found_by_the_classes(setting, rng):
    source, reference, panel = setting
    rows, classes = source.draw(rng, SAMPLES)
    classes[:60] = int(np.argmin(source.chances))
    score = panel.score(window_of(reference, rows, classes), 0.001)
    found = dict(score.statistics)
    assert score.drifted
    assert found["class_chi2_p"] < 0.001 < found["t2_p"]
    assert score.distances[0].family == "class"


def test_without_classes_there_are_two_statistics(rng):
    source = population(3)
    full = reference_of(source, rng)
    groups = replace(full.groups, names=(), classes=())
    profile = replace(full.profile, groups=np.zeros(0, np.int64))
    reference = replace(full, groups=groups, profile=profile, calibration_groups=np.full(600, -1))
    panel = panel_of(reference)
    score = panel.score(window_of(reference, *source.draw(rng, SAMPLES)), 0.01)
    found = dict(score.statistics)
    assert set(found) == {"t2", "max_chi2", "t2_p", "max_chi2_p"}
    assert score.p == pytest.approx(1 - (1 - min(found["t2_p"], found["max_chi2_p"])) ** 2)


def test_a_feature_that_never_varied_alarms_when_it_does(rng):
    source = population(3)
    full = reference_of(source, rng)
    rows, classes = source.draw(rng, 600)
    rows[:, 5] = 2.5
    groups = full.calibration_groups
    reference = build(
        features=full.features, families=full.families, profile_rows=rows, profile_groups=groups,
        pixels=full.profile.pixels, calibration=rows, calibration_groups=groups, groups=full.groups,
        fingerprint="",
    )  # fmt: skip
    panel = panel_of(reference)
    window, classes = source.draw(rng, SAMPLES)
    window[:, 5] = 2.5
    assert not panel.score(window_of(reference, window, classes), 0.001).drifted
    window[:, 5] = 2.6
    score = panel.score(window_of(reference, window, classes), 1e-6)
    assert score.distances[0].name == "feature 5"
    assert score.p < 1e-4


def test_too_small_or_foreign_windows_are_refused(setting, rng):
    source, reference, panel = setting
    rows, classes = source.draw(rng, 99)
    with pytest.raises(ValueError, match="expected at least 100 observations, got 99"):
        panel.score(window_of(reference, rows, classes), 0.01)
    foreign = replace(window_of(reference, *source.draw(rng, 100)), features=("x",) * 34)
    with pytest.raises(ValueError, match="other features"):
        panel.score(foreign, 0.01)
    two = replace(calibrate(reference, samples=100, resamples=50, seed=0), names=("t2", "max_chi2"))
    with pytest.raises(ValueError, match="null distribution of"):
        Panel(reference=reference, null=two)


def test_the_same_seed_gives_the_same_null_and_the_cache_keeps_it(rng):
    reference = reference_of(population(3), rng)
    first = calibrate(reference, samples=50, resamples=700, seed=9)
    again = calibrate(reference, samples=50, resamples=700, seed=9)
    kept = Null.decode(first.encode())
    for null in (again, kept):
        assert (null.names, null.samples, null.resamples, null.key) == (first.names, 50, 700, first.key)
        np.testing.assert_array_equal(null.table, first.table)
    assert first.key == null_key(reference, samples=50, resamples=700, seed=9)
    others = [
        null_key(reference, samples=51, resamples=700, seed=9),
        null_key(reference, samples=50, resamples=700, seed=8),
        null_key(reference_of(population(3), rng), samples=50, resamples=700, seed=9),
    ]
    assert len({first.key, *others}) == 4


def test_a_damaged_cache_is_refused(rng):
    data = calibrate(reference_of(population(3), rng), samples=50, resamples=100, seed=9).encode()
    damaged = [
        b"",
        b"\n",
        data[:-1],
        data[:100],
        b"[]\n",
        b"{}\n",
        b"null",
        data[:-1] + b"\x01",
        b"[" * 100_000,
    ]
    for bad in damaged:
        with pytest.raises(ValueError, match="not a cached null distribution"):
            Null.decode(bad)


def test_the_tail_of_a_known_distribution_is_extrapolated(rng):
    for sample, exact in (
        (rng.exponential(size=20_000), np.exp(-13.0)),
        (genpareto.rvs(0.2, size=20_000, random_state=rng), genpareto.sf(13.0, 0.2)),
    ):
        ordered = np.sort(sample)
        found = p_value(13.0, ordered, fit_tail(ordered), floor=1e-12)
        assert exact / 4 < found < exact * 4


def test_the_tail_never_ends():
    bounded = np.sort(np.random.default_rng(0).uniform(size=5000))
    tail = fit_tail(bounded)
    assert tail.shape == 0.0
    assert 0 < p_value(1.2, bounded, tail, floor=1e-7) < 1e-3
    heavy = np.sort(np.random.default_rng(0).pareto(1.0, size=5000))
    assert fit_tail(heavy).shape == 0.25


def test_p_values_fall_and_meet_at_the_threshold(rng):
    sample = np.sort(rng.chisquare(5, size=4000))
    tail = fit_tail(sample)
    at = np.linspace(0, 80, 2000)
    found = np.array([p_value(value, sample, tail, floor=1e-7) for value in at])
    assert (np.diff(found) <= 1e-12).all()
    assert found[0] == 1.0
    assert found[-1] >= 1e-7
    assert p_value(tail.threshold, sample, tail, floor=0) == pytest.approx(tail.share, rel=0.01)


def test_a_statistic_that_never_varied():
    flat = np.zeros(1000)
    tail = fit_tail(flat)
    assert p_value(0.0, flat, tail, floor=1e-6) == 1.0
    assert p_value(1.0, flat, tail, floor=1e-6) == 1e-6


def test_the_panel_is_registered():
    assert load_kind(KINDS, "panel") is Panel
