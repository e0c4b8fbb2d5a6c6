"""Packed windows: small, exact, and refused when they are something else."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.monitor.bins import quantile_edges
from agent.monitor.packed import PackedError, decode, encode, from_text, to_text
from agent.monitor.profiles import merge, profile_of


def profile(seed, rows, features, n_groups, scale=1.0):
    rng = np.random.default_rng(seed)
    known = (rng.normal(size=(200, features)) * scale).astype(np.float32)
    values = (rng.normal(0.2, 1.3, size=(rows, features)) * scale).astype(np.float32)
    return profile_of(
        values, rng.integers(-1, max(n_groups, 1), rows) if n_groups else np.full(rows, -1),
        features=tuple(f"sensor {at}" for at in range(features)), edges=quantile_edges(known),
        n_groups=n_groups, pixels=np.zeros((0, 256), np.int64),
    )  # fmt: skip


def assert_same(found, expected):
    assert (found.features, found.n) == (expected.features, expected.n)
    for name in ("counts", "groups", "mean", "m2", "pixels", "cross"):
        ours, theirs = getattr(found, name), getattr(expected, name)
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape), name
        np.testing.assert_array_equal(ours, theirs)


@settings(deadline=None, max_examples=100)
@given(
    seed=st.integers(0, 2**32 - 1),
    rows=st.integers(0, 300),
    features=st.integers(1, 20),
    n_groups=st.integers(0, 16),
    scale=st.sampled_from([0.0, 1e-30, 1.0, 1e30]),
)
def test_round_trip(seed, rows, features, n_groups, scale):
    given_profile = profile(seed, rows, features, n_groups, scale)
    packed = encode(given_profile)
    assert_same(decode(packed, given_profile.features), given_profile)
    assert from_text(to_text(packed)) == packed


def test_sixteen_features_fit_into_a_kilobyte_of_text():
    for rows in (250, 500, 1000):
        window = profile(0, rows, 16, 16)
        assert len(to_text(encode(window))) <= 1024
    assert len(encode(profile(0, 500, 16, 0))) == 24 + 16 * 16 + (16 * 15 * 9 + 7) // 8


def test_the_width_does_not_depend_on_the_counts():
    first, second = profile(1, 250, 16, 4), profile(2, 250, 16, 4, 1e30)
    assert len(encode(first)) == len(encode(second))


def test_what_was_unpacked_merges_exactly():
    first, second = profile(1, 250, 5, 3), profile(1, 130, 5, 3)
    unpacked = [decode(encode(one), one.features) for one in (first, second)]
    assert_same(merge(*unpacked), merge(first, second))


def test_what_is_no_packed_profile():
    window = profile(0, 250, 4, 3)
    packed = encode(window)
    for damaged, problem in (
        (b"", "too short"),
        (b"XXXX" + packed[4:], "not a packed profile"),
        (packed[:-1], "of another length"),
        (packed + b"\0", "of another length"),
        (packed[:12] + (2**60).to_bytes(8, "little") + packed[20:], "of another length"),
        (packed[:24] + b"\xff" * 8 + packed[32:], "cannot be"),
        (packed[:88] + b"\xff" * (len(packed) - 88), "cannot be"),
    ):
        with pytest.raises(PackedError, match=problem):
            decode(damaged, window.features)
    with pytest.raises(PackedError, match="other features"):
        decode(packed, ("a", "b", "c", "d"))
    with pytest.raises(PackedError, match="not base64"):
        from_text("é?")


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_no_flipped_byte_surprises(data):
    packed = bytearray(encode(profile(0, 60, 3, 3)))
    at = data.draw(st.integers(0, len(packed) - 1))
    packed[at] = data.draw(st.integers(0, 255))
    try:
        found = decode(bytes(packed), ("sensor 0", "sensor 1", "sensor 2"))
    except PackedError:
        return
    assert (found.counts >= 0).all()
    assert (found.counts.sum(axis=1) == found.n).all()
