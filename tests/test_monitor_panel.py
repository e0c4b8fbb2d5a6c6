"""The panel keeps its promise on unchanged data, and finds what changed."""

from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from population import population, reference_of, window_of
from scipy.stats import genpareto

from agent.contracts import Sampled
from agent.monitor.distances import chi_square, shares_of
from agent.monitor.drift import KINDS
from agent.monitor.drift.evidence import Statistics
from agent.monitor.drift.null import Null, alpha_floor, null_key
from agent.monitor.drift.panel import Panel, PanelDetector, calibrate
from agent.monitor.drift.tail import fit_tail, p_value
from agent.monitor.groups import NO_GROUPS
from agent.monitor.plan import Plan
from agent.monitor.profiles import merge, profile_of
from agent.monitor.promise import MONTH_S, alpha
from agent.monitor.reference import build
from agent.structure import load_kind

SAMPLES = 100


def panel_of(reference, *, samples=SAMPLES, seed=0):
    null = calibrate(reference, samples=samples, resamples=4000, seed=seed)
    return PanelDetector(reference=reference, null=null)


def p_values(reference, null, rows, classes):
    """The panel's p-value of each window, without describing how far its features lie."""
    statistics = Statistics(reference, SAMPLES)
    windows = zip(np.split(rows, len(rows) // SAMPLES), np.split(classes, len(rows) // SAMPLES), strict=True)
    smallest = [min(null.p(statistics.of(window_of(reference, *window))).values()) for window in windows]
    return 1 - (1 - np.array(smallest)) ** len(statistics.names)


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
        null = calibrate(reference, samples=SAMPLES, resamples=4000, seed=seed)
        unchanged.append(p_values(reference, null, *source.draw(rng, 2000 * SAMPLES)))
        shifted.append(p_values(reference, null, *source.draw(rng, 100 * SAMPLES, shift=(4, 10, 20))))
    unchanged = np.concatenate(unchanged)
    assert 0.002 <= (unchanged <= 0.01).mean() <= 0.014
    assert (unchanged <= 0.001).sum() <= 20
    assert (unchanged > 0).all()
    assert (np.concatenate(shifted) <= 0.001).mean() >= 0.92


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
    assert found["max_chi2"] == pytest.approx(score.distances[0].chi2)
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
        PanelDetector(reference=reference, null=two)


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


PLAN = Plan(
    samples=SAMPLES, false_alarms_per_month=0.5, tolerance_points=2.0, calibration_rows=600,
    sampled_interval_s=1.0, thinning=1,
)  # fmt: skip


@dataclass
class Drawer:
    """A cache in memory."""

    held: dict[str, bytes] = field(default_factory=dict)

    def get(self, key):
        return self.held.get(key)

    def put(self, key, content):
        self.held[key] = content


def stream(rows, groups, *, first_s=0, every_s=1.0, independent=lambda at: True):
    for at, (row, group) in enumerate(zip(rows, groups, strict=True)):
        now = int((first_s + at * every_s) * 1e9)
        yield Sampled(row=row, group=int(group), right=None, at_ns=now, independent=independent(at))


@pytest.fixture
def kind():
    return Panel(resamples=4000)


def test_thresholds_are_made_once_and_a_damaged_cache_again(setting, kind):
    _, reference, _ = setting
    drawer = Drawer()
    kind.make(reference, PLAN, drawer)
    ((key, content),) = drawer.held.items()
    assert key == null_key(reference, samples=SAMPLES, resamples=4000, seed=1)
    marked = replace(Null.decode(content), table=Null.decode(content).table + 1.0).encode()
    drawer.held[key] = marked
    kind.make(reference, PLAN, drawer)
    assert drawer.held[key] == marked  # taken as it is
    drawer.held[key] = content[:-1]
    kind.make(reference, PLAN, drawer)
    assert drawer.held[key] == content


def test_a_window_of_independent_frames_is_scored_with_what_accrued(setting, kind, rng):
    source, reference, _ = setting
    detector = kind.make(reference, PLAN, Drawer())
    rows, classes = source.draw(rng, 3 * 2 * SAMPLES)
    groups = [reference.groups.of_class(int(index)) for index in classes]
    every_other = stream(rows, groups, every_s=60.0, independent=lambda at: at % 2 == 0)
    scores = [score for sampled in every_other if (score := detector.add(sampled))]
    assert [score.n for score in scores] == [SAMPLES] * 3
    expected = [alpha(0.5, seconds * 60.0) for seconds in (198, 200, 200)]
    assert [score.alpha for score in scores] == pytest.approx(expected)
    window = window_of(reference, rows[0 : 2 * SAMPLES : 2], classes[0 : 2 * SAMPLES : 2])
    assert scores[0].p == detector.score(window, scores[0].alpha).p
    assert scores[0].detector == detector.name == "panel"


def test_a_window_too_early_for_its_tail_waits_and_its_time_is_kept(setting, kind, rng):
    source, reference, _ = setting
    detector = kind.make(reference, PLAN, Drawer())
    rows, classes = source.draw(rng, 3 * SAMPLES)
    groups = [reference.groups.of_class(int(index)) for index in classes]
    floor_s = alpha_floor(4000) * MONTH_S / PLAN.false_alarms_per_month
    every_s = 0.6 * floor_s / SAMPLES
    scores = [detector.add(sampled) for sampled in stream(rows, groups, every_s=every_s)]
    scored = [at for at, score in enumerate(scores) if score]
    assert scored == [2 * SAMPLES - 1]
    assert scores[scored[0]].alpha == pytest.approx(alpha(0.5, scored[0] * every_s))


def test_a_detector_that_forgets_begins_anew(setting, kind, rng):
    source, reference, _ = setting
    detector = kind.make(reference, PLAN, Drawer())
    rows, classes = source.draw(rng, SAMPLES)
    groups = [reference.groups.of_class(int(index)) for index in classes]
    for sampled in stream(rows[:-1], groups[:-1], every_s=60.0):
        assert detector.add(sampled) is None
    detector.forget()
    scores = [detector.add(sampled) for sampled in stream(rows, groups, first_s=1e6, every_s=60.0)]
    assert [at for at, score in enumerate(scores) if score] == [SAMPLES - 1]
    assert scores[-1].alpha == pytest.approx(alpha(0.5, (SAMPLES - 1) * 60.0))


def test_what_the_panel_cannot_promise(kind):
    assert kind.problems() == []
    assert Panel(resamples=100).problems() == ["resamples: must be 4000 … 200000, got 100"]
    assert kind.broken_promise(replace(PLAN, sampled_interval_s=None)) == ()
    assert kind.broken_promise(PLAN) == ()
    (problem,) = kind.broken_promise(replace(PLAN, sampled_interval_s=0.1))
    assert "below 2.5e-06, the least that 4000 resampled windows can tell" in problem
    assert kind.broken_promise(replace(PLAN, sampled_interval_s=0.1, thinning=30)) == ()
    assert Panel().broken_promise(replace(PLAN, sampled_interval_s=0.1)) == ()
    (problem,) = kind.broken_promise(replace(PLAN, calibration_rows=399))
    assert "100 is more than a quarter of the bundle's 399 calibration rows" in problem


@pytest.mark.parametrize("samples", [SAMPLES, 57])
def test_the_statistics_are_what_they_say(setting, rng, samples):
    """Against the definitions, written out: a quick way is taken to them."""
    source, reference, _ = setting
    window = window_of(reference, *source.draw(rng, SAMPLES, shift=(4,)))
    statistics = Statistics(reference, samples)
    found = statistics.of(window)
    shares, groups = shares_of(window.counts)[None], shares_of(window.groups)[None]
    chi2 = chi_square(reference.profile.counts, shares, samples)
    assert found["max_chi2"] == pytest.approx(chi2.max())
    assert found["class_chi2"] == pytest.approx(chi_square(reference.profile.groups, groups, samples)[0])
    level = statistics.coordinates("t2", shares)
    assert found["t2"] == pytest.approx((level**2).sum())
    mixed = 0.9 * reference.covariance + 0.1 * np.eye(34)
    from agent.monitor.scores import bin_scores

    moved = ((shares - shares_of(reference.profile.counts)) * bin_scores(reference.profile.counts)).sum(
        axis=-1
    )[0]
    assert found["t2"] == pytest.approx(samples * moved @ np.linalg.inv(mixed) @ moved)


SENSORS = 8
LOADINGS = np.array([[1, 0], [0.9, 0.1], [0.8, 0.3], [0, 1], [0.1, 0.9], [0.5, 0.5], [0.7, -0.4], [0.2, 0.8]])


def sensors(rng, n, *, decorrelated=False, gain=1.0):
    values = rng.normal(size=(n, 2)) @ LOADINGS.T + 0.35 * rng.normal(size=(n, SENSORS))
    if decorrelated:
        values[:, 0] = values[rng.permutation(n), 0]
    values[:, 3] *= gain
    return np.column_stack([values, values.mean(axis=1)]).astype(np.float32)


def sensor_reference(rng, n=1000):
    return build(
        features=(*(f"sensor {at}" for at in range(SENSORS)), "output.value"),
        families=("value",) * SENSORS + ("output",), profile_rows=sensors(rng, n),
        profile_groups=np.full(n, -1), pixels=np.zeros((0, 256), np.int64), calibration=sensors(rng, n),
        calibration_groups=np.full(n, -1), groups=NO_GROUPS, fingerprint="",
    )  # fmt: skip


def sensor_window(reference, rows):
    return profile_of(
        rows, np.full(len(rows), -1), features=reference.features, edges=reference.edges, n_groups=0,
        pixels=np.zeros((0, 256), np.int64), elements=SENSORS,
    )  # fmt: skip


def test_sensors_that_no_longer_go_together_are_found_by_their_covariance(rng):
    reference = sensor_reference(rng)
    panel = panel_of(reference)

    def scores(windows, **fault):
        rows = [sensors(rng, SAMPLES, **fault) for _ in range(windows)]
        return [panel.score(sensor_window(reference, window), 0.001) for window in rows]

    def share(scores):
        return np.mean([score.drifted for score in scores])

    assert share(scores(500)) <= 0.01
    decorrelated = scores(40, decorrelated=True)
    assert share(decorrelated) == 1.0
    found = dict(decorrelated[0].statistics)
    assert found["covariance_p"] < 0.001 < min(found["t2_p"], found["max_chi2_p"])
    assert share(scores(40, gain=1.35)) >= 0.9


def test_one_wild_reading_is_no_change_of_covariance(rng):
    reference = sensor_reference(rng)
    detector = Panel(resamples=4000).make(reference, PLAN, Drawer())
    rows = sensors(rng, SAMPLES)
    rows[17, 2] = 1e6
    scores = [detector.add(sampled) for sampled in stream(rows, np.full(SAMPLES, -1), every_s=60.0)]
    wild = dict(scores[-1].statistics)["covariance"]
    whole = dict(detector.score(sensor_window(reference, rows), 0.1).statistics)["covariance"]
    assert wild < 1e-6 * whole


def test_merged_sensor_windows_score_like_the_whole(rng):
    reference = sensor_reference(rng)
    panel = panel_of(reference)
    rows = sensors(rng, SAMPLES)
    whole = panel.score(sensor_window(reference, rows), 0.01)
    halves = sensor_window(reference, rows[:31]), sensor_window(reference, rows[31:])
    merged = panel.score(merge(*halves), 0.01)
    assert dict(merged.statistics) == pytest.approx(dict(whole.statistics), rel=1e-8)


def test_a_sensor_that_never_varied_alarms_when_it_does(rng):
    rows = sensors(rng, 1200)
    rows[:, 2] = 7.5
    reference = build(
        features=sensor_reference(rng, 50).features, families=("value",) * SENSORS + ("output",),
        profile_rows=rows[:600], profile_groups=np.full(600, -1), pixels=np.zeros((0, 256), np.int64),
        calibration=rows[600:], calibration_groups=np.full(600, -1), groups=NO_GROUPS, fingerprint="",
    )  # fmt: skip
    panel = panel_of(reference)
    window = sensors(rng, SAMPLES)
    window[:, 2] = 7.5
    assert not panel.score(sensor_window(reference, window), 1e-4).drifted
    window[:, 2] += rng.normal(size=SAMPLES)
    assert panel.score(sensor_window(reference, window), 1e-5).drifted


def test_a_feature_that_never_varied_is_no_reason_to_fail() -> None:
    rows = np.random.default_rng(9).normal(size=(800, 2)).astype(np.float32)
    rows[:, 0] = 3.0
    reference = build(
        features=("constant", "other"),
        families=("value", "value"),
        profile_rows=rows[:400],
        profile_groups=np.full(400, -1),
        pixels=np.zeros((0, 256), np.int64),
        calibration=np.full((400, 2), rows[0], np.float32),
        calibration_groups=np.full(400, -1),
        groups=NO_GROUPS,
        fingerprint="0" * 64,
    )
    null = calibrate(reference, samples=50, resamples=1000, seed=1)
    detector = PanelDetector(reference=reference, null=null, false_alarms_per_month=1.0)
    for at in range(50):
        score = detector.add(Sampled(row=rows[0], group=-1, right=None, at_ns=at * 10**12, independent=True))
    assert score is not None
    assert 0 < score.p <= 1
