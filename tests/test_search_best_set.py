"""The confidence set of the best keeps its promise, and sees what can be seen."""

import numpy as np
import pytest
from scipy import stats

from calibration.candidate.best_set import best_set


def test_two_candidates_are_a_paired_sign_flip_test(rng: np.random.Generator) -> None:
    """Against SciPy's permutation test of the mean difference."""
    difference = rng.normal(0.25, 1, 24)
    scores = np.stack([np.zeros(24), difference])
    made = best_set(scores, flips=9_999)
    expected = stats.permutation_test(
        (difference,),
        lambda x, axis: np.mean(x, axis=axis),
        permutation_type="samples",
        alternative="greater",
        n_resamples=99_999,
        vectorized=True,
        rng=np.random.default_rng(1),
    ).pvalue
    assert made.best == 1
    # Holm over the two: the winner's p is 1, so the other one's is doubled.
    assert made.p[0] == pytest.approx(min(1.0, 2 * expected), abs=0.02)
    assert made.p[1] == 1.0


def test_the_true_best_is_refused_no_more_than_promised(rng: np.random.Generator) -> None:
    """Eight equal candidates with heavy-tailed, correlated scores: none is better than another, and any
    refusal is wrong."""
    wrong = 0
    for _ in range(200):
        shared = rng.standard_t(3, (1, 60))
        scores = shared + 0.5 * rng.standard_t(3, (8, 60))
        wrong += bool(best_set(scores, flips=499).distinguishable.any())
    assert wrong <= stats.binom.ppf(0.999, 200, 0.05)


def test_a_plain_test_against_the_winner_would_accuse_too_often(rng: np.random.Generator) -> None:
    """Why the set exists: among equal candidates the best-looking one beats some other by luck."""
    plain = 0
    for _ in range(100):
        scores = rng.normal(0, 1, (8, 60))
        best = scores[scores.mean(axis=1).argmax()]
        plain += any(stats.ttest_rel(best, other).pvalue < 0.05 for other in scores if other is not best)
    assert plain > 30


def test_clear_losers_are_refused_and_near_ones_are_not(rng: np.random.Generator) -> None:
    base = rng.normal(0, 2, 100)
    near = base - 0.001 * rng.random(100) * rng.choice([-1, 1], 100)
    made = best_set(np.stack([base, near, base - 0.5 + rng.normal(0, 0.3, 100), base - 3]))
    assert made.distinguishable.tolist() == [False, False, True, True]


def test_equal_rows_and_constant_differences() -> None:
    row = np.linspace(-5, 0, 30)
    made = best_set(np.stack([row, row, row - 1]))
    assert made.distinguishable.tolist() == [False, False, True]
    assert best_set(row[None]).distinguishable.tolist() == [False]


def test_the_same_scores_give_the_same_answer(rng: np.random.Generator) -> None:
    scores = rng.normal(0, 1, (5, 40))
    np.testing.assert_array_equal(best_set(scores).p, best_set(scores.copy()).p)
