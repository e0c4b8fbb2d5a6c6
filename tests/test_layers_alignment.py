"""Twins aligned by names where they were kept, by their place in the graph where they were not."""

from pathlib import Path

import pytest
import tiny
import twins

from agent.errors import BundleError
from calibration.layer.alignment import Alignment, align


def aligned(quantized: bytes, float_twin: bytes) -> Alignment:
    return align(twins.graph(quantized), twins.graph(float_twin))


def truth(alignment: Alignment) -> list[tuple[int, int]]:
    return [(pair.quantized, pair.float) for pair in alignment.pairs]


def test_every_result_finds_its_twin() -> None:
    alignment = aligned(twins.twin("good"), twins.twin("float"))
    assert [pair.op for pair in alignment.pairs] == [
        "input", "CONV_2D", "DEPTHWISE_CONV_2D", "CONV_2D", "DEPTHWISE_CONV_2D", "CONV_2D", "MEAN",
        "FULLY_CONNECTED", "SOFTMAX",
    ]  # fmt: skip
    assert alignment.unpaired == ()
    assert [pair.after for pair in alignment.pairs] == [(), (0,), (1,), (2,), (3,), (4,), (5,), (6,), (7,)]
    assert [pair.weights is not None for pair in alignment.pairs] == [0, 1, 1, 1, 1, 1, 0, 1, 0]


def test_a_twin_with_other_names_and_activations_apart_aligns_the_same() -> None:
    """The unfused file keeps the tensor numbers of the fused one, so the right answer is known."""
    by_name = aligned(twins.twin("good"), twins.twin("float"))
    by_place = aligned(twins.twin("good"), twins.twin("float_unfused"))
    assert truth(by_place) == truth(by_name)
    assert [pair.named for pair in by_place.pairs[1:]] == [False] * 8
    assert [pair.weights for pair in by_place.pairs] == [pair.weights for pair in by_name.pairs]
    assert [pair.bias for pair in by_place.pairs] == [pair.bias for pair in by_name.pairs]


def test_the_sum_before_an_activation_pairs_with_no_value_after_it() -> None:
    """Both ways round: unfused against fused has five results too many, and none is mistaken."""
    turned = aligned(twins.twin("float_unfused"), twins.twin("float"))
    assert [(one, other) for one, other in truth(turned) if one != other] == []
    assert len(turned.unpaired) == 5


@pytest.mark.parametrize(
    ("name", "extra"),
    [
        ("models/mobilenet_v1_0.25_224_quant.tflite", 0),
        ("models_derived/mnv1_025_dynamic_wi8_afp32.tflite", 0),
        ("models_derived/mnv1_025_ptq_int8_perchannel_calib100_ok.tflite", 1),
        ("models_derived/mnv1_025_ptq_int8_pertensor_calib100.tflite", 1),
    ],
)
def test_real_twins_and_the_same_renamed(data: Path, name: str, extra: int) -> None:
    """31 operators and the input, and the QUANTIZE after the logits that one quantizer adds. With all
    names changed the position gives the same answer as the names."""
    float_twin = (data / "models/mobilenet_v1_0.25_224_1_metadata_1.tflite").read_bytes()
    quantized = (data / name).read_bytes()
    graphs = twins.graph(quantized), twins.graph(float_twin)
    alignment = align(*graphs)
    assert len(alignment.pairs) == 32 + extra and not alignment.unpaired
    for pair in alignment.pairs:
        own, other = graphs[0].tensors[pair.quantized].name, graphs[1].tensors[pair.float].name
        assert own.removesuffix("_quantized") == other
    renamed = aligned(quantized.replace(b"MobilenetV1", b"AnotherName"), float_twin)
    assert truth(renamed) == truth(alignment)
    assert not any(pair.named for pair in renamed.pairs[1:])


def test_another_model_is_no_twin() -> None:
    with pytest.raises(BundleError) as error:
        aligned(tiny.CLASSIFIER, twins.twin("float"))
    assert error.value.problems == (
        "float model: its input shapes (16, 16, 3) are not the quantized model's (8, 8, 3): "
        "is it the model that was quantized?",
        "float model: its output shapes (6,) are not the quantized model's (4,): "
        "is it the model that was quantized?",
    )
