"""Affine quantization against TFLite's own QUANTIZE kernel and against its definition."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.contracts import TensorSpec
from agent.quantize import dequantize, quantize

VECTORS = np.load(Path(__file__).parent / "vectors" / "preprocess.npz")


def tensor(dtype: str, scale: float = 0.0, zero_point: int = 0) -> TensorSpec:
    return TensorSpec(name="x", shape=(1,), dtype=dtype, scale=scale, zero_point=zero_point)


@pytest.mark.parametrize("name", ["uint8_half", "int8_half", "int8_odd", "int16"])
def test_half_away_stores_what_tflites_reference_kernel_stores(name: str) -> None:
    expected = VECTORS[f"quantize/{name}"]
    scale, zero_point = VECTORS[f"quantize/{name}/spec"]
    spec = tensor(expected.dtype.name, float(scale), int(zero_point))
    stored = quantize(VECTORS["quantize/values"], spec, "half_away")
    assert stored.dtype == expected.dtype
    np.testing.assert_array_equal(stored, expected)


@pytest.mark.parametrize(
    ("rounding", "expected"),
    [
        # value / 0.5 = -3.5, -2.5, -0.5, 0.5, 2.5, 2.6; zero point 10
        ("half_even", [6, 8, 10, 10, 12, 13]),
        ("half_away", [6, 7, 9, 11, 13, 13]),
        ("truncate", [6, 7, 9, 10, 12, 12]),
        ("floor", [6, 7, 9, 10, 12, 12]),
    ],
)
def test_roundings_at_the_halves(rounding: Any, expected: list[int]) -> None:
    values = np.array([-1.75, -1.25, -0.25, 0.25, 1.25, 1.3])
    assert quantize(values, tensor("int8", 0.5, 10), rounding).tolist() == expected


def test_truncate_cuts_the_stored_number_towards_zero_and_floor_downwards() -> None:
    # The idiom (x / scale + zero_point).astype(int8): -1.25 / 0.5 + 1 = -1.5.
    spec = tensor("int8", 0.5, 1)
    assert quantize([-1.25], spec, "truncate").tolist() == [-1]
    assert quantize([-1.25], spec, "floor").tolist() == [-2]


def test_the_largest_float_below_a_half_rounds_down() -> None:
    almost = np.nextafter(np.float32(0.5), np.float32(0))
    assert quantize(np.array([almost, -almost]), tensor("int8", 1.0), "half_away").tolist() == [0, 0]


@pytest.mark.parametrize(
    ("dtype", "low", "high"), [("uint8", 0, 255), ("int8", -128, 127), ("int16", -32768, 32767)]
)
def test_values_out_of_range_saturate(dtype: str, low: int, high: int) -> None:
    assert quantize([-1e30, 1e30], tensor(dtype, 0.1, 3)).tolist() == [low, high]


def test_a_tensor_without_scale_takes_the_numbers_themselves() -> None:
    assert quantize([-1.0, 2.5, 300.0], tensor("uint8"), "half_even").tolist() == [0, 2, 255]
    stored = quantize([0.1, -2.0], tensor("float32"))
    assert stored.dtype == np.float32
    assert stored.tolist() == [np.float32(0.1), -2.0]


@given(st.integers(-128, 127), st.floats(1e-4, 10), st.integers(-128, 127))
def test_stored_numbers_survive_the_round_trip(number: int, scale: float, zero_point: int) -> None:
    spec = tensor("int8", float(np.float32(scale)), zero_point)
    stored = np.array([number], np.int8)
    for rounding in ("half_even", "half_away"):
        assert quantize(dequantize(stored, spec), spec, rounding).tolist() == [number]


def test_dequantize_by_definition() -> None:
    real = dequantize(np.array([0, 128, 255], np.uint8), tensor("uint8", 0.0078125, 128))
    assert real.dtype == np.float32
    assert real.tolist() == [-1.0, 0.0, 0.9921875]
    assert dequantize(np.array([3], np.int8), tensor("int8")).tolist() == [3.0]


def test_a_reading_is_quantized_in_float64() -> None:
    # 16777217 is no float32: rounded to one first it would store 0 steps of difference.
    spec = tensor("int16", 1.0, 0)
    assert quantize(np.array([16777217.0]) - 16777216.0, spec).tolist() == [1]
    assert quantize(np.array([0.5 + 2**-40]), spec, "half_even").tolist() == [1]
    assert quantize(np.array([0.5 + 2**-40], np.float32), spec, "half_even").tolist() == [0]
