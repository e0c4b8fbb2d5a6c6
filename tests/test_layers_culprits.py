"""The usual culprits, each on a model that has it, and none on a model that does not."""

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import tiny
import twins

from agent.contracts import Array
from calibration.layer.alignment import Pair, align
from calibration.layer.culprits import find
from calibration.layer.finding import Finding
from calibration.layer.graph import GraphTensor
from calibration.layer.intermediates import Intermediates
from calibration.layer.measures import Summing
from calibration.layer.weights import measure_weights

pytestmark = pytest.mark.runtime
FLOAT = "models/mobilenet_v1_0.25_224_1_metadata_1.tflite"


def findings(
    model: bytes, float_twin: bytes, tensors: list[Array], real: list[Array] | None = None
) -> tuple[Finding, ...]:
    ours, theirs = twins.graph(model), twins.graph(float_twin)
    pairs = align(ours, theirs).pairs
    here = Intermediates(model, where="model", runtime=tiny.runtime())
    there = Intermediates(float_twin, where="float model", runtime=tiny.runtime())
    sums = [Summing(pair, ours.tensors[pair.quantized]) for pair in pairs]
    for number, tensor in enumerate(tensors):
        given = ours.tensors[ours.inputs[0]].dequantized(tensor) if real is None else real[number]
        mine = here.run(tensor, [pair.quantized for pair in pairs])
        his = there.run(given.astype(np.float32).reshape(there.shape), [pair.float for pair in pairs])
        for one, pair in zip(sums, pairs, strict=True):
            one.add(his[pair.float], mine[pair.quantized])
    measures = [one.measure() for one in sums]
    return find(measures, measure_weights(pairs, ours, theirs), real=real is not None)


def small(model: bytes, *, real: bool = True, float_twin: str = "float") -> tuple[Finding, ...]:
    given = list(twins.INPUTS) if real else None
    return findings(model, twins.twin(float_twin), twins.stored_all(model), given)


def kinds(found: tuple[Finding, ...]) -> list[str]:
    return [one.kind for one in found]


@pytest.mark.parametrize("float_twin", ["float", "float_unfused"])
@pytest.mark.parametrize(
    ("name", "first"),
    [("zero_to_one", "scale"), ("bytes", "scale"), ("one_picture", "unlike"), ("noise", "unlike"),
     ("per_tensor", "per-tensor")],
)  # fmt: skip
def test_what_the_conversion_did_wrong_is_named_first(name: str, first: str, float_twin: str) -> None:
    found = small(twins.twin(name), float_twin=float_twin)
    assert kinds(found)[0] == first
    assert set(kinds(found)[1:]) <= {"ties"}


@pytest.mark.parametrize("real", [True, False])
@pytest.mark.parametrize("float_twin", ["float", "float_unfused"])
def test_a_healthy_model_is_not_accused(float_twin: str, real: bool) -> None:
    assert small(twins.twin("good"), real=real, float_twin=float_twin) == ()


def test_the_scale_is_told_in_numbers() -> None:
    (found, *_) = small(twins.twin("zero_to_one"))
    outside = np.mean(twins.INPUTS < -1 / 255)
    assert found.sentence.startswith(
        f"The input was calibrated on the wrong scale: {outside:.0%} of its numbers lie outside its range "
        "(calibrated 0 to 1, seen -1 to 1). Of the 7 ranges after it "
    )
    assert found.tensors == ((0, "wrong scale: calibrated 0 to 1, seen -1 to 1"),)
    (found, *_) = small(twins.twin("bytes"))
    assert "its range is 128× too wide (calibrated 0 to 255, seen -1 to 1)" in found.sentence


def test_without_the_real_inputs_a_cut_input_is_only_suspected() -> None:
    (found,) = small(twins.twin("zero_to_one"), real=False)
    assert "certain only if the inputs are not really that black and white" in found.sentence


def test_noise_and_one_picture_are_told_apart_by_the_ranges_that_are_too_wide() -> None:
    assert "none too wide: one picture or a few" in small(twins.twin("one_picture"))[0].sentence
    assert "2 far too wide: noise" in small(twins.twin("noise"))[0].sentence


def test_one_scale_for_all_channels() -> None:
    """The network was built with half of these channels 40 times the others."""
    (found, *_) = small(twins.twin("per_tensor"))
    assert "all channels of DEPTHWISE_CONV_2D 'functional_1/spread_1/Relu' share one scale" in found.sentence
    assert "50% of the channels have fewer than 4 steps left" in found.sentence
    assert {position for position, _ in found.tensors} == {1, 2}


def test_ties_are_those_of_the_models_outputs() -> None:
    model = twins.twin("bytes")
    runner = tiny.runner(model, kernels="builtin")
    outputs = [runner.run(tensor)[0] for tensor in twins.stored_all(model)]
    tied = sum(np.count_nonzero(scores == scores.max()) > 1 for scores in outputs)
    (found,) = [one for one in small(model) if one.kind == "ties"]
    assert tied > 10
    assert found.sentence.startswith(
        f"8-bit ties: on {tied} of 48 inputs several outputs share the best score"
    )


def test_a_range_of_one_tensor_made_a_third_is_clipped_there() -> None:
    good = twins.twin("good")
    pair = align(twins.graph(good), twins.graph(twins.twin("float"))).pairs[6]
    found = small(twins.with_scale(good, pair.quantized, 1 / 3))
    assert kinds(found)[0] == "clipped"
    assert found[0].tensors[0][0] == 6
    assert (
        "of MEAN 'functional_1/pool_1/Mean' lie outside its range (calibrated 0 to 15.7" in found[0].sentence
    )


def one_flipped(weights: Array) -> Array:
    altered = weights.copy()
    altered.flat[5] ^= -128
    return altered


def shuffled(weights: Array) -> Array:
    return np.random.default_rng(3).permutation(weights.ravel()).reshape(weights.shape)


@pytest.mark.parametrize("alter", [one_flipped, shuffled, np.zeros_like])
@pytest.mark.parametrize("position", [2, 5, 7])
def test_weights_that_rounding_cannot_explain(position: int, alter: Callable[[Array], Array]) -> None:
    good = twins.twin("good")
    ours = twins.graph(good)
    (weights, _) = align(ours, twins.graph(twins.twin("float"))).pairs[position].weights or (-1, -1)
    altered = alter(ours.tensors[weights].stored)
    found = small(twins.with_weights(good, weights, altered))
    assert [one.kind for one in found if one.kind != "ties"] == ["weights"]
    assert found[0].tensors == ((position, "weights differ from the float model's by more than rounding"),)


def test_an_altered_bias() -> None:
    good = twins.twin("good")
    ours = twins.graph(good)
    (bias, _) = align(ours, twins.graph(twins.twin("float"))).pairs[3].bias or (-1, -1)
    altered = ours.tensors[bias].stored.copy()
    altered[4] += 40_000
    found = small(twins.with_weights(good, bias, altered))
    assert found[0].kind == "weights" and found[0].sentence.startswith("The bias '")


def test_a_channel_that_died() -> None:
    rng = np.random.default_rng(1)
    twin = rng.uniform(0, 6, (4, 1, 8, 8, 3)).astype(np.float32)
    stored = np.round(twin / 0.03).astype(np.uint8)
    stored[..., 1] = 0
    tensor = GraphTensor(
        index=0, name="layer", shape=(1, 8, 8, 3), dtype="uint8", scales=np.array([0.03]),
        zero_points=np.array([0]), axis=0, content=b"",
    )  # fmt: skip
    sums = [
        Summing(Pair(float=place, quantized=place, op=op, named=True, after=()), tensor)
        for place, op in enumerate(("input", "CONV_2D"))
    ]
    for one, other in zip(twin, stored, strict=True):
        sums[0].add(one, np.round(one / 0.03).astype(np.uint8))
        sums[1].add(one, other)
    (found,) = find([one.measure() for one in sums], ())
    assert found.kind == "constant"
    assert "1 of 3 channels of CONV_2D 'layer' hold one number" in found.sentence


def photographs(data: Path, model: bytes) -> tuple[list[Array], list[Array]]:
    """Eight photographs as ``model`` stores them, and as real numbers in -1..1."""
    real = []
    for path in sorted((data / "images/nips17_ccby").glob("*.png"))[:8]:
        picture = cv2.imread(str(path))[19:280, 19:280, ::-1]
        real.append(cv2.resize(np.ascontiguousarray(picture), (224, 224)).astype(np.float32) / 127.5 - 1)
    return [twins.stored(model, one) for one in real], real


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("models/mobilenet_v1_0.25_224_quant.tflite", ["retrained"]),
        ("models_derived/mnv1_025_dynamic_wi8_afp32.tflite", []),
        ("models_derived/mnv1_025_ptq_int8_perchannel_calib100_ok.tflite", ["ties"]),
        ("models_derived/mnv1_025_ptq_int8_pertensor_calib100.tflite", ["per-tensor"]),
    ],
)
def test_real_models(data: Path, name: str, expected: list[str]) -> None:
    """Per channel is healthy but for its softmax; per tensor falls to 1.5 % correct by its weights."""
    model = (data / name).read_bytes()
    tensors, real = photographs(data, model)
    assert kinds(findings(model, (data / FLOAT).read_bytes(), tensors, real)) == expected


def test_an_altered_tensor_of_a_retrained_model_stands_out(data: Path) -> None:
    model = (data / "models/mobilenet_v1_0.25_224_quant.tflite").read_bytes()
    float_twin = (data / FLOAT).read_bytes()
    ours = twins.graph(model)
    (weights, _) = align(ours, twins.graph(float_twin)).pairs[11].weights or (-1, -1)
    altered = twins.with_weights(model, weights, shuffled(ours.tensors[weights].stored))
    found = findings(altered, float_twin, photographs(data, model)[0][:2])
    assert kinds(found)[0] == "weights" and found[0].tensors[0][0] == 11
