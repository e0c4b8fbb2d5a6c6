"""Traces: what is recorded of each step, and how two machines' records are judged."""

import hashlib
from dataclasses import replace

import cv2
import numpy as np
import pytest

from agent.contracts import TensorSpec
from agent.errors import FrameError
from agent.preprocess.spec import parse
from agent.preprocess.trace import StepTrace, compare, trace

SPEC = parse(
    """
version: "1"
steps:
  - decode: {exif: ignore}
  - crop: {kind: central_fraction, fraction: 0.5, rounding: floor}
  - resize: {width: 20, height: 16, method: linear, aspect: stretch}
  - color: {order: rgb}
  - normalize: {divisor: 127.5, mean: [1], std: [1]}
  - cast: {mode: quantize, rounding: half_even, layout: nhwc}
"""
)
TENSOR = TensorSpec(name="x", shape=(1, 16, 20, 3), dtype="int8", scale=1 / 128, zero_point=0)
PIXELS = np.random.default_rng(4).integers(0, 256, (60, 80, 3), dtype=np.uint8)
JPEG = cv2.imencode(".jpg", PIXELS)[1].tobytes()
PNG = cv2.imencode(".png", PIXELS)[1].tobytes()


def moved(traces: tuple[StepTrace, ...], at: int, by: float) -> tuple[StepTrace, ...]:
    """The record of a machine whose step ``at`` gives one probed value another number."""
    changed = list(traces)
    probe = traces[at].probe
    changed[at] = replace(traces[at], sha256="0" * 64, probe=(probe[0] + by, *probe[1:]))
    return tuple(changed)


def test_one_record_per_step() -> None:
    traces = trace(SPEC, TENSOR, PIXELS)
    assert [(t.step, t.revision, t.dtype, t.shape) for t in traces] == [
        ("decode", 1, "uint8", (60, 80, 3)),
        ("crop", 1, "uint8", (30, 40, 3)),
        ("resize", 1, "uint8", (16, 20, 3)),
        ("color", 1, "uint8", (16, 20, 3)),
        ("normalize", 1, "float32", (16, 20, 3)),
        ("cast", 1, "int8", (1, 16, 20, 3)),
    ]
    crop = PIXELS[15:45, 20:60]
    assert traces[1].sha256 == hashlib.sha256(crop.tobytes()).hexdigest()
    assert all(len(t.probe) == 256 for t in traces)
    assert set(traces[1].probe) <= set(crop.ravel().tolist())


def test_the_probe_spreads_over_the_whole_image() -> None:
    rows = np.repeat(np.arange(200, dtype=np.uint8), 300).reshape(200, 100, 3)
    probe = trace(SPEC, TENSOR, rows)[0].probe
    counts, _ = np.histogram(probe, bins=8, range=(0, 200))
    assert counts.min() >= 16  # of 32 expected in each eighth


def test_small_results_are_probed_whole() -> None:
    spec = parse('version: "1"\nsteps: [{impute: {fill: [0]}}, {cast: {mode: quantize, rounding: floor}}]')
    tensor = TensorSpec(name="x", shape=(1, 3), dtype="float32")
    imputed, cast = trace(spec, tensor, np.array([1.0, np.nan, 0.1]))
    assert imputed.probe == (1.0, 0.0, 0.1)
    assert cast.probe == (1.0, 0.0, float(np.float32(0.1)))


@pytest.mark.parametrize(
    ("payload", "decode"),
    [(PIXELS, 0.0), (PNG, 0.0), (JPEG, 2.0)],
    ids=["pixels", "png", "jpeg"],
)
def test_tolerances_add_up_and_are_scaled(payload: object, decode: float) -> None:
    traces = trace(SPEC, TENSOR, payload)  # type: ignore[arg-type]  # bytes or pixels
    by_step = [t.tolerance for t in traces]
    assert by_step[:4] == [decode, decode, decode + 1, decode + 1]
    normalized = (decode + 1 + 255e-5) / 127.5
    assert by_step[4] == pytest.approx(normalized)
    assert by_step[5] == int(normalized * 128) + 1


def test_the_same_machine_is_exact() -> None:
    recorded = [trace(SPEC, TENSOR, JPEG), trace(SPEC, TENSOR, PIXELS)]
    found = compare(recorded, [trace(SPEC, TENSOR, JPEG), trace(SPEC, TENSOR, PIXELS)])
    assert (found.verdict, found.step, found.detail) == ("exact", None, "2 inputs")


def test_within_tolerance_names_the_step_that_moved_first() -> None:
    recorded = trace(SPEC, TENSOR, PIXELS)
    here = moved(moved(recorded, 2, 1.0), 5, -1.0)
    found = compare([recorded, recorded], [recorded, here])
    assert found.verdict == "within tolerance"
    assert found.step == "resize"
    expected = "resize: 1 of 256 probed values moved, by at most 1 (tolerance 1) (1 of 2 inputs)"
    assert found.detail == expected


def test_the_first_step_out_of_tolerance_is_named_though_an_earlier_one_moved_a_little() -> None:
    recorded = trace(SPEC, TENSOR, JPEG)
    found = compare([recorded], [moved(moved(recorded, 0, 2.0), 2, 9.0)])
    assert (found.verdict, found.step) == ("differs", "resize")
    assert found.detail == "resize: 1 of 256 probed values moved, by at most 9 (tolerance 3)"


def test_a_step_without_tolerance_must_be_identical_even_where_the_probe_saw_nothing() -> None:
    recorded = trace(SPEC, TENSOR, PIXELS)
    assert compare([recorded], [moved(recorded, 1, 0.0)]).verdict == "differs"
    assert compare([recorded], [moved(recorded, 2, 0.0)]).verdict == "within tolerance"


def test_another_resize_is_told_from_the_recorded_one() -> None:
    nearest = parse(
        """
version: "1"
steps:
  - decode: {exif: ignore}
  - crop: {kind: central_fraction, fraction: 0.5, rounding: floor}
  - resize: {width: 20, height: 16, method: nearest, aspect: stretch}
  - color: {order: rgb}
  - normalize: {divisor: 127.5, mean: [1], std: [1]}
  - cast: {mode: quantize, rounding: half_even, layout: nhwc}
"""
    )
    found = compare([trace(SPEC, TENSOR, JPEG)], [trace(nearest, TENSOR, JPEG)])
    assert (found.verdict, found.step) == ("differs", "resize")


def test_records_of_another_form_differ() -> None:
    recorded = trace(SPEC, TENSOR, PIXELS)
    for here, step, detail in (
        (recorded[:-1], None, "6 steps recorded, 5 run"),
        (
            (replace(recorded[0], revision=2), *recorded[1:]),
            "decode",
            "decode: revision 1 recorded, here decode revision 2 runs",
        ),
        (
            (recorded[0], replace(recorded[1], shape=(1, 2, 3)), *recorded[2:]),
            "crop",
            "crop: uint8 30x40x3 recorded, uint8 1x2x3 here",
        ),
    ):
        found = compare([recorded], [here])
        assert (found.verdict, found.step, found.detail) == ("differs", step, detail)
    assert compare([recorded], []).detail == "1 inputs recorded, 0 run"
    assert compare([], []).verdict == "not checked"


def test_an_input_that_cannot_be_used_is_a_frame_error() -> None:
    with pytest.raises(FrameError, match="cut short"):
        trace(SPEC, TENSOR, JPEG[:500])
