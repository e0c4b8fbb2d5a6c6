"""Pictures of input tensors, read back with Pillow."""

import base64
import io
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from agent.contracts import Array, TensorSpec
from agent.preprocess.compiled import compile_spec
from agent.preprocess.spec import parse
from calibration.check_result import Picture
from calibration.page.pictures import AMPLIFIED_TO, picture


def tensor(dtype: str = "uint8", *, scale: float = 0.0, zero_point: int = 0) -> TensorSpec:
    return TensorSpec(name="input", shape=(1, 8, 8, 3), dtype=dtype, scale=scale, zero_point=zero_point)


def made(training: Array, device: Array, where: TensorSpec | None = None, **more: Any) -> Picture:
    return picture(
        name="a.jpg",
        rung="preprocess",
        was="cat",
        now="dog",
        label=None,
        training=training,
        device=device,
        tensor=where or tensor(),
        **more,
    )


def pixels(encoded: str) -> NDArray[np.int64]:
    image = Image.open(io.BytesIO(base64.b64decode(encoded, validate=True)))
    return np.asarray(image.convert("RGB")).astype(np.int64)


@pytest.fixture
def photo(rng: np.random.Generator) -> NDArray[np.uint8]:
    image = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    image[0, 0], image[7, 7] = 0, 255  # the whole range is there
    return image


def test_bytes_are_shown_as_they_are(photo: NDArray[np.uint8]) -> None:
    found = made(photo[None], photo[None])
    assert np.array_equal(pixels(found.training), photo)
    assert np.array_equal(pixels(found.device), photo)
    assert (found.name, found.rung, found.was, found.now, found.label) == (
        "a.jpg",
        "preprocess",
        "cat",
        "dog",
        None,
    )


@pytest.mark.parametrize(
    ("shift", "scale"), [(0.0, 1.0), (0.0, 1 / 255), (-1.0, 1 / 127.5)], ids=["0..255", "0..1", "-1..1"]
)
def test_the_usual_ranges_are_recognised(photo: NDArray[np.uint8], shift: float, scale: float) -> None:
    values = (photo * scale + shift).astype(np.float32)[None]
    assert np.abs(pixels(made(values, values).training) - photo).max() <= 1


def test_signed_bytes(photo: NDArray[np.uint8]) -> None:
    stored = (photo.astype(np.int16) - 128).astype(np.int8)[None]
    assert np.array_equal(pixels(made(stored, stored, tensor("int8")).training), photo)


def test_a_wrong_range_looks_wrong(photo: NDArray[np.uint8]) -> None:
    """[0, 1] where training had [−1, 1]: everything lies in the upper half."""
    training, device = photo / 127.5 - 1, photo / 255.0
    shown = pixels(made(training[None], device[None]).device)
    assert np.abs(shown - (127.5 + photo / 2)).max() <= 1


def test_values_beyond_the_range_are_clipped(photo: NDArray[np.uint8]) -> None:
    shown = pixels(made(photo[None] / 255.0, photo[None].astype(np.float64)).device)
    assert set(np.unique(shown)) <= {0, 255}


@pytest.mark.parametrize("batch", [True, False])
def test_channels_first(photo: NDArray[np.uint8], batch: bool) -> None:
    planar = np.moveaxis(photo, 2, 0)
    planar = planar[None] if batch else planar
    assert np.array_equal(pixels(made(planar, planar).training), photo)


@pytest.mark.parametrize("shape", [(1, 8, 8, 1), (8, 8, 1), (8, 8), (1, 1, 8, 8)])
def test_one_channel_is_grey(photo: NDArray[np.uint8], shape: tuple[int, ...]) -> None:
    grey = photo[:, :, 1]
    shown = pixels(made(grey.reshape(shape), grey.reshape(shape)).training)
    assert np.array_equal(shown, np.repeat(grey[:, :, None], 3, axis=2))


SPEC = """
version: "1"
steps:
  - decode: {exif: ignore}
  - resize: {width: 8, height: 8, method: nearest, aspect: stretch}
  - color: {order: bgr}
  - normalize: {mean: [0.406, 0.456, 0.485], std: [0.225, 0.224, 0.229], divisor: 255}
  - cast: {mode: quantize, rounding: half_even, layout: nchw}
"""


def test_the_spec_gives_range_layout_and_colour_order(photo: NDArray[np.uint8]) -> None:
    """Mean and deviation per channel, BGR and channels first are all undone for the eye."""
    spec = parse(SPEC)
    where = TensorSpec(name="input", shape=(1, 3, 8, 8), dtype="float32")
    prepared = compile_spec(spec, where)(photo).tensor
    shown = pixels(made(prepared, prepared, where, spec=spec).training)
    assert np.abs(shown - photo).max() <= 1


def test_the_difference_is_black_where_equal_and_has_a_fixed_scale(photo: NDArray[np.uint8]) -> None:
    training = np.full((8, 8, 3), 100, np.uint8)
    device = training.copy()
    device[0, 0, 1] += 1
    device[0, 1, 2] += AMPLIFIED_TO
    device[0, 2] += 2 * AMPLIFIED_TO
    light = pixels(made(training, device).difference).sum(axis=2)
    assert np.all(light[1:] == light[7, 7])
    assert light[7, 7] < 20 < light[0, 0] < light[0, 1]
    assert light[0, 1] == light[0, 2] > 500


def test_not_a_number_is_magenta_and_brightest(photo: NDArray[np.uint8]) -> None:
    training = photo / 255.0
    device = training.copy()
    device[2, 3] = np.nan
    found = made(training, device)
    assert pixels(found.device)[2, 3].tolist() == [255, 0, 255]
    light = pixels(found.difference).sum(axis=2)
    assert light[2, 3] == light.max() > 500
    assert np.count_nonzero(light > 20) == 1


def test_nothing_but_nan_is_still_a_picture() -> None:
    nothing = np.full((4, 4, 3), np.nan)
    assert np.all(pixels(made(nothing, nothing).training) == [255, 0, 255])


def test_another_shape_is_compared_after_scaling() -> None:
    grey = np.full((8, 8, 3), 90, np.uint8)
    found = made(grey, np.full((4, 6, 3), 90, np.uint8))
    assert pixels(found.device).shape == (4, 6, 3)
    assert pixels(found.difference).shape == (8, 8, 3)
    assert pixels(found.difference).sum(axis=2).max() < 20


def test_grey_against_colour_and_odd_channels(photo: NDArray[np.uint8]) -> None:
    assert pixels(made(photo, photo[:, :, :1]).difference).shape == (8, 8, 3)
    six = np.concatenate([photo, photo], axis=2)
    assert pixels(made(six, six).training).shape == (8, 8, 3)


def test_a_vector_is_a_strip() -> None:
    strip = pixels(made(np.linspace(0, 1, 9)[None], np.linspace(0, 1, 9)).training)
    assert strip.shape == (1, 9, 3)
    assert np.all(np.diff(strip[0, :, 0]) > 0)


def test_size_and_kind_of_the_files(rng: np.random.Generator) -> None:
    """A photograph's size is a JPEG, a large tensor is scaled down, a small one a lossless PNG."""
    ramp = np.linspace(0, 255, 512).astype(np.uint8)
    large = np.repeat(np.repeat(ramp[None, :, None], 400, axis=0), 3, axis=2)
    assert pixels(made(large, large).training).shape == (250, 320, 3)
    assert base64.b64decode(made(large, large).training).startswith(b"\xff\xd8")
    assert base64.b64decode(made(large[:96, :96], large[:96, :96]).training).startswith(b"\x89PNG")
