"""Signatures and the library: what is said to look alike, what to be nothing, what to be unknown."""

import json
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.spatial.distance import mahalanobis

from agent import npy
from agent.errors import BundleError
from agent.monitor.groups import NO_GROUPS
from agent.monitor.reference import build
from agent.monitor.signatures import (
    Library,
    axes_of,
    cosine,
    decode,
    encode,
    signature,
)

NAMES = ("a", "b")


def reference_of(rows, families=("light", "light")):
    rows = np.asarray(rows, dtype=np.float32)
    return build(
        features=tuple("abcdefgh"[: rows.shape[1]]),
        families=families,
        profile_rows=rows,
        profile_groups=np.full(len(rows), -1),
        pixels=np.zeros((0, 256), np.int64),
        calibration=rows,
        calibration_groups=np.full(len(rows), -1),
        groups=NO_GROUPS,
        fingerprint="",
    )


def library_of(vectors, *, families=("data:blur", "data:dark"), basis=None, spread=None, **changed):
    vectors = np.asarray(vectors, dtype=np.float64)
    numbers = vectors.shape[1]
    made = Library(
        features=NAMES,
        kind="accuracy",
        inputs=100,
        rows=1000,
        families=families,
        names=tuple(f"fault {at}" for at in range(len(vectors))),
        losses=tuple(2.5 * at for at in range(len(vectors))),
        vectors=vectors,
        basis=np.eye(numbers) if basis is None else basis,
        spread=np.zeros(numbers) if spread is None else spread,
        shifted_above=1.0,
        pointed_above=2.0,
        unlike_above=1.0,
    )
    return replace(made, **changed)


def test_a_signature_is_the_shift_of_means_and_the_log_of_widths():
    # Means 1 and 10, deviations 1 and 2.
    reference = reference_of([[0, 8], [2, 12]])
    rows = np.array([[1.5, 2], [3.5, 18]], dtype=np.float32)  # means 2.5 and 10, deviations 1 and 8
    np.testing.assert_allclose(signature(rows, reference), [1.5, 0, 0, np.log(4)], atol=1e-12)


def test_what_leaves_every_scale_is_bounded():
    reference = reference_of([[0, 5], [2, 5]])
    rows = np.array([[1e30, 5], [1e30, 7]], dtype=np.float32)
    made = signature(rows, reference)
    np.testing.assert_allclose(made, [2, 2, -2, 2])


def test_one_row_has_no_signature():
    with pytest.raises(ValueError, match="at least 2 rows, got 1"):
        signature(np.zeros((1, 2), np.float32), reference_of([[0, 8], [2, 12]]))


def test_columns_out_of_step_show_along_the_axes(rng):
    """Two sensors that agreed and no longer do: means and widths of each stay as they were."""
    common = rng.normal(size=(4000, 1))
    together = (common + 0.2 * rng.normal(size=(4000, 2))).astype(np.float32)
    apart = np.column_stack([together[:, 0], rng.permutation(together[:, 1])])
    made = signature(apart, reference_of(together, ("value", "value")))
    np.testing.assert_allclose(made[:4], 0, atol=1e-6)
    deviations = np.sqrt(np.linalg.eigvalsh(np.corrcoef(together.T)))
    expected = np.log(np.sqrt(np.linalg.eigvalsh(np.corrcoef(apart.T)).mean()) / deviations)
    np.testing.assert_allclose(made[4:], expected, atol=0.05)


def test_axes_computed_before_give_the_same_signature(rng):
    rows = rng.normal(size=(50, 2)).astype(np.float32)
    vector, image = reference_of(rows, ("value", "value")), reference_of(rows)
    assert axes_of(image) is None
    given = signature(rows, vector, along=axes_of(vector))
    np.testing.assert_array_equal(given, signature(rows, vector))
    assert len(given) == 6
    np.testing.assert_allclose(given[4:], 0, atol=1e-6)  # its own rows are as wide as usual


def test_the_cosine_is_that_of_textbooks():
    np.testing.assert_allclose(
        cosine(np.array([[2.0, 0], [3, 3], [0, 0], [-1, 0]]), np.array([5.0, 0])), [1, np.sqrt(0.5), 0, -1]
    )


def test_the_closest_fault_of_each_family_is_ranked():
    library = library_of(
        [[4.0, 0, 0, 0], [2, 2, 0, 0], [0, 3, 0, 0], [0, 0, 9, 0]],
        families=("data:blur", "data:blur", "data:dark", "data:noise"),
    )
    match = library.match(np.array([6.0, 8, 0, 0]), 100)
    told = [(found.family, found.name, round(found.cosine, 4), found.loss) for found in match.ranked]
    assert told == [
        ("data:blur", "fault 1", 0.9899, 2.5),
        ("data:dark", "fault 2", 0.8, 5.0),
        ("data:noise", "fault 3", 0.0, 7.5),
    ]
    assert not match.nothing


def test_the_cosine_does_not_depend_on_strength():
    library = library_of([[4.0, 1, 0, 0], [0, 0, 2, 1]])
    weak, strong = (library.match(scale * np.array([4.0, 1, 0, 0]), 100) for scale in (0.3, 2.0))
    assert [found.cosine for found in weak.ranked] == pytest.approx([found.cosine for found in strong.ranked])
    assert weak.ranked[0].cosine == pytest.approx(1.0)


def test_of_two_that_point_alike_the_one_of_like_strength_comes_first():
    library = library_of([[0.4, 0, 0, 0], [2, 0, 0, 0]])
    assert [library.match(np.array([length, 0, 0, 0]), 100).ranked[0].family for length in (0.5, 1.9)] == [
        "data:blur",
        "data:dark",
    ]


def test_a_mix_must_be_clearly_closer_than_one_fault():
    library = library_of([[2.0, 0, 0, 0], [2, 0.4, 0, 0]], families=("data:blur", "data:blur+data:dark"))
    assert library.match(np.array([2.0, 0.22, 0, 0]), 100).ranked[0].family == "data:blur"
    assert library.match(np.array([2.0, 0.4, 0, 0]), 100).ranked[0].family == "data:blur"
    far = library_of([[2.0, 0, 0, 0], [2, 1.5, 0, 0]], families=("data:blur", "data:blur+data:dark"))
    assert far.match(np.array([2.0, 1.5, 0, 0]), 100).ranked[0].family == "data:blur+data:dark"


def test_two_implementations_alike_say_more_than_one():
    """The cosines of the three faults with the window are .945, .94 and .93."""
    angles = np.arccos([0.945, 0.94, 0.93])
    vectors = np.column_stack([2 * np.cos(angles), 2 * np.sin(angles), np.zeros(3), np.zeros(3)])
    families = ("data:blur", "data:dark", "data:dark")
    moved = np.array([2.0, 0, 0, 0])
    match = library_of(vectors, families=families).match(moved, 100)
    assert [(found.family, found.name) for found in match.ranked] == [
        ("data:dark", "fault 1"),
        ("data:blur", "fault 0"),
    ]


def test_distances_are_mahalanobis(rng):
    """Against SciPy, with the covariance that basis and spread stand for."""
    factor = rng.normal(size=(4, 4))
    scatter = factor @ factor.T + np.eye(4)
    basis = np.linalg.inv(np.linalg.cholesky(scatter)).T
    library = library_of(
        rng.normal(size=(2, 4)) * 3, basis=basis, spread=np.array([0.0, 0.01, 0.02, 0.4]), inputs=50
    )
    moved = rng.normal(size=4)
    inverse = np.linalg.inv(basis)
    noise = 1 / 25 + 1 / 50
    for vector, found in zip(library.vectors, library.distances(moved, 25), strict=True):
        implementations = (vector @ vector) * inverse.T @ np.diag(library.spread) @ inverse
        covariance = noise * scatter + implementations
        assert found * 4 == pytest.approx(mahalanobis(moved, vector, np.linalg.inv(covariance)) ** 2)
    overall, pointed = library.shifts(moved)
    assert overall * 2 == pytest.approx(mahalanobis(moved, np.zeros(4), np.linalg.inv(scatter)))
    inner = [vector @ np.linalg.inv(scatter) @ moved for vector in library.vectors]
    lengths = [mahalanobis(vector, np.zeros(4), np.linalg.inv(scatter)) for vector in library.vectors]
    assert pointed == pytest.approx(max(np.array(inner) / lengths))


def test_little_is_nothing_and_far_is_unlike_anything():
    library = library_of([[4.0, 0, 0, 0], [0, 4, 0, 0]])
    nothing = library.match(np.array([0.1, 0.1, 0, 0]), 100)
    assert nothing.nothing and not nothing.unlike_anything and nothing.ranked == ()
    known = library.match(np.array([4.1, 0.1, 0, 0]), 100)
    assert not known.nothing and not known.unlike_anything and known.nearest == "data:blur (fault 0)"
    unknown = library.match(np.array([4.0, 0, 9, 0]), 100)
    assert unknown.unlike_anything and unknown.ranked[0].family == "data:blur"


def test_fewer_frames_prove_less():
    library = library_of([[4.0, 0, 0, 0], [0, 4, 0, 0]])
    moved = np.array([0.4, 0, 0, 0])
    assert not library.match(moved, 100).nothing
    assert library.match(moved, 5).nothing


def test_what_was_always_so_on_this_device_is_not_a_change():
    library = library_of([[4.0, 0, 0, 0], [0, 4, 0, 0]])
    usual = np.array([0.0, 4, 0, 0])
    assert library.match(usual, 100).ranked[0].family == "data:dark"
    assert library.match(usual, 100, usual=usual).nothing
    assert library.match(usual + np.array([4.0, 0, 0, 0]), 100, usual=usual).ranked[
        0
    ].cosine == pytest.approx(1.0)


def test_a_baseline_of_its_own_makes_it_surer():
    library = library_of([[4.0, 0, 0, 0], [0, 4, 0, 0]])
    moved = np.array([1.0, 0, 0, 0])
    bundles, own = (library.match(moved, 100, usual=usual) for usual in (None, np.zeros(4)))
    assert own.shift / bundles.shift == pytest.approx(np.sqrt((1 / 100 + 1 / 100) / (1 / 100 + 1 / 200)))


def test_a_signature_of_another_length_is_refused():
    with pytest.raises(ValueError, match="expected a signature of 4 numbers"):
        library_of([[4.0, 0, 0, 0], [0, 4, 0, 0]]).match(np.zeros(3), 10)


def test_long_signatures_need_no_matrix():
    full = library_of([[4.0, 1, 0, 0], [0, 4, 0, 0]], basis=np.diag([0.5, 1, 2, 1.0]))
    thin = replace(full, basis=np.array([[0.5, 1, 2, 1.0]]))
    moved = np.array([1.0, 2, 3, 4])
    assert full.match(moved, 10) == thin.match(moved, 10)


def assert_equal(a, b):
    for field in fields(Library):
        ours, theirs = getattr(a, field.name), getattr(b, field.name)
        if isinstance(ours, np.ndarray):
            np.testing.assert_array_equal(ours, theirs)
        else:
            assert ours == theirs, field.name


_TEXT = st.text(st.characters(exclude_categories=["C"]), max_size=8)


@settings(deadline=None, max_examples=60)
@given(
    vectors=st.integers(1, 5).flatmap(
        lambda k: arrays.arrays(np.float32, (k, 4), elements=st.floats(-50, 50, width=32))
    ),
    loss=st.none() | st.floats(-100, 100),
    text=_TEXT,
    thin=st.booleans(),
)
def test_round_trip(vectors, loss, text, thin):
    library = library_of(
        vectors,
        families=(text,) * len(vectors),
        names=(text,) * len(vectors),
        losses=(loss,) * len(vectors),
        basis=np.array([[0.5, 1, 2, 1.0]]) if thin else np.eye(4),
    )
    written = encode(library)
    assert_equal(decode(*written, features=NAMES), library)
    assert encode(decode(*written)) == written


def changed(**entries):
    text, table = encode(library_of([[4.0, 0, 0, 0], [0, 4, 0, 0]]))
    return json.dumps(json.loads(text) | entries).encode(), table


@pytest.mark.parametrize(
    ("entries", "problem"),
    [
        ({"inputs": 0}, "signatures.json.inputs: expected 1 or more, got 0"),
        ({"faults": []}, "signatures.json.faults: expected 1 … 4096, got 0"),
        ({"unlike_above": 1e-300}, "signatures.json.unlike_above: must be more than 0"),
        ({"pointed_above": 0.0}, "signatures.json.pointed_above: must be more than 0"),
        ({"kind": "speed"}, "signatures.json.kind: expected one of accuracy, mse, got 'speed'"),
        ({"features": ["a"]}, "signatures.json.features: are not the reference's"),
        ({"extra": 1}, "signatures.json: unknown key 'extra'"),
    ],
)
def test_a_bad_json_is_named(entries, problem):
    with pytest.raises(BundleError) as caught:
        decode(*changed(**entries), features=NAMES)
    assert any(line.startswith(problem) for line in caught.value.problems), caught.value.problems


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        (b"", "signatures.npy: not a .npy array"),
        (npy.encode(np.zeros((7, 4))), "signatures.npy: expected a table of finite float32"),
        (npy.encode(np.zeros((5, 4), np.float32)), "signatures.npy: shape (5, 4) does not fit 2 faults"),
        (npy.encode(np.zeros((7, 3), np.float32)), "signatures.npy: shape (7, 3) does not fit 2 faults"),
        (npy.encode(np.zeros((7, 4), np.float32)), "signatures.npy: holds no metric"),
        (npy.encode(np.full((7, 4), np.nan, np.float32)), "signatures.npy: expected a table of finite"),
    ],
)
def test_a_bad_table_is_named(table, problem):
    with pytest.raises(BundleError) as caught:
        decode(changed()[0], table)
    assert str(caught.value).startswith(problem)


def test_no_json_is_named():
    with pytest.raises(BundleError, match=r"signatures\.json: not JSON"):
        decode(b"{", b"")
