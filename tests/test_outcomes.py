"""Flips, correctness and output errors for classes, boxes and values."""

import numpy as np
import pytest

from agent.contracts import Detections, TensorSpec
from agent.decode.classification import ClassificationDecoder
from agent.decode.detection import DetectionDecoder
from agent.decode.regression import RegressionDecoder
from agent.monitor.answer_distance import iou
from calibration.outcomes import (
    Answers,
    Truth,
    distances,
    flips,
    labelled,
    output_error,
    read_answers,
    right,
    units,
)

SCORES = (TensorSpec(name="scores", shape=(1, 4), dtype="uint8", scale=1 / 256),)
VALUE = (TensorSpec(name="value", shape=(1, 1), dtype="float32"),)
BOXES = tuple(
    TensorSpec(name=name, shape=shape, dtype="float32")
    for name, shape in (("boxes", (1, 3, 4)), ("classes", (1, 3)), ("scores", (1, 3)), ("count", (1,)))
)


def classes(*rows: list[int]) -> Answers:
    raw = [(np.array([row], np.uint8),) for row in rows]
    return read_answers(raw, SCORES, ClassificationDecoder(values="scores"))


def values(*numbers: float) -> Answers:
    return read_answers([(np.array([[x]], np.float32),) for x in numbers], VALUE, RegressionDecoder())


def boxes(*found: tuple[list[float], int, float]) -> Answers:
    count = len(found)
    padded = [*found, *[([0.0] * 4, 0, 0.0)] * (3 - count)]
    raw = (
        np.array([[box for box, _, _ in padded]], np.float32),
        np.array([[c for _, c, _ in padded]], np.float32),
        np.array([[s for _, _, s in padded]], np.float32),
        np.array([count], np.float32),
    )
    return read_answers([raw], BOXES, DetectionDecoder(threshold=0.5))


def test_a_class_flips_when_the_winner_changes() -> None:
    above, here = classes([0, 200, 56, 0], [128, 64, 64, 0]), classes([0, 120, 136, 0], [100, 92, 64, 0])
    pairs = zip(above.predictions, here.predictions, strict=True)
    assert [flips(a, b) for a, b in pairs] == [1, 0]
    # Half of |200-120| + |56-136| over 256.
    assert distances(above, here) == pytest.approx([80 / 256, 28 / 256])


def test_labels_say_right_and_wrong() -> None:
    given = classes([0, 200, 56, 0], [128, 64, 64, 0], [0, 0, 0, 255])
    truth = Truth(labels=(1, 2, None))
    assert right(given, truth).tolist() == [True, False, False]
    assert labelled(given, truth).tolist() == [True, True, False]


def test_output_errors_are_of_the_dequantized_numbers() -> None:
    error = output_error(classes([0, 128, 128, 0]), classes([0, 64, 192, 0]))
    assert error is not None
    assert (error.largest, error.mean) == (0.25, 0.125)
    assert error.snr_db == pytest.approx(10 * np.log10(0.5 / 0.125))
    same = output_error(classes([0, 128, 128, 0]), classes([0, 128, 128, 0]))
    assert same is not None and same.snr_db is None and same.largest == 0


def test_a_value_flips_beyond_its_tolerance() -> None:
    above, here = values(1.0, 1.0), values(1.25, 2.0)
    pairs = list(zip(above.predictions, here.predictions, strict=True))
    assert [flips(a, b, 0.5) for a, b in pairs] == [0, 1]
    assert [flips(a, b) for a, b in pairs] == [1, 1]
    truth = Truth(labels=(1.5, 1.5), tolerance=0.3)
    assert right(here, truth).tolist() == [True, False]
    assert not labelled(here, Truth(labels=(1.5, 1.5))).any()  # without a tolerance nothing is right or wrong


def test_an_answer_that_is_no_number_is_wrong_and_flips_what_was_there() -> None:
    above, here = values(1.0), values(float("nan"))
    assert here.predictions == (None,)
    assert flips(above.predictions[0], None) == 1 and flips(None, None) == 0
    assert not right(here, Truth(labels=(1.0,), tolerance=1.0)).any()
    missing = read_answers([None], SCORES, ClassificationDecoder(values="scores"))
    assert distances(classes([0, 255, 0, 0]), missing).tolist() == [1.0]


def test_boxes_flip_when_they_have_no_partner() -> None:
    left, right_half = [0.0, 0.0, 1.0, 0.5], [0.0, 0.5, 1.0, 1.0]
    above = boxes((left, 1, 0.9), (right_half, 2, 0.8))
    moved = boxes(([0.0, 0.05, 1.0, 0.55], 1, 0.85), (right_half, 3, 0.8))
    a, b = above.predictions[0], moved.predictions[0]
    # The first keeps its partner (IoU .45 / .55 = .82), the second changed its class: one lost, one new.
    assert flips(a, b) == 2 and units(a, b) == 3
    assert flips(a, a) == 0 and units(a, a) == 2
    assert distances(above, moved)[0] == pytest.approx((0.05 + 0.8 + 0.8) / 3, abs=1e-6)
    assert not labelled(above, Truth(labels=(1,))).any()


def test_partners_are_taken_by_the_best_score_first() -> None:
    box, shifted = [0.0, 0.0, 1.0, 0.5], [0.0, 0.1, 1.0, 0.6]
    above = boxes((box, 1, 0.9), (shifted, 1, 0.6))
    here = boxes((shifted, 1, 0.95))
    # Only one partner: the better box of the rung above takes it.
    assert flips(above.predictions[0], here.predictions[0]) == 1


def test_iou_against_the_pixels_it_counts(rng: np.random.Generator) -> None:
    for _ in range(20):
        a, b = (np.sort(rng.integers(0, 20, (2, 2)), axis=0).reshape(-1) for _ in range(2))
        masks = np.zeros((2, 20, 20), bool)
        for mask, (top, left, bottom, right_) in zip(masks, (a, b), strict=True):
            mask[top:bottom, left:right_] = True
        union = (masks[0] | masks[1]).sum()
        expected = (masks[0] & masks[1]).sum() / union if union else 0.0
        assert iou(a / 20, b / 20) == pytest.approx(expected)


def test_no_detection_at_all_is_an_answer() -> None:
    nothing = boxes()
    assert isinstance(nothing.predictions[0], Detections)
    error = output_error(nothing, boxes(([0.0, 0.0, 1.0, 0.5], 1, 0.75)))
    assert error is not None and error.largest == 0.75
