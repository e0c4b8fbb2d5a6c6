"""Decoders on arrays, against SciPy and values worked out by hand."""

from typing import Any, ClassVar

import numpy as np
import pytest
from contract_decoder import DecoderContract
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import softmax

from agent.contracts import Array, TensorSpec
from agent.decode import KINDS
from agent.decode.classification import ClassificationDecoder
from agent.decode.detection import DetectionDecoder
from agent.decode.regression import RegressionDecoder
from agent.errors import FrameError
from agent.structure import StructureProblemsError, structure_kind


def spec(array: Array, *, scale: float = 0.0, zero_point: int = 0, name: str = "out") -> TensorSpec:
    return TensorSpec(
        name=name, shape=array.shape, dtype=array.dtype.name, scale=scale, zero_point=zero_point
    )


def ssd(
    boxes: list[list[float]], classes: list[int], scores: list[float], count: int
) -> tuple[tuple[Array, ...], tuple[TensorSpec, ...]]:
    outputs = (
        np.array([boxes], np.float32),
        np.array([classes], np.float32),
        np.array([scores], np.float32),
        np.array([count], np.float32),
    )
    return outputs, tuple(spec(output, name=f"out:{n}") for n, output in enumerate(outputs))


BOXES = [[0.1, 0.2, 0.3, 0.4], [0.0, 0.0, 1.0, 0.5], [0.5, 0.5, 0.75, 1.0]]


class TestClassificationContract(DecoderContract):
    kind = "classification"
    options: ClassVar[dict[str, Any]] = {"values": "scores"}

    def example(self) -> tuple[tuple[Array, ...], tuple[TensorSpec, ...]]:
        scores = np.array([[0.25, 0.5, 0.25]], np.float32)
        return (scores,), (spec(scores),)


class TestDetectionContract(DecoderContract):
    kind = "detection"
    options: ClassVar[dict[str, Any]] = {}

    def example(self) -> tuple[tuple[Array, ...], tuple[TensorSpec, ...]]:
        return ssd(BOXES, [7, 0, 3], [0.9, 0.8, 0.7], 3)


class TestRegressionContract(DecoderContract):
    kind = "regression"
    options: ClassVar[dict[str, Any]] = {"unit": "°C"}

    def example(self) -> tuple[tuple[Array, ...], tuple[TensorSpec, ...]]:
        values = np.array([[21.5, -3.0]], np.float32)
        return (values,), (spec(values),)


def test_every_kind_keeps_the_contract() -> None:
    assert {cls.kind for cls in DecoderContract.__subclasses__()} == set(KINDS)


def test_quantized_scores_become_real_ones() -> None:
    raw = np.array([[0, 51, 204, 1]], np.uint8)
    made = ClassificationDecoder(values="scores").decode((raw,), (spec(raw, scale=1 / 256),))
    assert made.scores.dtype == np.float32
    assert made.scores.tolist() == [0.0, 51 / 256, 204 / 256, 1 / 256]
    assert (made.top, made.score) == (2, 204 / 256)


def test_signed_scores_count_from_their_zero_point() -> None:
    raw = np.array([[-128, 127, 0]], np.int8)
    made = ClassificationDecoder(values="scores").decode((raw,), (spec(raw, scale=1 / 256, zero_point=-128),))
    assert made.scores.tolist() == [0.0, 255 / 256, 0.5]
    assert made.top == 1


def test_equal_scores_go_to_the_first() -> None:
    raw = np.array([[3, 9, 9]], np.uint8)
    assert ClassificationDecoder(values="scores").decode((raw,), (spec(raw, scale=0.1),)).top == 1


@pytest.mark.parametrize("shape", [(3,), (1, 3), (1, 1, 1, 3), (1, 3, 1, 1)])
def test_any_shape_with_one_number_per_class_will_do(shape: tuple[int, ...]) -> None:
    raw = np.array([0.125, 0.25, 0.625], np.float32).reshape(shape)
    decoder = ClassificationDecoder(values="scores")
    assert decoder.check((spec(raw),)) == ()
    assert decoder.decode((raw,), (spec(raw),)).scores.tolist() == [0.125, 0.25, 0.625]


def test_another_output_can_be_named() -> None:
    outputs = (np.array([[5.0]], np.float32), np.array([[0.25, 0.75]], np.float32))
    specs = tuple(spec(output) for output in outputs)
    assert ClassificationDecoder(values="scores", output=1).decode(outputs, specs).top == 1
    problem = "output: expected an output of the model (0 to 1), got 2"
    assert ClassificationDecoder(values="scores", output=2).check(specs) == (problem,)
    assert ClassificationDecoder(values="scores", output=-1).check(specs) == (
        problem.replace("got 2", "got -1"),
    )


def test_a_segmentation_map_is_not_a_classification() -> None:
    raw = np.zeros((1, 8, 8, 21), np.float32)
    assert ClassificationDecoder(values="logits").check((spec(raw, name="mask"),)) == (
        "output: expected one number per class, 'mask' has shape (1, 8, 8, 21)",
    )


@given(arrays(np.float32, st.integers(1, 40), elements=st.floats(-1e4, 1e4, width=32)))
def test_logits_go_through_softmax(logits: Array) -> None:
    made = ClassificationDecoder(values="logits").decode((logits,), (spec(logits),))
    assert made.scores.dtype == np.float32
    np.testing.assert_allclose(made.scores, softmax(logits.astype(np.float64)), rtol=1e-5, atol=1e-7)
    assert made.top == int(logits.argmax())
    assert made.score == made.scores[made.top]


def test_quantized_logits_go_through_softmax() -> None:
    raw = np.array([[100, 120, 140]], np.uint8)
    made = ClassificationDecoder(values="logits").decode((raw,), (spec(raw, scale=0.125, zero_point=128),))
    np.testing.assert_allclose(made.scores, softmax([-3.5, -1.0, 1.5]), rtol=1e-6)


def test_the_winner_survives_a_tie_made_by_rounding() -> None:
    logits = np.array([16777216.0, 0.0, 16777218.0], np.float32) * np.float32(1e-12)
    made = ClassificationDecoder(values="logits").decode((logits,), (spec(logits),))
    assert made.scores[0] == made.scores[2]
    assert made.top == 2


def test_detections_come_best_first_above_the_threshold() -> None:
    outputs, specs = ssd(BOXES, [7, 0, 3], [0.5, 0.875, 0.25], 3)
    made = DetectionDecoder(threshold=0.5).decode(outputs, specs)
    assert made.scores.tolist() == [0.875, 0.5]
    assert made.classes.tolist() == [0, 7]
    assert np.array_equal(made.boxes, np.array([BOXES[1], BOXES[0]], np.float32))
    assert (made.boxes.dtype, made.classes.dtype, made.scores.dtype) == (np.float32, np.int64, np.float32)


def test_a_score_as_written_in_the_manifest_reaches_its_own_threshold() -> None:
    outputs, specs = ssd(BOXES, [7, 0, 3], [0.7, 0.6, 0.3], 3)
    assert len(DetectionDecoder(threshold=0.7).decode(outputs, specs).scores) == 1


def test_what_lies_behind_the_count_is_not_read() -> None:
    outputs, specs = ssd(BOXES, [7, 0, 3], [0.75, 0.875, np.nan], 2)
    assert DetectionDecoder().decode(outputs, specs).classes.tolist() == [0, 7]


def test_no_detections_are_empty_arrays_of_the_right_shape() -> None:
    outputs, specs = ssd(BOXES, [7, 0, 3], [0.9, 0.9, 0.9], 0)
    made = DetectionDecoder().decode(outputs, specs)
    assert (made.boxes.shape, made.classes.shape, made.scores.shape) == ((0, 4), (0,), (0,))


def test_boxes_are_clipped_to_the_image() -> None:
    outputs, specs = ssd([[-0.25, 0.25, 0.5, 1.5]], [1], [0.9], 1)
    assert DetectionDecoder().decode(outputs, specs).boxes.tolist() == [[0.0, 0.25, 0.5, 1.0]]


def test_equal_scores_keep_the_models_order() -> None:
    outputs, specs = ssd(BOXES, [7, 0, 3], [0.75, 0.75, 0.75], 3)
    assert DetectionDecoder().decode(outputs, specs).classes.tolist() == [7, 0, 3]


def test_other_exporters_number_the_outputs_otherwise() -> None:
    (boxes, classes, scores, count), _ = ssd(BOXES, [7, 0, 3], [0.9, 0.6, 0.8], 3)
    outputs = (scores, boxes, count, classes)
    specs = tuple(spec(output) for output in outputs)
    decoder = DetectionDecoder(scores=0, boxes=1, count=2, classes=3)
    assert decoder.check(specs) == ()
    assert decoder.decode(outputs, specs).classes.tolist() == [7, 3, 0]
    assert DetectionDecoder().check(specs) == (
        "boxes: expected shape (1, N, 4), 'out' has (1, 3)",
        "classes: expected one number per box, 'out' has shape (1, 3, 4)",
        "scores: expected one number per box, 'out' has shape (1,)",
        "count: expected one number, 'out' has shape (1, 3)",
    )


def test_quantized_detections_become_real_numbers() -> None:
    outputs = (
        np.array([[[0, 64, 128, 192]]], np.uint8),
        np.array([[17]], np.uint8),
        np.array([[192]], np.uint8),
        np.array([1], np.uint8),
    )
    scales = (1 / 256, 1.0, 1 / 256, 1.0)
    specs = tuple(spec(output, scale=scale) for output, scale in zip(outputs, scales, strict=True))
    made = DetectionDecoder().decode(outputs, specs)
    assert made.boxes.tolist() == [[0.0, 0.25, 0.5, 0.75]]
    assert (made.classes.tolist(), made.scores.tolist()) == ([17], [0.75])


def test_a_box_that_is_not_finite_makes_the_frame_unusable() -> None:
    outputs, specs = ssd([[0, 0, np.nan, 1]], [1], [0.9], 1)
    with pytest.raises(FrameError, match=r"^the model's output 'out:0' is not finite$"):
        DetectionDecoder().decode(outputs, specs)


def test_a_count_beyond_the_outputs_is_not_believed() -> None:
    outputs, specs = ssd(BOXES, [7, 0, 3], [0.9, 0.8, 0.7], 4)
    with pytest.raises(FrameError, match=r"^the model counts 4 detections, its outputs hold 3$"):
        DetectionDecoder().decode(outputs, specs)


def test_one_output_cannot_be_two_things() -> None:
    _, specs = ssd(BOXES, [7, 0, 3], [0.9, 0.8, 0.7], 3)
    (problem,) = DetectionDecoder(scores=1).check(specs)
    assert problem.startswith("boxes, classes, scores, count: expected four different outputs")


def test_a_threshold_outside_0_to_1_is_refused_with_its_place() -> None:
    with pytest.raises(StructureProblemsError, match=r"threshold: expected 0 to 1, got 50.0") as caught:
        structure_kind({"kind": "detection", "threshold": 50}, KINDS, root="decoder")
    assert caught.value.problems == ["decoder: threshold: expected 0 to 1, got 50.0"]


def test_regression_gives_every_value_in_order() -> None:
    raw = np.array([[[1.5, -2.0], [0.1, 4.0]]], np.float32)
    made = RegressionDecoder(unit="m").decode((raw,), (spec(raw),))
    assert made.values.dtype == np.float64
    assert made.values.tolist() == [1.5, -2.0, float(np.float32(0.1)), 4.0]


def test_regression_keeps_double_precision() -> None:
    raw = np.array([[1 / 3]], np.float64)
    assert RegressionDecoder().decode((raw,), (spec(raw),)).values.tolist() == [1 / 3]


def test_regression_dequantizes() -> None:
    raw = np.array([[-128, 0, 127]], np.int8)
    made = RegressionDecoder().decode((raw,), (spec(raw, scale=0.5, zero_point=-28),))
    assert made.values.tolist() == [-50.0, 14.0, 77.5]
