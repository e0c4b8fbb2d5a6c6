"""Arrays as bytes: numpy reads what is written, and no header makes us allocate."""

import io
import re
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from agent import npy

ARRAYS = hnp.arrays(
    st.sampled_from(["uint8", "int8", "int16", "int64", "float32", "float64", "bool"]),
    hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
)


def saved(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


@given(ARRAYS)
def test_round_trip_through_us_and_through_numpy(array: np.ndarray) -> None:
    data = npy.encode(array)
    for read in (npy.decode(data), np.load(io.BytesIO(data), allow_pickle=False)):
        assert read.dtype == array.dtype
        assert read.shape == array.shape
        np.testing.assert_array_equal(read, array)


def test_a_header_that_claims_terabytes_costs_nothing() -> None:
    data = npy.encode(np.zeros((2, 3), np.float32)).replace(b"(2, 3)", b"(9999999, 999999)")
    with pytest.raises(npy.NpyError):
        npy.decode(data)


def test_objects_and_fortran_order_are_refused() -> None:
    stream = io.BytesIO()
    np.save(stream, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(npy.NpyError, match=r"not a \.npy array of numbers in C order"):
        npy.decode(stream.getvalue())
    stream = io.BytesIO()
    np.save(stream, np.asfortranarray(np.ones((2, 3))))
    with pytest.raises(npy.NpyError, match=r"not a \.npy array of numbers in C order"):
        npy.decode(stream.getvalue())


@given(st.binary(max_size=200), st.integers(0, 127))
def test_any_bytes_are_an_array_or_an_npy_error(noise: bytes, at: int) -> None:
    good = npy.encode(np.arange(6, dtype=np.int16).reshape(2, 3))
    for data in (noise, good[:at] + noise, good[:at] + noise + good[at + len(noise) :]):
        try:
            read = npy.decode(data)
        except npy.NpyError:
            continue
        assert read.nbytes <= len(data)


@given(ARRAYS.filter(lambda array: array.size > 0), st.booleans(), st.sampled_from(["<", ">"]))
def test_files_of_others_are_read_in_any_order(array: np.ndarray, columns_first: bool, order: str) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.npy"
        theirs = array.astype(array.dtype.newbyteorder(order))
        np.save(path, np.asfortranarray(theirs) if columns_first and theirs.ndim else theirs)
        read = npy.load(path)
    assert (read.dtype, read.shape) == (array.dtype, array.shape)
    assert read.flags.c_contiguous
    np.testing.assert_array_equal(read, array)


def test_files_of_every_version_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    for version in ((1, 0), (2, 0), (3, 0)):
        with path.open("wb") as file:
            np.lib.format.write_array(file, np.arange(6).reshape(2, 3), version=version)
        np.testing.assert_array_equal(npy.load(path), np.arange(6).reshape(2, 3))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (saved(np.zeros((2, 3), np.float32)).replace(b"(2, 3)", b"(99999999, 9999)"), "promises"),
        (saved(np.zeros((2, 3), np.float32))[:-1], "it holds 23 bytes"),
        (saved(np.zeros((0, 3))), "holds no numbers"),
        (saved(np.array(["a"])), "plain numbers"),
        (saved(np.array([1j])), "plain numbers"),
        (saved(np.array([{}], object)), "plain numbers"),
        (b"PK\x03\x04archive", "an .npz archive"),
        (b"", "not a .npy array"),
        (b"\x93NUMPY\x01\x00\xff\xff{", "plain numbers"),
    ],
)
def test_what_is_no_array_of_numbers_is_said(tmp_path: Path, data: bytes, said: str) -> None:
    path = tmp_path / "a.npy"
    path.write_bytes(data)
    with pytest.raises(npy.NpyError, match=re.escape(said)):
        npy.load(path)


@given(st.binary(max_size=200), st.integers(0, 127))
def test_any_file_is_an_array_or_an_npy_error(noise: bytes, at: int) -> None:
    good = npy.encode(np.arange(6, dtype=np.int16).reshape(2, 3))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.npy"
        path.write_bytes(good[:at] + noise + good[at + len(noise) :])
        with suppress(npy.NpyError):
            assert npy.load(path).nbytes <= path.stat().st_size
