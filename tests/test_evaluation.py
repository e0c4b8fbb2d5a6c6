"""One model under many specs: right answers, likelihoods, and nothing run twice."""

import math

import cv2
import numpy as np
import pytest
import tiny

from agent.contracts import Array, TensorSpec
from agent.decode.classification import ClassificationDecoder
from agent.decode.regression import RegressionDecoder
from agent.errors import SpecError
from agent.preprocess.spec import PreprocessSpec, parse
from calibration.evaluation import LEAST_LIKELY, Decoded, Evaluation, FloatModel

pytestmark = pytest.mark.runtime
SCORES = ClassificationDecoder(values="scores")


def spec(*, order: str = "rgb", crop: str = "", rounding: str = "half_away") -> PreprocessSpec:
    return parse(
        f'version: "1"\nsteps:\n- decode: {{exif: ignore}}\n{crop}'
        "- resize: {width: 8, height: 8, method: linear_exact, aspect: stretch}\n"
        f"- color: {{order: {order}}}\n- cast: {{mode: raw, rounding: {rounding}, layout: nhwc}}\n"
    )


def picture(colour: int) -> bytes:
    pixels = np.full((12, 12, 3), 20, np.uint8)
    pixels[..., colour] = 220
    done, data = cv2.imencode(".png", pixels[..., ::-1])
    assert done
    return bytes(data)


PICTURES = [picture(0), picture(1), picture(2)]
"""Red, green, blue: outputs 1, 2 and 3 of the tiny classifier."""


def test_swapped_channels_confuse_red_and_blue() -> None:
    evaluation = Evaluation(tiny.runner(tiny.CLASSIFIER), SCORES, PICTURES, [1, 2, 3])
    assert evaluation.right(spec()).tolist() == [True, True, True]
    assert evaluation.right(spec(order="bgr")).tolist() == [False, True, False]
    assert evaluation.right(spec(order="bgr"), [2, 1]).tolist() == [False, True]
    assert evaluation.tops(spec(order="bgr")).tolist() == [3, 2, 1]


def test_likelihoods_are_the_labels_scores() -> None:
    model = tiny.runner(tiny.CLASSIFIER)
    evaluation = Evaluation(model, SCORES, PICTURES, [1, 2, None], keep_scores=True)
    likelihood = evaluation.log_likelihood(spec())
    raw = [model.run(np.full((1, 8, 8, 3), 20, np.uint8) + _only(colour))[0] for colour in range(3)]
    stored = np.array([int(raw[0][0, 1]), int(raw[1][0, 2])])
    np.testing.assert_allclose(likelihood[:2], np.log(stored / 256), rtol=1e-6)
    assert math.isnan(likelihood[2])
    np.testing.assert_allclose(evaluation.scores(spec())[2], raw[2][0] / 256, rtol=1e-6)
    np.testing.assert_allclose(evaluation.confidence(spec())[:2], stored / 256, rtol=1e-6)
    wrong = Evaluation(model, SCORES, PICTURES[:1], [3]).log_likelihood(spec())
    assert wrong[0] == pytest.approx(math.log(max(int(raw[0][0, 3]) / 256, LEAST_LIKELY)))
    with pytest.raises(ValueError, match="without a label"):
        evaluation.right(spec())


def _only(colour: int) -> Array:
    return (np.arange(3) == colour).astype(np.uint8) * np.uint8(200)


def test_nothing_is_decoded_or_run_twice() -> None:
    evaluation = Evaluation(tiny.runner(tiny.CLASSIFIER), SCORES, PICTURES, [1, 2, 3])
    said = []
    evaluation.prefetch([spec(), spec(order="bgr")], advance=lambda: said.append(1))
    assert (len(said), evaluation.invokes) == (6, 5)  # green is the same in either order
    evaluation.right(spec())
    evaluation.right(spec(rounding="floor"))  # another spec, but whole numbers: the same tensors
    assert evaluation.invokes == 5


def test_what_does_not_fit_in_memory_is_decoded_again() -> None:
    small = Evaluation(
        tiny.runner(tiny.CLASSIFIER), SCORES, Decoded(PICTURES, most_bytes=12 * 12 * 3), [1, 2, 3]
    )
    assert small.right(spec()).all() and not small.right(spec(order="bgr")).all()
    assert len(small.inputs._kept) == 1


def test_a_refused_input_counts_as_wrong() -> None:
    too_large = "- crop: {kind: center, width: 13, height: 8, rounding: floor}\n"
    evaluation = Evaluation(tiny.runner(tiny.CLASSIFIER), SCORES, [*PICTURES, b"no image"], [1, 2, 3, None])
    assert evaluation.right(spec(crop=too_large), [0, 1]).tolist() == [False, False]
    answers = evaluation.answers(spec())
    assert [answer.refused for answer in answers] == [False, False, False, True]
    assert answers[3].right is None


def test_a_spec_for_another_tensor_is_an_error() -> None:
    evaluation = Evaluation(tiny.runner(tiny.CLASSIFIER), SCORES, PICTURES, [1, 2, 3])
    other = parse(
        'version: "1"\nsteps:\n- decode: {exif: ignore}\n'
        "- resize: {width: 9, height: 9, method: linear, aspect: stretch}\n"
        "- color: {order: rgb}\n- cast: {mode: raw, rounding: floor, layout: nhwc}\n"
    )
    with pytest.raises(SpecError, match="9x9 pixels"):
        evaluation.right(other)


def test_a_regression_is_right_within_its_tolerance() -> None:
    readings = [np.array([1.0]), np.array([2.0]), np.array([3.0])]  # the model says 3, 5, 7
    evaluation = Evaluation(
        tiny.runner(tiny.LINEAR), RegressionDecoder(), readings, [3.4, 5.6, 7.0], tolerance=0.5
    )
    plain = parse('version: "1"\nsteps:\n- cast: {mode: quantize, rounding: half_away}\n')
    assert evaluation.right(plain).tolist() == [True, False, True]
    np.testing.assert_allclose(evaluation.log_likelihood(plain), [-0.32, -0.72, 0], atol=1e-5)


def test_a_float_twin_stands_in_for_the_quantized_model() -> None:
    class Twin:
        def run(self, tensor: Array) -> tuple[Array, ...]:
            return (np.eye(4, dtype=np.float32)[[2]] * np.float32(0.5),)

    quantized = tiny.runner(tiny.CLASSIFIER)
    twin = FloatModel(twin=Twin(), like=quantized)
    assert twin.input == quantized.input
    assert twin.outputs == (TensorSpec(name=quantized.outputs[0].name, shape=(1, 4), dtype="float32"),)
    evaluation = Evaluation(twin, SCORES, PICTURES, [1, 2, 3])
    assert evaluation.right(spec()).tolist() == [False, True, False]
    assert evaluation.confidence(spec()).tolist() == [0.5, 0.5, 0.5]
