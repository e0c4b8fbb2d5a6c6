"""Products of a vector's elements merge like every other moment, and travel with the reference."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import BundleError
from agent.monitor.groups import NO_GROUPS
from agent.monitor.profiles import merge, profile_of
from agent.monitor.reference import MOST_ELEMENTS, build, decode, encode, vector_elements
from agent.monitor.window import WindowBuilder

EDGES = np.sort(np.random.default_rng(7).normal(size=(4, 15)).astype(np.float32), axis=1)
NO_PIXELS = np.zeros((0, 256), dtype=np.int64)


def profile(rows):
    values = np.array(rows, dtype=np.float32).reshape(-1, 4)
    return profile_of(
        values, np.full(len(values), -1), features=tuple("abcd"), edges=EDGES, n_groups=0, pixels=NO_PIXELS,
        elements=3,
    )  # fmt: skip


number = st.floats(-1e6, 1e6, width=32)
observations = st.lists(st.tuples(number, number, number, number), max_size=10)


@settings(deadline=None, max_examples=150)
@given(observations, observations, observations)
def test_products_merge_in_any_grouping(a, b, c):
    size = max([1.0, *(abs(value) for row in a + b + c for value in row)])
    whole = profile(a + b + c)
    atol = 1e-12 * size**2 * max(whole.n, 1)
    for merged in (
        merge(merge(profile(a), profile(b)), profile(c)),
        merge(profile(a), merge(profile(b), profile(c))),
        merge(profile(c), merge(profile(b), profile(a))),
    ):
        np.testing.assert_array_equal(merged.counts, whole.counts)
        np.testing.assert_allclose(merged.cross, whole.cross, rtol=0, atol=atol)
        np.testing.assert_allclose(np.diag(merged.cross), merged.m2[:3], rtol=0, atol=atol)


def test_products_are_the_covariance(rng):
    rows = rng.normal(size=(200, 4)).astype(np.float32)
    np.testing.assert_allclose(profile(rows).cross / 199, np.cov(rows[:, :3].T.astype(float)), rtol=1e-10)


def test_profiles_with_and_without_products_do_not_merge():
    ours = profile([])
    theirs = profile_of(
        np.empty((0, 4), np.float32), np.empty(0, np.int64), features=tuple("abcd"), edges=EDGES, n_groups=0,
        pixels=NO_PIXELS,
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"cross of different shapes: \(3, 3\) and \(0, 0\)"):
        merge(ours, theirs)


def reference(rng, families=("value", "value", "value", "output")):
    rows = rng.normal(size=(60, len(families))).astype(np.float32)
    return build(
        features=tuple(f"f{at}" for at in range(len(families))), families=families, profile_rows=rows[:30],
        profile_groups=np.full(30, -1), pixels=NO_PIXELS, calibration=rows[30:],
        calibration_groups=np.full(30, -1), groups=NO_GROUPS, fingerprint="",
    )  # fmt: skip


def test_a_vectors_elements_are_the_leading_values():
    assert vector_elements(("value", "value", "output")) == 2
    assert vector_elements(("light", "value", "output")) == 0
    assert vector_elements(("value",) * 500) == MOST_ELEMENTS


def test_the_reference_keeps_products_and_older_files_have_none(rng):
    made = reference(rng)
    text, rows = encode(made)
    np.testing.assert_array_equal(decode(text, rows).profile.cross, made.profile.cross)
    older, rows = encode(replace(made, profile=replace(made.profile, cross=np.zeros((0, 0)))))
    assert b"cross" not in older
    assert decode(older, rows).profile.cross.shape == (0, 0)
    assert b"cross" not in encode(reference(rng, ("light", "light")))[0]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda cross: [*cross[:1], [1.0]], "cross: expected 2 rows of 1, 2, 3, … numbers"),
        (lambda cross: [[-1.0]], "cross: variances must be 0 or more"),
        (lambda cross: [[1.0], [9.0, 1.0]], "cross[1]: larger than the variances allow"),
        (lambda cross: [[1.0] * (at + 1) for at in range(5)], "cross: expected at most 4 rows"),
    ],
)
def test_damaged_products_are_named(rng, change, problem):
    import json

    text, rows = encode(reference(rng))
    plain = json.loads(text)
    plain["cross"] = change(plain["cross"])
    with pytest.raises(BundleError) as error:
        decode(json.dumps(plain).encode(), rows)
    assert error.value.problems == (f"reference.json.{problem}",)


def test_one_by_one_gives_the_same_products(rng):
    made = reference(rng)
    rows = rng.normal(size=(300, 4)).astype(np.float32)
    window = WindowBuilder(made)
    for row in rows:
        window.add(row, -1, window.pixels_of(row))
    at_once = profile_of(
        rows, np.full(300, -1), features=made.features, edges=made.edges, n_groups=0, pixels=NO_PIXELS,
        elements=3,
    )  # fmt: skip
    np.testing.assert_array_equal(window.profile().cross, at_once.cross)
    np.testing.assert_array_equal(window.profile().counts, at_once.counts)
