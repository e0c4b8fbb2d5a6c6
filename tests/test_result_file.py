"""Results survive the way into a JSON file and back, also between versions."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from check_results import (
    changed_without_labels,
    detection,
    diagnosis,
    harmful,
    healthy,
    layer_view,
    with_layers,
)
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import InputError
from calibration.check_result import CheckResult, OutputError, Rung
from calibration.result_file import dump, load, load_diagnosis


def as_file(result: Any) -> Any:
    """What another machine reads: strict JSON, no NaN."""
    return json.loads(json.dumps(dump(result), allow_nan=False))


@pytest.mark.parametrize("state", [healthy, harmful, changed_without_labels, detection, with_layers])
def test_a_check_comes_back_as_it_was(state: Callable[[], CheckResult]) -> None:
    result = state()
    assert load(as_file(result)) == result


def test_a_diagnosis_comes_back_as_it_was() -> None:
    result = replace(diagnosis(), layers=layer_view())
    assert load_diagnosis(as_file(result)) == result


_numbers = st.floats(allow_nan=False, allow_infinity=False)


@given(
    points=st.none() | _numbers,
    largest=_numbers,
    name=st.text(st.characters(exclude_characters="\0", exclude_categories=("Cs",))),
)
def test_any_finite_numbers_and_texts_come_back(points: float | None, largest: float, name: str) -> None:
    error = OutputError(largest=largest, mean=0.0, snr_db=points)
    rung = Rung(name="kernels", verdict="ok", inputs=1, flips=0, points=points, error=error)
    result = replace(healthy(), bundle=name, rungs=(rung,))
    assert load(as_file(result)) == result


def test_the_keys_that_others_read() -> None:
    value = as_file(harmful())
    assert (value["verdict"], value["cause"]) == ("harmful", "preprocess:color")
    assert [rung["name"] for rung in value["rungs"]] == ["float", "quantized", "kernels", "preprocess"]
    last = value["rungs"][-1]
    assert (last["verdict"], last["inputs"], last["flips"], last["accuracy"]) == ("harmful", 128, 37, 0.625)
    found = as_file(diagnosis())
    assert found["loss_points"] == 31.25
    assert [found["factors"][0][key] for key in ("name", "points")] == ["colour order", 19.4]
    assert {"low", "high"} <= set(found["factors"][0])


def test_a_newer_file_with_more_keys_is_read() -> None:
    value = as_file(with_layers())
    value["later"] = {"deep": [1]}
    value["rungs"][2]["later"] = 1
    value["rungs"][2]["families"][0]["later"] = None
    value["layers"]["layers"][5]["later"] = "x"
    assert load(value) == with_layers()


def test_an_older_file_without_optional_keys_is_read() -> None:
    rung = {"name": "kernels", "verdict": "ok", "inputs": 8, "flips": 0}
    value = {
        "bundle": "b.tflite",
        "task": "classification",
        "verdict": "ok",
        "cause": None,
        "sentence": "Fine.",
        "rungs": [rung],
        "origin": "unknown",
    }
    found = load(value)
    assert found.rungs == (Rung(name="kernels", verdict="ok", inputs=8, flips=0),)
    assert (found.notes, found.pictures, found.layers) == ((), (), None)


def test_every_problem_is_named_at_once_by_its_path() -> None:
    value = as_file(with_layers())
    del value["bundle"], value["rungs"][1]["flips"], value["layers"]["kernels"]
    value["verdict"] = "bad"
    value["rungs"][2]["error"]["mean"] = "much"
    value["layers"]["layers"][3]["seen"] = [1.0]
    with pytest.raises(InputError) as caught:
        load(value, where="check.json")
    assert sorted(caught.value.problems) == [
        "check.json: bundle: required key is missing",
        "check.json: layers.kernels: required key is missing",
        "check.json: layers.layers[3].seen: expected a list of 2, got 1",
        "check.json: rungs[1].flips: required key is missing",
        "check.json: rungs[2].error.mean: expected float, got 'much'",
        "check.json: verdict: expected one of ok, changed, harmful, got 'bad'",
    ]


@pytest.mark.parametrize("value", [[], "text", 3, None])
def test_what_is_no_mapping_is_said_so(value: object) -> None:
    with pytest.raises(InputError, match=r"^c\.json: expected a mapping, the result of a check$"):
        load(value, where="c.json")


def test_numbers_that_json_cannot_hold() -> None:
    error = OutputError(largest=math.inf, mean=math.nan, snr_db=-math.inf)
    rung = Rung(name="kernels", verdict="harmful", inputs=1, flips=1, error=error, p=math.nan)
    found = load(as_file(replace(healthy(), rungs=(rung,)))).rungs[0]
    assert found.error is not None
    assert found.error.largest == found.error.mean == np.finfo(np.float64).max
    assert (found.error.snr_db, found.p) == (None, None)


def test_names_that_no_text_can_hold() -> None:
    """A file name of arbitrary bytes, as Python reads it."""
    name = b"h\xe9.jpg".decode("utf-8", "surrogateescape")
    assert load(as_file(replace(healthy(), bundle=name + "\0"))).bundle == "h\ufffd.jpg\ufffd"


def test_numbers_of_numpy_are_plain_in_the_file() -> None:
    wide: Any = np.int64(7)
    narrow: Any = np.float32(0.5)
    rung = Rung(name="kernels", verdict="ok", inputs=wide, flips=0, accuracy=narrow)
    found = as_file(replace(healthy(), rungs=(rung,)))["rungs"][0]
    assert (found["inputs"], found["accuracy"]) == (7, 0.5)
