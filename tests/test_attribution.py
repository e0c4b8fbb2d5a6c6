"""Shares of a loss, their intervals and tests, against independent implementations."""

from itertools import permutations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from calibration import attribution

Outcomes = dict[int, NDArray[np.float64]]


def game(k: int, n: int, seed: int) -> Outcomes:
    """Inputs that become wrong once the faults together are too much for them, with interactions."""
    rng = np.random.default_rng(seed)
    weight, pair = rng.uniform(0, 1, k), rng.normal(0, 0.4, (k, k))
    patience = rng.uniform(0, k / 2, n)
    found = {}
    for mix in range(2**k):
        on = np.array([mix >> i & 1 for i in range(k)])
        found[mix] = (weight @ on + on @ np.triu(pair, 1) @ on < patience).astype(np.float64)
    return found


def by_permutations(outcomes: Outcomes, k: int) -> NDArray[np.float64]:
    """The definition: a factor's mean effect over all orders in which factors may come."""
    total = np.zeros((k, len(outcomes[0])))
    orders = list(permutations(range(k)))
    for order in orders:
        mix = 0
        for factor in order:
            total[factor] += outcomes[mix] - outcomes[mix + 2**factor]
            mix += 2**factor
    return total / len(orders)


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_shares_are_the_mean_over_all_orders(k: int) -> None:
    outcomes = game(k, 30, seed=k)
    plan = attribution.design(k)
    assert plan.exact and len(plan.mixes) == 2**k
    found = attribution.shares(outcomes, plan)
    np.testing.assert_allclose(found.costs, by_permutations(outcomes, k), atol=1e-12)
    assert not found.sampling.any()


def test_two_faults_that_each_break_everything_share_it() -> None:
    right, wrong = np.ones(10), np.zeros(10)
    outcomes = {0: right, 1: wrong, 2: wrong, 3: wrong}
    found = attribution.shares(outcomes, attribution.design(2))
    assert found.costs.mean(axis=1).tolist() == [0.5, 0.5]


@pytest.mark.parametrize("k", [7, 9])
def test_sampled_shares_add_up_and_are_near_the_exact_ones(k: int) -> None:
    outcomes = game(k, 200, seed=k)
    plan = attribution.design(k)
    assert not plan.exact and len(plan.mixes) <= attribution.MOST_MIXES < 2**k
    found = attribution.shares({mix: outcomes[mix] for mix in plan.mixes}, plan)
    loss = outcomes[0] - outcomes[2**k - 1]
    np.testing.assert_allclose(found.costs.sum(axis=0), loss, atol=1e-12)
    exact = attribution._exact(outcomes, k).mean(axis=1)
    assert np.all(np.abs(found.costs.mean(axis=1) - exact) < 3 * found.sampling)
    assert 0 < found.sampling.max() < 0.04
    everything = 2**k - 1
    assert {everything & ~(1 << i) for i in range(k)} <= set(plan.mixes)  # each repaired alone


def test_nothing_differs() -> None:
    found = attribution.shares({0: np.ones(3)}, attribution.design(0))
    assert found.costs.shape == (0, 3)


@pytest.mark.parametrize(("lost", "gained"), [(0, 0), (5, 0), (9, 3), (20, 7), (40, 38)])
def test_chance_of_one_factor_is_mcnemars_exact_test(lost: int, gained: int) -> None:
    costs = np.array([1.0] * lost + [-1.0] * gained + [0.0] * 30)
    expected = stats.binomtest(lost, lost + gained).pvalue if lost + gained else 1.0
    assert attribution.chance(costs) == pytest.approx(expected)


def test_chance_of_shares_is_the_permutation_test_of_scipy(rng: np.random.Generator) -> None:
    for size in (9, 60):
        costs = rng.choice([-1 / 3, 1 / 6, 1 / 2, 1], size)
        scipys = stats.permutation_test(
            (costs,), np.sum, permutation_type="samples", n_resamples=20_000, rng=rng
        )
        assert attribution.chance(costs) == pytest.approx(scipys.pvalue, abs=0.01)


def test_an_unmoved_factor_is_not_certain_to_be_free() -> None:
    """None of 64 lost: up to 3/64 may be (the rule of three), and the interval says so."""
    ((low, high),) = attribution.intervals(np.zeros((1, 64)), np.zeros(1))
    assert low == pytest.approx(-high, abs=0.012)
    assert 0.02 < high < 0.06


def test_more_inputs_narrow_the_interval_and_drawn_orders_widen_it(rng: np.random.Generator) -> None:
    costs = rng.choice([0.0, 1.0, -1.0], (1, 400), p=[0.7, 0.25, 0.05])
    ((low, high),) = attribution.intervals(costs, np.zeros(1))
    ((low_few, high_few),) = attribution.intervals(costs[:, :50], np.zeros(1))
    assert low < costs.mean() < high
    assert high - low < 0.5 * (high_few - low_few)
    ((low_drawn, high_drawn),) = attribution.intervals(costs, np.array([0.05]))
    assert (high_drawn - low_drawn) / 2 == pytest.approx(np.hypot((high - low) / 2, 1.645 * 0.05), rel=0.01)


@pytest.mark.parametrize(("lost", "gained"), [(0.02, 0.01), (0.1, 0.05), (0.25, 0.02), (0.6, 0.0)])
@pytest.mark.parametrize("n", [32, 64, 128])
def test_the_interval_holds_the_cost_on_twice_as_many_new_inputs(
    n: int, lost: float, gained: float, rng: np.random.Generator
) -> None:
    p = [1 - lost - gained, lost, gained]
    here = rng.choice([0.0, 1.0, -1.0], (250, n), p=p)
    new = rng.choice([0.0, 1.0, -1.0], (250, 2 * n), p=p).mean(axis=1)
    low, high = attribution.intervals(here, np.zeros(250)).T
    assert np.mean((low - 1e-9 <= new) & (new <= high + 1e-9)) > 0.85
