"""Resizing proved against OpenCV, Pillow and TensorFlow: recorded outputs, and live ones."""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.errors import FrameError
from agent.preprocess.resize import Resize

VECTORS = np.load(Path(__file__).parent / "vectors" / "preprocess.npz")
RESIZED = [name for name in VECTORS.files if name.split("/")[0] in ("opencv", "pillow", "tensorflow")]
RESIZED.remove("tensorflow/convert_image_dtype")
# OpenCV states no arithmetic for these: other versions and processors may round by one level.
INEXACT = {"linear": 1, "area": 1, "cubic": 1, "lanczos4": 1}


def stretch(width: int, height: int, method: Any) -> Resize:
    return Resize(width=width, height=height, method=method, aspect="stretch")


@pytest.mark.parametrize("name", RESIZED)
def test_recorded_output_of_the_library(name: str) -> None:
    _, method, image, size = name.split("/")
    width, height = map(int, size.split("x"))
    made = stretch(width, height, method).apply(VECTORS[f"image_{image}"])
    expected = VECTORS[name]
    assert made.dtype == expected.dtype
    difference = np.abs(made.astype(np.float64) - expected)
    assert made.shape == expected.shape
    assert difference.max() <= INEXACT.get(method, 0)


def test_the_recorded_outputs_tell_the_two_pillow_series_apart() -> None:
    old, new = (VECTORS[f"pillow/{series}_bilinear/noise/56x12"] for series in ("pillow", "pillow13"))
    assert np.count_nonzero(old != new) > 0


@given(
    size=st.tuples(*[st.integers(1, 90)] * 4),
    kernel=st.sampled_from(["bilinear", "bicubic"]),
    seed=st.integers(0, 2**32 - 1),
)
@settings(deadline=None, max_examples=60)
def test_the_installed_pillow_bit_for_bit(size: tuple[int, int, int, int], kernel: str, seed: int) -> None:
    pillow = pytest.importorskip("PIL")
    from PIL import Image

    height, width, to_height, to_width = size
    # Black and white pixels overshoot in bicubic: saturation is exercised too.
    image = np.random.default_rng(seed).choice(np.array([0, 255, 77], np.uint8), (height, width, 3))
    flag = Image.Resampling[kernel.upper()]
    expected = np.asarray(Image.fromarray(image).resize((to_width, to_height), flag))
    series = "pillow13" if int(pillow.__version__.split(".")[0]) >= 13 else "pillow"
    np.testing.assert_array_equal(stretch(to_width, to_height, f"{series}_{kernel}").apply(image), expected)


@given(size=st.tuples(*[st.integers(1, 60)] * 4), channels=st.sampled_from([1, 3]))
@settings(deadline=None, max_examples=30)
def test_a_crop_resizes_like_a_copy_and_keeps_its_channels(
    size: tuple[int, int, int, int], channels: int
) -> None:
    height, width, to_height, to_width = size
    whole = np.random.default_rng(1).integers(0, 256, (height + 5, width + 4, channels), dtype=np.uint8)
    crop = whole[2 : 2 + height, 3 : 3 + width]
    before = whole.copy()
    for method in ("nearest", "linear", "area", "tf_bilinear", "pillow_bicubic", "pillow13_bilinear"):
        made = stretch(to_width, to_height, method).apply(crop)
        assert made.shape == (to_height, to_width, channels)
        np.testing.assert_array_equal(made, stretch(to_width, to_height, method).apply(crop.copy()))
    np.testing.assert_array_equal(whole, before)


def test_tensorflows_result_is_float_and_interpolates_between_pixel_centres() -> None:
    image = np.array([[[0], [100]]], np.uint8)
    made = stretch(4, 1, "tf_bilinear").apply(image)
    assert made.dtype == np.float32
    assert made.ravel().tolist() == [0, 25, 75, 100]


@pytest.mark.parametrize(
    ("aspect", "box", "image", "expected"),
    [
        # (width, height). torchvision's Resize(256): int(256 * 500 / 333) = 384
        ("shorter_side", (256, 256), (500, 333), (384, 256)),
        ("shorter_side", (256, 256), (333, 500), (256, 384)),
        ("shorter_side", (100, 100), (33, 33), (100, 100)),
        ("fit", (224, 224), (500, 333), (224, 149)),  # 149.18
        ("fit", (320, 320), (640, 427), (320, 214)),  # 213.5, half to even
        ("fit_floor", (320, 320), (640, 427), (320, 213)),
        ("fit", (300, 100), (640, 480), (133, 100)),
        ("fit", (10, 10), (1000, 3), (10, 1)),
        ("fit_floor", (49, 49), (343, 343), (49, 49)),
        ("stretch", (224, 100), (500, 333), (224, 100)),
    ],
)
def test_aspect(aspect: Any, box: tuple[int, int], image: tuple[int, int], expected: tuple[int, int]) -> None:
    step = Resize(width=box[0], height=box[1], method="nearest", aspect=aspect)
    made = step.apply(np.zeros((image[1], image[0], 3), np.uint8))
    assert (made.shape[1], made.shape[0]) == expected
    assert step.size_after((image[1], image[0])) == (expected[1], expected[0])


def test_an_absurd_aspect_is_refused_before_memory_is_taken() -> None:
    step = Resize(width=256, height=256, method="nearest", aspect="shorter_side")
    with pytest.raises(FrameError, match=r"resize: would make an image of 12800000x256 pixels"):
        step.apply(np.zeros((1, 50_000, 3), np.uint8))


def test_opencvs_methods_are_opencvs(rng: np.random.Generator) -> None:
    image = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
    expected = cv2.resize(image, (31, 17), interpolation=cv2.INTER_LINEAR_EXACT)
    np.testing.assert_array_equal(stretch(31, 17, "linear_exact").apply(image), expected)
