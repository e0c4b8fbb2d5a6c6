"""Arrays as bytes: numpy reads what is written, and no header makes us allocate."""

import io

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
