"""Quantile bins: every value has one, shared values have their own."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from agent.monitor.bins import BINS, bin_counts, bin_indices, quantile_edges
from agent.monitor.scores import bin_scores, score_covariance

LARGEST = float(np.finfo(np.float32).max)


def test_distinct_values_spread_evenly(rng):
    rows = rng.normal(size=(1600, 3)).astype(np.float32)
    counts = bin_counts(rows, quantile_edges(rows))
    assert counts.dtype == np.int64
    np.testing.assert_allclose(counts, 100, atol=1)


def test_a_constant_keeps_below_equal_and_above_apart():
    rows = np.full((50, 1), 5.0, dtype=np.float32)
    edges = quantile_edges(rows)
    probe = np.array([[-1e30], [4.99], [5.0], [5.0 * (1 + 3e-7)], [5.01], [1e30]], dtype=np.float32)
    below, _, equal, nearly, _, above = bin_indices(probe, edges)[:, 0].tolist()
    assert bin_indices(probe, edges)[:, 0].tolist() == [below, below, equal, equal, above, above]
    assert nearly == equal
    assert below == 0 < equal < above == BINS - 1
    assert bin_counts(rows, edges)[0, equal] == 50


@pytest.mark.parametrize("zeros", [300, 700, 950])
def test_a_value_that_many_rows_share_has_its_own_bin(rng, zeros):
    rows = np.concatenate([np.zeros(zeros), rng.uniform(1e-4, 1, 1000 - zeros)]).astype(np.float32)[:, None]
    counts = bin_counts(rows, quantile_edges(rows))[0]
    assert counts.sum() == 1000
    assert counts.max() == zeros


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.floats(-LARGEST, LARGEST, width=32), min_size=1, max_size=60),
    st.lists(st.floats(-LARGEST, LARGEST, width=32), min_size=1, max_size=30),
)
def test_every_value_falls_where_the_edges_say(known, seen):
    edges = quantile_edges(np.array(known, dtype=np.float32)[:, None])
    assert edges.shape == (1, BINS - 1)
    assert np.isfinite(edges).all()
    assert (np.diff(edges) >= 0).all()
    rows = np.array(seen, dtype=np.float32)[:, None]
    indices = bin_indices(rows, edges)[:, 0]
    expected = [sum(bool(edge <= value) for edge in edges[0]) for value in rows[:, 0]]
    assert indices.tolist() == expected
    assert bin_counts(rows, edges)[0].tolist() == np.bincount(expected, minlength=BINS).tolist()


def test_scores_are_normal_quantiles_of_mid_ranks():
    even = bin_scores(np.full((1, BINS), 25))
    np.testing.assert_allclose(even[0], norm.ppf((np.arange(BINS) + 0.5) / BINS), atol=1e-9)
    constant = bin_scores(np.eye(BINS, dtype=np.int64)[[5]] * 80)[0]
    np.testing.assert_allclose(constant, norm.ppf([0.001] * 5 + [0.5] + [0.999] * 10), atol=1e-9)


def test_score_covariance_is_that_of_the_scores(rng):
    rows = rng.normal(size=(5000, 4)).astype(np.float32)
    rows[:, 1] += rows[:, 0]
    edges = quantile_edges(rows)
    counts = bin_counts(rows, edges)
    scores = np.take_along_axis(bin_scores(counts).T, bin_indices(rows, edges).astype(int), axis=0)
    np.testing.assert_allclose(score_covariance(rows, edges, counts), np.cov(scores.T, bias=True), atol=1e-12)
    assert np.corrcoef(scores.T)[0, 1] == pytest.approx(2**-0.5, abs=0.03)
