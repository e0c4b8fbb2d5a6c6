"""Crop, pad and rotate: which pixels end where."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agent.errors import FrameError
from agent.preprocess.geometry import (
    Box,
    CenterCrop,
    CenterSquare,
    CentralFraction,
    PadToSize,
    PadToSquare,
    Rotate,
)

VECTORS = np.load(Path(__file__).parent / "vectors" / "preprocess.npz")


def places(height: int, width: int) -> np.ndarray:
    """An image whose channels are the row and the column of each pixel (and 0)."""
    rows, columns = np.mgrid[0:height, 0:width].astype(np.int32)
    return np.stack([rows, columns, np.zeros_like(rows)], axis=-1)


def kept(image: np.ndarray) -> tuple[int, int, int, int]:
    """top, left, height, width of a crop of ``places``."""
    return int(image[0, 0, 0]), int(image[0, 0, 1]), image.shape[0], image.shape[1]


def test_central_fraction_keeps_what_tf_image_central_crop_keeps() -> None:
    for height, width, fraction, *expected in VECTORS["central_crop"]:
        step = CentralFraction(fraction=float(fraction), rounding="tensorflow")
        found = kept(step.apply(places(int(height), int(width))))
        assert found == tuple(map(int, expected)), (height, width, fraction)
        assert step.size_after((int(height), int(width))) == found[2:]


def test_the_two_roundings_of_central_fraction() -> None:
    image = places(333, 501)
    # 333 * .875 = 291.375: TensorFlow leaves int(20.8) rows on either side, floor keeps 291 rows.
    assert kept(CentralFraction(fraction=0.875, rounding="tensorflow").apply(image)) == (20, 31, 293, 439)
    assert kept(CentralFraction(fraction=0.875, rounding="floor").apply(image)) == (21, 31, 291, 438)


def test_nothing_left_is_an_error() -> None:
    with pytest.raises(FrameError, match=r"crop: nothing is left of an image of 3x2 at fraction 0\.1"):
        CentralFraction(fraction=0.1, rounding="floor").apply(places(2, 3))


@pytest.mark.parametrize(("rounding", "margin"), [("floor", 1), ("half_even", 2)])
def test_odd_margins(rounding: Any, margin: int) -> None:
    assert kept(CenterSquare(rounding=rounding).apply(places(4, 7))) == (0, margin, 4, 4)
    step = CenterCrop(width=5, height=3, rounding=rounding)
    assert kept(step.apply(places(6, 8))) == (margin, margin, 3, 5)


def test_a_center_crop_larger_than_the_image() -> None:
    with pytest.raises(FrameError, match="crop: an image of 8x6 is smaller than 9x3"):
        CenterCrop(width=9, height=3, rounding="floor").apply(places(6, 8))


def test_boxes() -> None:
    pixels = Box(units="pixels", left=2, top=1, right=7, bottom=4)
    assert kept(pixels.apply(places(6, 8))) == (1, 2, 3, 5)
    relative = Box(units="relative", left=0.25, top=0.5, right=1.0, bottom=0.75)
    # Rows 3 to 4.5, which rounds up to 5.
    assert kept(relative.apply(places(6, 8))) == (3, 2, 2, 6)
    assert relative.size_after((6, 8)) == (2, 6)
    with pytest.raises(FrameError, match="crop: the box 2,1 to 7,4 does not fit an image of 6x6"):
        pixels.apply(places(6, 6))


def test_a_crop_is_a_view_of_the_payload() -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    assert np.shares_memory(CentralFraction(fraction=0.5, rounding="floor").apply(image), image)


def test_padding_puts_the_odd_pixel_to_the_right_and_the_bottom() -> None:
    image = np.full((2, 3, 3), 7, np.uint8)
    padded = PadToSize(width=6, height=5, value=(1, 2, 3), position="center").apply(image)
    assert padded.dtype == np.uint8
    assert padded.shape == (5, 6, 3)
    np.testing.assert_array_equal(padded[1:3, 1:4], image)
    outside = np.ones((5, 6), bool)
    outside[1:3, 1:4] = False
    assert np.unique(padded[outside], axis=0).tolist() == [[1, 2, 3]]


def test_padding_in_the_corner_and_to_a_square() -> None:
    image = np.full((2, 3, 1), 7.5, np.float32)
    padded = PadToSquare(value=(0.25,), position="top_left").apply(image)
    assert padded[..., 0].tolist() == [[7.5] * 3, [7.5] * 3, [0.25] * 3]
    white = PadToSquare(value=(255,), position="center").apply(np.zeros((3, 1, 3), np.uint8))
    assert white[0].tolist() == [[255] * 3, [0] * 3, [255] * 3]


def test_padding_refuses_larger_images_and_absurd_squares() -> None:
    with pytest.raises(FrameError, match="pad: an image of 9x2 is larger than 8x8"):
        PadToSize(width=8, height=8, value=(0,), position="center").apply(np.zeros((2, 9, 3), np.uint8))
    with pytest.raises(FrameError, match="pad: would make an image of 1000000x1000000"):
        PadToSquare(value=(0,), position="center").apply(np.zeros((1, 1_000_000, 3), np.uint8))


@pytest.mark.parametrize("clockwise", [0, 90, 180, 270])
@pytest.mark.parametrize("flip", ["none", "horizontal", "vertical"])
@pytest.mark.parametrize("channels", [1, 3])
def test_rotate_clockwise_then_flip(clockwise: Any, flip: Any, channels: int) -> None:
    image = np.arange(2 * 3 * channels, dtype=np.uint8).reshape(2, 3, channels)
    step = Rotate(clockwise=clockwise, flip=flip)
    expected = np.rot90(image, -clockwise // 90)
    if flip != "none":
        expected = np.flip(expected, 1 if flip == "horizontal" else 0)
    made = step.apply(image)
    np.testing.assert_array_equal(made, expected)
    assert step.size_after((2, 3)) == made.shape[:2]
