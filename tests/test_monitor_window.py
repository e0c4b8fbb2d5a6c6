"""Windows: what is counted is exact, and merging is addition."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from population import NAMES, groups_of, population, reference_of

from agent.contracts import Classification, Detections, Regression
from agent.monitor.groups import NO_GROUPS, NOTHING, Groups, group_classes
from agent.monitor.profiles import merge, profile_of
from agent.monitor.reference import build
from agent.monitor.window import WindowBuilder

EDGES = np.sort(np.random.default_rng(7).normal(size=(3, 15)).astype(np.float32), axis=1)


def profile(rows, groups):
    rows = np.array(rows, dtype=np.float32).reshape(-1, 3)
    pixels = np.full((3, 256), len(rows), dtype=np.int64)
    names = ("a", "b", "c")
    return profile_of(
        rows, np.array(groups, dtype=np.int64), features=names, edges=EDGES, n_groups=4, pixels=pixels
    )


def assert_same(found, expected, size):
    """Counts exactly; moments to the tolerance that ``profiles`` states."""
    assert (found.features, found.n) == (expected.features, expected.n)
    for name in ("counts", "groups", "pixels"):
        assert getattr(found, name).dtype == np.int64
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    np.testing.assert_allclose(found.mean, expected.mean, rtol=0, atol=1e-12 * size)
    np.testing.assert_allclose(found.m2, expected.m2, rtol=0, atol=1e-12 * size**2 * max(expected.n, 1))


number = st.floats(-1e6, 1e6, width=32)
observations = st.lists(st.tuples(number, number, number, st.integers(-1, 3)), max_size=12)


def of(observed):
    return profile([row[:3] for row in observed], [row[3] for row in observed])


@settings(deadline=None, max_examples=150)
@given(observations, observations, observations)
def test_merging_is_the_profile_of_all_in_any_grouping(a, b, c):
    size = max([1.0, *(abs(value) for row in a + b + c for value in row[:3])])
    assert_same(merge(of(a), of(b)), of(a + b), size)
    assert_same(merge(of(b), of(a)), of(a + b), size)
    assert_same(merge(merge(of(a), of(b)), of(c)), merge(of(a), merge(of(b), of(c))), size)


def test_moments_are_mean_and_sum_of_squared_deviations(rng):
    rows = rng.normal(5, 2, size=(500, 3)).astype(np.float32)
    found = profile(rows, [0] * 500)
    np.testing.assert_allclose(found.mean, rows.astype(float).mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.m2 / 500, rows.astype(float).var(axis=0), rtol=1e-12)
    assert found.groups.tolist() == [500, 0, 0, 0]


def test_profiles_of_different_things_do_not_merge():
    ours = of([])
    theirs = profile_of(
        np.empty((0, 3), np.float32), np.empty(0, np.int64),
        features=("a", "b", "d"), edges=EDGES, n_groups=4, pixels=ours.pixels,
    )  # fmt: skip
    with pytest.raises(ValueError, match="profiles of different features: c, d"):
        merge(ours, theirs)
    fewer = profile_of(
        np.empty((0, 3), np.float32), np.empty(0, np.int64),
        features=("a", "b", "c"), edges=EDGES, n_groups=2, pixels=ours.pixels,
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"groups of different shapes: \(4,\) and \(2,\)"):
        merge(ours, fewer)


def test_one_by_one_or_all_at_once_gives_the_same(rng):
    source = population(0)
    reference = reference_of(source, rng)
    rows, classes = source.draw(rng, 300)
    groups = groups_of(reference.groups, classes)
    window = WindowBuilder(reference)
    for row, group in zip(rows, groups, strict=True):
        window.add(row, int(group), window.pixels_of(row))
    assert window.n == 300
    at_once = profile_of(
        rows, groups, features=NAMES, edges=reference.edges,
        n_groups=len(reference.groups.names), pixels=np.zeros((0, 256), np.int64),
    )  # fmt: skip
    found = window.profile()
    np.testing.assert_array_equal(found.counts, at_once.counts)
    np.testing.assert_array_equal(found.groups, np.bincount(groups, minlength=len(reference.groups.names)))
    np.testing.assert_array_equal(found.mean, at_once.mean)
    assert found.pixels.shape == (0, 256)
    window.clear()
    assert (window.n, window.profile().n, window.profile().counts.sum()) == (0, 0, 0)
    with pytest.raises(ValueError, match="expected a row of 34 features"):
        window.add(rows[0, :5], 0, window.pixels_of(rows[0]))


def test_images_are_counted_exactly_and_a_finished_profile_stays(rng):
    rows = rng.normal(size=(20, 2)).astype(np.float32)
    no_groups = np.full(20, -1)
    reference = build(
        features=("a", "b"), families=("light", "light"), profile_rows=rows, profile_groups=no_groups,
        pixels=np.ones((3, 256), np.int64), calibration=rows, calibration_groups=no_groups,
        groups=NO_GROUPS, fingerprint="",
    )  # fmt: skip
    window = WindowBuilder(reference)
    images = rng.integers(0, 256, (3, 6, 5, 3), dtype=np.uint8)
    window.add(rows[0], -1, window.pixels_of(images[0]))
    window.add(rows[1], -1, window.pixels_of(images[1]))
    first = window.profile()
    window.add(rows[2], -1, window.pixels_of(images[2]))
    expected = [np.bincount(images[:2, ..., channel].ravel(), minlength=256) for channel in range(3)]
    np.testing.assert_array_equal(first.pixels, expected)
    assert window.profile().pixels.sum() == images.size
    assert first.groups.shape == (0,)
    window.clear()
    assert window.profile().pixels.sum() == 0
    assert first.pixels.sum() == images[:2].size


def test_the_most_frequent_classes_stand_alone():
    classes = np.repeat(np.arange(20), np.arange(20, 0, -1))
    groups = group_classes(classes, ["cat", "dog", "cat", "other"])
    assert groups.classes == tuple(range(15))
    assert groups.names[:5] == ("cat", "dog", "cat (2)", "other (3)", "class 4")
    assert groups.names[15:] == ("other",)
    assert [groups.of_class(index) for index in (0, 14, 15, 999, None)] == [0, 14, 15, 15, -1]


def test_a_prediction_falls_into_its_groups():
    groups = group_classes(np.array([NOTHING, NOTHING, 4, 7]))
    assert groups == Groups(names=("nothing", "class 4", "class 7", "other"), classes=(NOTHING, 4, 7))
    scores = np.zeros(9, np.float32)
    assert groups.of(Classification(scores=scores, top=7, score=1.0)) == 2
    assert groups.of(Classification(scores=scores, top=8, score=1.0)) == 3
    none = Detections(
        boxes=np.empty((0, 4), np.float32), classes=np.empty(0, np.int64), scores=np.empty(0, np.float32)
    )
    one = Detections(boxes=np.zeros((1, 4), np.float32), classes=np.array([4]), scores=np.ones(1, np.float32))
    assert (groups.of(none), groups.of(one)) == (0, 1)
    assert groups.of(Regression(values=np.array([1.0]))) == -1
    assert NO_GROUPS.of(Classification(scores=scores, top=7, score=1.0)) == -1
