"""The reference on disk: what is written comes back, and what is damaged is named."""

import json
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from population import population, reference_of

from agent import npy
from agent.contracts import Profile
from agent.errors import BundleError
from agent.monitor.groups import NO_GROUPS, group_classes
from agent.monitor.profiles import profile_of
from agent.monitor.reference import Reference, build, decode, encode
from agent.monitor.reference_file import MAX_JSON_BYTES


def small(seed=0, rows=40, features=3, images=True, classes=True, scale=1.0):
    rng = np.random.default_rng(seed)
    values = (rng.normal(size=(2 * rows, features)) * scale).astype(np.float32)
    values[:, -1] = 4.0
    predicted = rng.integers(-1, 5, 2 * rows)
    groups = group_classes(predicted[:rows], ["a", "é"]) if classes else NO_GROUPS
    of = np.array([groups.of_class(int(index)) for index in predicted])
    return build(
        features=tuple(f"f{at}" for at in range(features)),
        families=("light",) * features,
        profile_rows=values[:rows],
        profile_groups=of[:rows],
        pixels=np.full((3, 256), rows) if images else np.zeros((0, 256), np.int64),
        calibration=values[rows:],
        calibration_groups=of[rows:],
        groups=groups,
        fingerprint="ab" * 32,
        accuracy=0.75 if classes else None,
        mse=None if classes else 2.5,
        labelled=rows,
    )


def assert_equal(a, b):
    assert type(a) is type(b)
    for field in fields(a):
        ours, theirs = getattr(a, field.name), getattr(b, field.name)
        if isinstance(ours, np.ndarray):
            assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape), field.name
            np.testing.assert_array_equal(ours, theirs)
        elif isinstance(ours, (Reference, Profile)):
            assert_equal(ours, theirs)
        else:
            assert ours == theirs, field.name


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(1, 60),
    features=st.integers(1, 6),
    images=st.booleans(),
    classes=st.booleans(),
    scale=st.sampled_from([0.0, 1e-30, 1.0, 1e6, 1e30]),
)
def test_round_trip(**made):
    reference = small(**made)
    written = encode(reference)
    assert_equal(decode(*written), reference)
    assert encode(decode(*written)) == written


def test_it_is_readable():
    text = encode(small())[0].decode()
    lines = text.splitlines()
    assert lines[1] == '"schema": "litewatch.reference/1",'
    assert '"n": 40,' in lines
    assert sum(line.startswith('  {"name": "f') for line in lines) == 3


def test_a_reference_from_a_memory_map_in_chunks_is_the_same(rng, tmp_path):
    rows = rng.normal(size=(9001, 4)).astype(np.float32)
    rows.tofile(tmp_path / "rows")
    mapped = np.memmap(tmp_path / "rows", dtype=np.float32, mode="r", shape=rows.shape)
    groups = group_classes(np.arange(9001) % 3)
    given = {
        "features": tuple("abcd"), "families": ("value",) * 4, "profile_groups": np.arange(9001) % 3,
        "pixels": np.zeros((0, 256), np.int64), "calibration": rows[:5],
        "calibration_groups": np.zeros(5, int), "groups": groups, "fingerprint": "",
    }  # fmt: skip
    made = build(profile_rows=mapped, **given)
    whole = profile_of(
        rows, given["profile_groups"], features=made.features, edges=made.edges, n_groups=4,
        pixels=given["pixels"],
    )  # fmt: skip
    np.testing.assert_array_equal(made.profile.counts, whole.counts)
    np.testing.assert_array_equal(made.profile.groups, [3001, 3000, 3000, 0])
    np.testing.assert_allclose(made.profile.mean, rows.mean(axis=0, dtype=float), atol=1e-12)
    np.testing.assert_allclose(made.profile.m2, rows.var(axis=0, dtype=float) * 9001, rtol=1e-10)


def changed(change):
    """problems of reference.json after ``change`` to its plain data."""
    text, rows = encode(small())
    plain = json.loads(text)
    change(plain)
    with pytest.raises(BundleError) as error:
        decode(json.dumps(plain).encode(), rows)
    return error.value.problems


def put(*path, value):
    def change(plain):
        for step in path[:-1]:
            plain = plain[step]
        plain[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (put("schema", value="litewatch.reference/2"),
         "schema: expected one of litewatch.reference/1, got 'litewatch.reference/2'"),
        (put("features", 1, "mean", value="5"), "features[1].mean: expected float, got '5'"),
        (put("features", 1, "counts", 3, value=1.5), "features[1].counts[3]: expected int, got 1.5"),
        (put("features", 1, "edges", 3, value=99.0), "features[1].edges: must never decrease"),
        (put("features", 0, "edges", value=[1.0]),
         "features[0].edges: expected 15 numbers, got 1"),
        (put("features", 0, "counts", value=[40]),
         "features[0].counts: expected 16 numbers, got 1"),
        (put("features", 0, "counts", value=[-1, 41] + [0] * 14),
         "features[0].counts: must be 0 or more and add up to n = 40"),
        (put("features", 0, "mean", value=1e300), "features[0]: holds numbers beyond float32"),
        (put("features", 0, "m2", value=-1.0), "features[0].m2: expected a sum of squares, got -1.0"),
        (put("features", 0, "name", value="f1"), "features: names repeat"),
        (put("features", value=[]), "features: expected 1 … 1024, got 0"),
        (put("n", value=0), "n: expected 1 … 9007199254740992 profile rows, got 0"),
        (put("labelled", value=-1), "labelled: expected 0 or more, got -1"),
        (put("accuracy", value=1.5), "accuracy: expected 0 … 1, got 1.5"),
        (put("mse", value=-1.0), "mse: expected 0 or more, got -1.0"),
        (put("groups", 0, "count", value=10**6), "groups: counts must be 0 or more and add up to n = 40"),
        (put("groups", 0, "index", value=None),
         "groups: every index but the last must be a class index, the last null"),
        (put("groups", 0, "name", value="other"), "groups: names repeat"),
        (put("covariance", 2, value=[1.0]), "covariance: expected 3 rows of 1, 2, 3, … numbers"),
        (put("covariance", 0, 0, value=-1.0), "covariance: variances must be 0 or more"),
        (put("covariance", 1, 0, value=50.0), "covariance[1]: larger than the variances allow"),
        (put("pixels", value=[[1]]), "pixels: expected no rows, or 3 rows of 256 counts"),
        (put("pixels", 0, 0, value=-1), "pixels: counts must be 0 … 9007199254740992"),
        (put("pixels", 0, 0, value=1), "pixels: every channel must count equally many"),
    ],
)  # fmt: skip
def test_each_damage_is_named(change, problem):
    assert f"reference.json.{problem}" in changed(change)


def test_unknown_keys_are_refused():
    (problem,) = changed(put("extra", value=1))
    assert problem.startswith("reference.json: unknown key 'extra' (known: accuracy, covariance, cross,")


def test_all_damages_are_named_at_once():
    def change(plain):
        plain["labelled"] = -1
        plain["features"][2]["m2"] = -1.0
        plain["pixels"][0][0] = 7

    assert len(changed(change)) == 3


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"", "reference.json: not JSON"),
        (b"\xff", "reference.json: not UTF-8"),
        (b"[1]", "reference.json"),
        (b'{"n": NaN}', "reference.json: not JSON: NaN is not a number"),
        (b"[" * 10**6, "reference.json: nested too deeply"),
        (b" " * (MAX_JSON_BYTES + 1), "reference.json: 33554433 bytes are more than the 33554432 allowed"),
    ],
)
def test_what_is_no_reference(text, problem):
    with pytest.raises(BundleError) as error:
        decode(text, encode(small())[1])
    assert problem in str(error.value)


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        (npy.encode(np.zeros((5, 3), np.float32)), "expected float32 of shape (N, 4), got float32 (5, 3)"),
        (npy.encode(np.zeros((5, 4))), "expected float32 of shape (N, 4), got float64 (5, 4)"),
        (npy.encode(np.zeros((0, 4), np.float32)), "expected float32 of shape (N, 4), got float32 (0, 4)"),
        (npy.encode(np.full((5, 4), np.nan, np.float32)), "holds values that are not finite numbers"),
        (npy.encode(np.full((5, 4), 0.5, np.float32)), "the last column must hold group numbers 0 … 6"),
        (npy.encode(np.full((5, 4), 1e30, np.float32)), "the last column must hold group numbers 0 … 6"),
        (npy.encode(np.full((5, 4), -1, np.float32)), "the last column must hold group numbers 0 … 6"),
        (b"", "not a .npy array"),
        (encode(small())[1][:-1], "its header promises"),
    ],
)
def test_damaged_calibration_rows(rows, problem):
    with pytest.raises(BundleError) as error:
        decode(encode(small())[0], rows)
    assert str(error.value).startswith("calibration.npy: ")
    assert problem in str(error.value)


TEXT, ROWS = encode(small())


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_no_flipped_byte_surprises(data):
    """Either it still is a reference, or a BundleError says what is wrong."""
    text, rows = bytearray(TEXT), bytearray(ROWS)
    damaged = data.draw(st.sampled_from([text, rows]))
    at = data.draw(st.integers(0, len(damaged) - 1))
    damaged[at] = data.draw(st.integers(0, 255))
    try:
        found = decode(bytes(text), bytes(rows))
    except BundleError as error:
        assert all(problem.startswith(("reference.json", "calibration.npy")) for problem in error.problems)
    else:
        assert np.isfinite(found.calibration).all()


def test_a_full_reference_is_small_and_quick_to_read(rng):
    reference = reference_of(population(0), rng)
    text, rows = encode(replace(reference, fingerprint="x"))
    assert len(text) < 60_000
    assert len(rows) == pytest.approx(600 * 35 * 4, abs=200)
