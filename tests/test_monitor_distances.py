"""Distances on bins against SciPy on the same binned data."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from population import population, reference_of, window_of
from scipy import stats
from scipy.spatial.distance import jensenshannon

from agent.contracts import FeatureDistance
from agent.monitor.distances import (
    PREDICTED_CLASS,
    chi_square,
    compare,
    family_of,
    jensen_shannon,
    kolmogorov_smirnov,
    psi,
    wasserstein,
)

counts = arrays(np.int64, 16, elements=st.integers(0, 60)).filter(lambda drawn: drawn.sum() > 0)


@settings(deadline=None, max_examples=80)
@given(counts, counts)
def test_equal_scipys(known, seen):
    bins = np.arange(16)
    expanded = np.repeat(bins, known), np.repeat(bins, seen)
    ks = stats.ks_2samp(*expanded, method="asymp").statistic
    assert kolmogorov_smirnov(known, seen) == pytest.approx(ks, abs=1e-12)
    moved = stats.wasserstein_distance(bins, bins, known, seen)
    assert wasserstein(known, seen) == pytest.approx(moved, abs=1e-9)
    assert jensen_shannon(known, seen) == pytest.approx(jensenshannon(known, seen), abs=1e-7)
    p, q = (known + 0.5) / (known.sum() + 8), (seen + 0.5) / (seen.sum() + 8)
    assert psi(known, seen) == pytest.approx(stats.entropy(p, q) + stats.entropy(q, p), abs=1e-12)


def test_many_features_at_once_are_each_by_itself(rng):
    known, seen = rng.integers(0, 50, (2, 5, 16))
    for measure in (psi, kolmogorov_smirnov, wasserstein, jensen_shannon):
        np.testing.assert_allclose(
            measure(known, seen), [measure(*pair) for pair in zip(known, seen, strict=True)]
        )


def test_disjoint_distributions_are_as_far_as_can_be():
    known, seen = np.eye(16, dtype=np.int64)[0] * 100, np.eye(16, dtype=np.int64)[15] * 100
    assert kolmogorov_smirnov(known, seen) == 1
    assert wasserstein(known, seen) == 15
    assert jensen_shannon(known, seen) == pytest.approx(math.sqrt(math.log(2)))
    assert psi(known, seen) == pytest.approx(2 * (100 / 108) * math.log(201))


def test_an_empty_window_lies_at_distance_zero():
    known, empty = np.full(16, 10), np.zeros(16, dtype=np.int64)
    for measure in (psi, kolmogorov_smirnov, wasserstein, jensen_shannon):
        assert measure(known, empty) == 0


def test_chi_square_of_well_filled_bins_is_that_of_a_contingency_table(rng):
    known, seen = rng.multinomial(100_000, np.full(16, 1 / 16)), rng.multinomial(400, np.full(16, 1 / 16))
    expected = stats.chi2_contingency(np.stack([known, seen]), correction=False).statistic
    assert chi_square(known, seen / 400, 400) == pytest.approx(expected, rel=1e-3)


def test_chi_square_follows_its_distribution(rng):
    known = np.full(16, 10_000)
    drawn = rng.multinomial(400, np.full(16, 1 / 16), size=4000)
    found = chi_square(known, drawn / 400, 400)
    assert np.mean(found) == pytest.approx(15, rel=0.03)
    assert np.mean(found > stats.chi2.ppf(0.99, 15)) == pytest.approx(0.01, abs=0.005)


def test_the_worst_comes_first_and_classes_are_among_them(rng):
    source = population(1)
    reference = reference_of(source, rng)
    rows, classes = source.draw(rng, 200)
    rows[:, 7] += 3
    shifted = compare(reference, window_of(reference, rows, classes))
    assert shifted[0].name == "feature 7"
    assert shifted[0].family == "sharpness"
    assert [distance.chi2 for distance in shifted] == sorted((d.chi2 for d in shifted), reverse=True)
    assert len(shifted) == 35
    assert shifted[0].ks > 0.7

    one_class = compare(reference, window_of(reference, rows[:, :] * 0, np.full(200, classes[0])))
    of_classes = next(distance for distance in one_class if distance.name == PREDICTED_CLASS)
    other = 1 - (reference.profile.groups / 600)[reference.groups.of_class(classes[0])]
    assert of_classes.family == "class"
    assert of_classes.ks == of_classes.wasserstein == pytest.approx(other)


def test_an_empty_window_compares_as_equal(rng):
    reference = reference_of(population(1), rng)
    nothing = window_of(reference, np.empty((0, 34), np.float32), np.empty(0, int))
    assert {distance.chi2 for distance in compare(reference, nothing)} == {0.0}


def distance(name, family, chi2):
    return FeatureDistance(name=name, family=family, chi2=chi2, psi=0.0, ks=0.0, wasserstein=0.0, js=0.0)


def test_the_family_with_most_excess_speaks():
    two_of_sharpness = [
        distance("a", "light", 90.0),
        distance("b", "sharpness", 70.0),
        distance("c", "sharpness", 60.0),
    ]
    many_calm = [distance(f"d{at}", "light", 14.0) for at in range(20)]
    assert family_of(many_calm + two_of_sharpness) == "sharpness"
    assert family_of(two_of_sharpness[:2]) == "light"
    assert family_of([]) == "value"
