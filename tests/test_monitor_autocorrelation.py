"""The dwell of streams whose autocorrelation is known from their construction."""

import math

import numpy as np
import pytest
from scipy.signal import lfilter

from agent.monitor.autocorrelation import effective, integrated_time, lag_1, measure

FEATURES = 36


def scenes(n: int, dwell: int, seed: int = 0) -> np.ndarray:
    """Scenes of ``dwell`` samples each: their τ is exactly ``dwell``."""
    rng = np.random.default_rng(seed)
    mixed = rng.normal(size=(FEATURES, FEATURES))
    levels = rng.normal(size=(n // dwell + 1, FEATURES)) @ mixed
    return np.repeat(levels, dwell, axis=0)[:n].astype(np.float32)


def autoregression(n: int, r: float, seed: int = 0) -> np.ndarray:
    """First order, by SciPy's filter: its τ is (1 + r) / (1 − r)."""
    rng = np.random.default_rng(seed)
    start = rng.normal(size=(1, FEATURES)) * r
    noise = rng.normal(size=(n, FEATURES)) * math.sqrt(1 - r * r)
    return lfilter([1.0], [1.0, -r], noise, axis=0, zi=start)[0].astype(np.float32)


def day(n: int, period: int) -> np.ndarray:
    """Light of a day with a dark night, in units of the scenes' own spread, other for each feature."""
    light = np.clip(3 * np.cos(2 * np.pi * np.arange(n) / period), -1, 1)
    return (light[:, None] * np.linspace(-12, 12, FEATURES)).astype(np.float32)


@pytest.mark.parametrize("dwell", [1, 2, 5, 10, 25, 50])
def test_dwell_of_scenes_is_measured(dwell: int) -> None:
    found = measure(scenes(16_384, dwell))
    assert found is not None
    assert found.settled
    assert found.tau == pytest.approx(dwell, rel=0.15)


@pytest.mark.parametrize(("r", "tau"), [(0.5, 3.0), (0.9, 19.0), (0.98, 99.0)])
def test_autoregression_has_the_time_of_the_formula(r: float, tau: float) -> None:
    found = measure(autoregression(16_384, r))
    assert found is not None
    assert found.tau == pytest.approx(tau, rel=0.2)


def test_scenes_of_250_samples_are_measured_on_the_longest_series() -> None:
    found = measure(scenes(16_384, 250))
    assert found is not None
    assert found.tau == pytest.approx(250, rel=0.2)


@pytest.mark.parametrize("dwell", [1, 5, 25])
def test_the_light_of_the_day_is_not_taken_for_dwell(dwell: int) -> None:
    rows = scenes(16_384, dwell)
    plain, lit = measure(rows), measure(rows + day(16_384, 8640))
    assert plain is not None
    assert lit is not None
    assert lit.tau == pytest.approx(plain.tau, rel=0.1, abs=0.1)


def test_too_short_a_series_says_so() -> None:
    found = measure(scenes(256, 50))
    assert found is not None
    assert not found.settled


def test_nothing_is_told_of_a_few_rows_or_of_constant_ones() -> None:
    assert measure(scenes(19, 1)) is None
    assert measure(np.full((500, 3), 7.0, dtype=np.float32)) is None
    assert lag_1(scenes(19, 1)) is None
    assert lag_1(np.full((500, 3), 7.0, dtype=np.float32)) is None


def test_lag_1_is_the_median_over_features_without_the_trend() -> None:
    independent = autoregression(4000, 0.0)
    rows = np.column_stack([independent[:, :2], autoregression(4000, 0.9)[:, 2:]])
    rows += np.linspace(0, 50, 4000, dtype=np.float32)[:, None]
    found = lag_1(rows)
    assert found is not None
    assert found == pytest.approx(0.9, abs=0.02)
    alone = lag_1(rows[:, :3])
    assert alone is not None
    assert alone == pytest.approx(0.0, abs=0.05)


def test_a_constant_feature_among_others_is_passed_over() -> None:
    rows = scenes(4096, 10)
    rows[:, :10] = 3.0
    found = measure(rows)
    assert found is not None
    assert found.tau == pytest.approx(10, rel=0.2)


def test_sokals_window_stops_before_noise_adds_up() -> None:
    correlations = np.concatenate([[1.0, 0.5, 0.25, 0.125, 0.0625], np.full(500, 0.01)])[:, None]
    # 1 + 2 (.5 + .25 + .125 + .0625) = 2.875, and .02 more up to lag 6, the first to reach twice that.
    assert integrated_time(correlations)[0] == pytest.approx(2.915)
    assert integrated_time(np.ones((5, 1)))[0] == 9.0


def test_effective_sample_size() -> None:
    assert effective(250, 10.0) == 25.0
    assert effective(250, 0.7) == 250.0
