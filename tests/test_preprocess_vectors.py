"""The steps for sensor readings."""

from typing import Any

import numpy as np
import pytest

from agent.contracts import TensorSpec
from agent.errors import FrameError
from agent.preprocess.compiled import compile_spec, run_steps
from agent.preprocess.spec import element_names, parse
from agent.preprocess.vectors import Clip, Impute, Select, Standardize

SPEC = parse(
    """
version: "7"
steps:
  - select: {columns: [temperature, humidity, pressure, door], names: [pressure, temperature]}
  - impute: {fill: [1013.25, 20]}
  - clip: {low: [900, -40], high: [1100, 85]}
  - standardize: {mean: [1000, 20], std: [50, 10]}
  - cast: {mode: quantize, rounding: half_away}
"""
)
FLOAT = TensorSpec(name="x", shape=(1, 2), dtype="float32")


def test_each_step() -> None:
    vector = np.array([1.5, np.nan, -7.0, np.inf])
    assert Select(indices=(2, 0, 2)).apply(vector).tolist() == [-7.0, 1.5, -7.0]
    assert Impute(fill=(9,)).apply(vector).tolist() == [1.5, 9.0, -7.0, np.inf]
    assert Impute(fill=(1, 2, 3, 4)).apply(vector)[1] == 2.0
    clipped = Clip(low=(-5,), high=(1, 1, 1, 100)).apply(vector)
    assert clipped[[0, 2, 3]].tolist() == [1.0, -5.0, 100.0]
    assert np.isnan(clipped[1])
    assert Standardize(mean=(1.5,), std=(0.5,)).apply(vector[[0, 2]]).tolist() == [0.0, -17.0]


def test_a_reading_becomes_the_tensor_and_the_view_is_in_its_own_units() -> None:
    reading = np.array([25.0, 40.0, np.nan, 1.0])
    prepared = compile_spec(SPEC, FLOAT)(reading)
    assert prepared.tensor.dtype == np.float32
    np.testing.assert_allclose(prepared.tensor, [[0.265, 0.5]], rtol=1e-7)
    assert prepared.view.dtype == np.float64
    assert prepared.view.tolist() == [1013.25, 25.0]
    assert compile_spec(SPEC, FLOAT).feature_view(prepared).tolist() == [1013.25, 25.0]
    assert np.isnan(reading[2])


def test_quantized_readings() -> None:
    tensor = TensorSpec(name="x", shape=(1, 2), dtype="int8", scale=0.1, zero_point=-3)
    prepared = compile_spec(SPEC, tensor)(np.array([25.0, 0.0, 1100.0, 0.0]))
    # (1100 - 1000) / 50 = 2 → 20 steps; (25 - 20) / 10 = .5 → 5 steps
    assert prepared.tensor.tolist() == [[17, 2]]


def test_without_steps_before_it_the_view_is_the_reading() -> None:
    spec = parse('version: "1"\nsteps: [{cast: {mode: quantize, rounding: floor}}]')
    tensor = TensorSpec(name="x", shape=(1, 1), dtype="float32")
    for prepared in (compile_spec(spec, tensor)(np.array([5])), run_steps(spec, tensor, np.array([5]))):
        assert prepared.view.tolist() == [5.0]
        assert prepared.tensor.tolist() == [[5.0]]


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        (b"\xff\xd8", "expected a reading"),
        (np.zeros((2, 2, 3), np.uint8), r"expected a reading \(a vector of numbers\), got an array of shape"),
        (np.array([]), "expected a reading"),
        (np.array(["a"]), "expected a reading"),
        (np.zeros(3), "select: expected 4 elements, got 3"),
        (np.array([np.nan, 0, np.inf, 0]), None),
    ],
)
def test_readings_that_cannot_be_used(payload: Any, message: str | None) -> None:
    prepare = compile_spec(SPEC, FLOAT)
    if message is None:  # imputed and clipped: usable after all
        assert prepare(payload).view.tolist() == [1100.0, 20.0]
        return
    with pytest.raises(FrameError, match=message):
        prepare(payload)
    with pytest.raises(FrameError, match=message):
        run_steps(SPEC, FLOAT, payload)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_what_no_model_can_take_is_named_by_its_place(bad: float) -> None:
    spec = parse('version: "1"\nsteps: [{cast: {mode: quantize, rounding: floor}}]')
    tensor = TensorSpec(name="x", shape=(3,), dtype="float32")
    with pytest.raises(FrameError, match="cast: element 1 is missing or too large"):
        compile_spec(spec, tensor)(np.array([0.0, bad, 1.0]))
    with pytest.raises(FrameError, match="cast: 2 elements, the model's tensor is 3"):
        compile_spec(spec, tensor)(np.zeros(2))


def test_names_of_the_elements() -> None:
    assert element_names(SPEC, 2) == ("pressure", "temperature")
    by_index = parse(
        'version: "1"\nsteps: [{select: {indices: [2, 0]}}, {cast: {mode: raw, rounding: floor}}]'
    )
    assert element_names(by_index, 2) == ("element_2", "element_0")
    plain = parse('version: "1"\nsteps: [{cast: {mode: raw, rounding: floor}}]')
    assert element_names(plain, 3) == ("element_0", "element_1", "element_2")


@pytest.mark.parametrize(
    ("step", "problem"),
    [
        (Select(), "expected either indices, or names with columns"),
        (
            Select(indices=(0,), names=("a",), columns=("a",)),
            "expected either indices, or names with columns",
        ),
        (Select(names=("b",), columns=("a",)), "names: 'b' is not in columns"),
        (Select(indices=(-1,)), "indices: expected 0 or more, got -1"),
        (Select(indices=(3,), columns=("a", "b")), "indices: 3 lies beyond the 2 columns"),
        (Impute(fill=()), "fill: expected at least one number"),
        (Clip(low=(2,), high=(3, 1)), "high: expected at least low in every element"),
        (Clip(low=(1, 2), high=(3, 4, 5)), "low and high: expected the same length, got 2 and 3"),
        (Standardize(mean=(0,), std=(1, 0)), "std: expected numbers other than 0"),
    ],
)
def test_parameters_that_cannot_be_used(step: Any, problem: str) -> None:
    assert step.problems() == [problem]
