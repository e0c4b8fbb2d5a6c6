"""Prediction-powered means: against SciPy, the closed form, a search over the power, and seeded worlds."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import sem

from agent.monitor import ppi
from agent.monitor.accuracy import wilson
from agent.monitor.label_budget import worth
from agent.monitor.ppi import NO_POOL, Pool
from agent.monitor.spans import Spans


def pool_of(values):
    return Pool(n=values.size, total=float(values.sum()), squares=float((values**2).sum()))


@settings(deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=60))
def test_without_an_auxiliary_it_is_the_central_limit_theorem(values):
    array = np.array(values)
    found = ppi.mean(array, ppi.shares([None] * array.size))
    assert found.value == pytest.approx(array.mean(), abs=1e-6)
    assert np.sqrt(found.variance) == pytest.approx(sem(array), rel=1e-9, abs=1e-9)
    assert (found.labels, found.power) == (array.size, 0.0)


def test_the_power_is_the_one_that_makes_the_variance_least(rng):
    score = rng.beta(2, 1, 5000)
    right = (rng.random(5000) < score).astype(float)
    y, f, rest = right[:120], score[:120], score[120:]
    found = ppi.mean(y, ppi.shares([None] * 120), auxiliary=f, pool=pool_of(rest))

    def variance(power):
        return np.var(y - power * f, ddof=1) / y.size + power**2 * rest.var() / rest.size

    assert found.power == pytest.approx(minimize_scalar(variance).x, abs=1e-6)
    assert found.value == pytest.approx(y.mean() + found.power * (rest.mean() - f.mean()))
    # Both moments were fitted: 118 of 120 degrees of freedom are left in the first term.
    residual = np.var(y - found.power * f) * 120 / 118 / 120
    assert found.variance == pytest.approx(residual + found.power**2 * rest.var() / rest.size)


def test_an_auxiliary_that_runs_against_the_truth_or_says_nothing_is_not_used(rng):
    y = (rng.random(80) < 0.7).astype(float)
    alone = ppi.mean(y, ppi.shares([None] * 80))
    for f in (1 - y, np.full(80, 0.5)):
        found = ppi.mean(y, ppi.shares([None] * 80), auxiliary=f, pool=pool_of(np.full(900, 0.5)))
        assert (found.power, found.value) == (0.0, alone.value)
        assert found.labels_effective == 80


def test_a_perfect_auxiliary_leaves_what_the_unlabelled_frames_leave_open(rng):
    f = (rng.random(4100) < 0.8).astype(float)
    found = ppi.mean(f[:100], ppi.shares([None] * 100), auxiliary=f[:100], pool=pool_of(f[100:]))
    # n labels and N others are n + N labels; and then the assumption that nothing helps weighs a little.
    assert found.value == pytest.approx(f.mean(), abs=0.002)
    assert found.variance == pytest.approx(f.var() / 4100, rel=0.2)
    assert 800 < found.labels_effective < 4100


def test_labels_that_are_all_right_are_worth_their_number_and_no_more():
    score = np.linspace(0.5, 0.99, 60)
    found = ppi.mean(np.ones(60), ppi.shares([None] * 60), auxiliary=score, pool=pool_of(np.full(500, 0.9)))
    assert (found.value, found.variance, found.labels_effective) == (1.0, 0.0, 60.0)


def test_drawn_labels_count_by_their_weight_and_the_others_by_their_number():
    assert ppi.shares([2.0, 1.0, 1.0]).tolist() == [0.5, 0.25, 0.25]
    assert ppi.shares([None] * 4).tolist() == [0.25] * 4
    # Two drawn labels of equal weight are worth as much as two others, whatever their weight.
    assert ppi.shares([7.0, None, 7.0, None]).tolist() == [0.25] * 4
    # 3 and 1: worth 16 / 10 labels, shared 3 to 1; against two others of 1 each.
    assert ppi.shares([3.0, 1.0, None, None]) == pytest.approx(np.array([1.2, 0.4, 1.0, 1.0]) / 3.6)
    found = ppi.mean(np.array([1.0, 0.0, 1.0]), ppi.shares([2.0, 1.0, 1.0]))
    assert (found.value, found.labels) == (0.75, pytest.approx(16 / 6))


def test_a_single_label_has_no_variance():
    found = ppi.mean(np.array([1.0]), ppi.shares([12.5]))
    assert (found.value, found.variance, found.labels_effective) == (1.0, float("inf"), 1.0)


@settings(deadline=None)
@given(st.lists(st.integers(0, 64), max_size=300), st.data())
def test_a_pool_without_some_is_the_pool_of_the_rest(sixtyfourths, data):
    values = np.array(sixtyfourths) / 64
    gone = data.draw(st.integers(0, values.size))
    assert pool_of(values).without(values[:gone]) == pool_of(values[gone:])
    assert pool_of(values[:gone]) + pool_of(values[gone:]) == pool_of(values)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 12_000), st.data())
def test_a_span_holds_its_frames_and_little_more(n, data):
    spans = Spans()
    assert [spans.add(at % 8 / 8) for at in range(n)] == list(range(n))
    first = data.draw(st.integers(0, n - 1))
    last = data.draw(st.integers(first, n - 1))
    found = spans.over(first, last)
    # Blocks are of neighbours: which ones they are follows from how many and how much they add up to.
    spare = found.n - (last - first + 1)
    assert 0 <= spare <= 2 * 64 + 2 * 0.035 * (n - first)
    assert spans.over(0, n - 1) == pool_of(np.arange(n) % 8 / 8)


def test_a_span_leaves_out_what_came_long_before_and_after():
    spans = Spans()
    for at in range(100_000):
        spans.add(1.0 if 60_000 <= at < 70_000 else 0.0)
    found = spans.over(60_000, 69_999)
    assert found.total == 10_000
    assert found.n <= 10_000 * 1.2
    assert sum(len(blocks) for blocks in spans._sizes) <= 64 * 6


def world(kind, rng, n=4000):
    """Scores, right or not, and the accuracy, of a model right in four of five; shifted: in fewer."""
    score = rng.beta(1.2, 0.3, n)
    known = np.clip(score - 0.25, 0, 1) if kind == "shifted" else score
    right = (rng.random(n) < known).astype(float)
    return (rng.permutation(score) if kind == "useless" else score), right, known.mean()


def rounds(kind, draw, *, auxiliary, confidence, times=500):
    """Mean width, coverage and mean deviation of the interval over seeded worlds."""
    found = []
    for seed in range(times):
        rng = np.random.default_rng([seed, 5])
        score, right, accuracy = world(kind, rng)
        chosen, weights = draw(rng, score)
        pool = pool_of(score).without(score[chosen]) if auxiliary else NO_POOL
        mean = ppi.mean(right[chosen], ppi.shares(weights), auxiliary=score[chosen], pool=pool)
        share = min(max(mean.value, 0.0), 1.0)
        low, high = wilson(share * mean.labels_effective, mean.labels_effective, confidence)
        found.append((high - low, low <= accuracy <= high, mean.value - accuracy))
    return np.mean(found, axis=0)


def at_random(rng, score):
    return rng.choice(score.size, 100, replace=False), [None] * 100


WORTHS = np.array([worth(at / 500) for at in range(501)])


def by_worth(rng, score):
    values = WORTHS[np.rint(score * 500).astype(int)]
    chances = 100 * values / values.sum()
    chosen = np.flatnonzero(rng.random(score.size) < chances)
    return chosen, (1 / chances[chosen]).tolist()


@pytest.mark.parametrize(("kind", "most"), [("as packed", 0.83), ("shifted", 0.92), ("useless", 1.01)])
def test_ppi_is_narrower_than_the_labels_alone_and_still_right(kind, most):
    for confidence, covers in ((0.90, 0.88), (0.95, 0.92)):
        alone, _, _ = rounds(kind, at_random, auxiliary=False, confidence=confidence)
        width, coverage, off = rounds(kind, at_random, auxiliary=True, confidence=confidence)
        assert width / alone <= most
        assert coverage >= covers
        assert abs(off) < 0.005


@pytest.mark.parametrize(("kind", "most"), [("as packed", 0.78), ("shifted", 0.95), ("useless", 1.06)])
def test_frames_drawn_by_worth_need_fewer_labels_and_never_cost_much(kind, most):
    alone, _, _ = rounds(kind, at_random, auxiliary=False, confidence=0.90)
    width, coverage, off = rounds(kind, by_worth, auxiliary=True, confidence=0.90)
    assert width / alone <= most
    assert coverage >= 0.87
    assert abs(off) < 0.005
