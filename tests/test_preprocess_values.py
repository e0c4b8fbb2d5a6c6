"""Colour, normalisation and cast, against what Keras, TensorFlow and OpenCV compute."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.contracts import TensorSpec
from agent.errors import FrameError
from agent.preprocess.values import Cast, Color, Normalize

VECTORS = np.load(Path(__file__).parent / "vectors" / "preprocess.npz")
RAMP = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)


def tensor(shape: tuple[int, ...], dtype: str, scale: float = 0.0, zero_point: int = 0) -> TensorSpec:
    return TensorSpec(name="x", shape=shape, dtype=dtype, scale=scale, zero_point=zero_point)


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("keras/rescaling_255", Normalize(scale=1 / 255, mean=(0,), std=(1,))),
        ("tensorflow/convert_image_dtype", Normalize(scale=1 / 255, mean=(0,), std=(1,))),
        ("keras/mobilenet", Normalize(divisor=127.5, mean=(1,), std=(1,))),
        ("keras/torch_mode", Normalize(divisor=255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))),
    ],
)
def test_what_keras_computes_to_the_last_bit(name: str, step: Normalize) -> None:
    made = step.apply(RAMP)
    assert made.dtype == np.float32
    expected = VECTORS[name]
    np.testing.assert_array_equal(made if expected.ndim == 2 else made[:, 0], expected)


def test_every_operation_is_rounded_to_float32_in_the_stated_order() -> None:
    step = Normalize(scale=0.1, divisor=3, mean=(0.2, 0.3, 0.4), std=(0.7, 0.8, 0.9))
    f = np.float32
    for value in (1, 77, 255):
        for channel in range(3):
            expected = (f(value) * f(0.1) / f(3) - f(step.mean[channel])) / f(step.std[channel])
            assert step.apply(RAMP)[value, channel] == expected


def test_color_orders() -> None:
    image = np.array([[[10, 20, 30]]], np.uint8)
    assert Color(order="rgb").apply(image) is image
    assert Color(order="bgr").apply(image).tolist() == [[[30, 20, 10]]]
    gray = Color(order="gray").apply(image)
    assert gray.shape == (1, 1, 1)
    # .299 · 10 + .587 · 20 + .114 · 30 = 18.15
    assert gray.tolist() == [[[18]]]
    assert Color(order="gray").apply(image.astype(np.float32))[0, 0, 0] == pytest.approx(18.15, abs=1e-5)


def test_quantize_and_raw() -> None:
    image = np.array([[[0, 128, 255]]], np.uint8)
    spec = tensor((1, 1, 1, 3), "int8", scale=2.0, zero_point=-128)
    quantized = Cast(mode="quantize", rounding="half_even", layout="nhwc").apply(image, spec)
    assert quantized.dtype == np.int8
    assert quantized.tolist() == [[[[-128, -64, 0]]]]
    raw = Cast(mode="raw", rounding="half_even", layout="nhwc").apply(image.astype(np.float32) - 128, spec)
    assert raw.tolist() == [[[[-128, 0, 127]]]]
    real = Cast(mode="quantize", rounding="floor", layout="nhwc").apply(
        image, tensor((1, 1, 1, 3), "float32")
    )
    assert real.dtype == np.float32
    assert real.tolist() == [[[[0.0, 128.0, 255.0]]]]


def test_layouts_are_contiguous_and_in_order() -> None:
    image = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    for layout, shape in (("nhwc", (1, 2, 3, 3)), ("nchw", (1, 3, 2, 3))):
        step = Cast(mode="raw", rounding="floor", layout=layout)  # type: ignore[arg-type]  # from a tuple
        made = step.apply(image[:, ::-1], tensor(shape, "uint8"))
        assert made.shape == shape
        assert made.flags.c_contiguous
        expected = image[:, ::-1] if layout == "nhwc" else image[:, ::-1].transpose(2, 0, 1)
        np.testing.assert_array_equal(made[0], expected)


@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
def test_an_image_of_the_wrong_size_is_a_frame_error(layout: Any) -> None:
    step = Cast(mode="raw", rounding="floor", layout=layout)
    shape = (1, 4, 4, 3) if layout == "nhwc" else (1, 3, 4, 4)
    with pytest.raises(FrameError, match=r"cast: the image became \S+, the model's tensor is \S+"):
        step.apply(np.zeros((5, 4, 3), np.uint8), tensor(shape, "uint8"))


@pytest.mark.parametrize(
    ("step", "problem"),
    [
        (Normalize(mean=(0, 0), std=(1,)), "mean: expected 1 or 3 numbers, got 2"),
        (Normalize(mean=(0,), std=(0,)), "std: expected numbers whose size float32 can hold, none of them 0"),
        (Normalize(mean=(0,), std=(1,), divisor=0), "divisor: expected a number other than 0, got 0"),
        (Normalize(mean=(0,), std=(1,), scale=1e-60), "scale: expected a number other than 0, got 1e-60"),
        (Normalize(mean=(0,), std=(1e-38,)), "std: the numbers become larger than float32 can take"),
    ],
)
def test_parameters_that_cannot_be_used(step: Normalize, problem: str) -> None:
    assert step.problems() == [problem]
