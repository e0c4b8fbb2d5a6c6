"""The space: every candidate prepares what its words say, checked against independent code."""

import cv2
import numpy as np
import pytest
from PIL import Image

from agent.contracts import Array, TensorSpec
from agent.errors import SpecError
from agent.preprocess.compiled import compile_spec
from agent.preprocess.spec import dump, parse
from calibration.candidate.space import Candidate, Space


def tensor(
    dtype: str = "float32",
    shape: tuple[int, ...] = (1, 24, 24, 3),
    scale: float = 0.0,
    zero_point: int = 0,
) -> TensorSpec:
    return TensorSpec(name="input", shape=shape, dtype=dtype, scale=scale, zero_point=zero_point)


def picture(rng: np.random.Generator, height: int = 40, width: int = 60) -> Array:
    small = rng.integers(0, 256, (5, 6, 3)).astype(np.uint8)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def prepared(spec: TensorSpec, candidate: Candidate, image: Array) -> Array:
    return compile_spec(Space(spec).spec(candidate), spec)(image).tensor[0]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ("bytes", lambda x: x),
        ("0..1", lambda x: x / 255),
        ("-1..1", lambda x: x / 127.5 - 1),
        ("127/128", lambda x: (x - 127) / 128),
        ("imagenet", lambda x: (x / 255 - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)),
        ("caffe", lambda x: x - (123.68, 116.779, 103.939)),
    ],
)
@pytest.mark.parametrize("color", ["rgb", "bgr"])
def test_value_maps_follow_the_colour_order(values, expected, color, rng) -> None:  # type: ignore[no-untyped-def]
    image = picture(rng, 24, 24)
    real = expected(image.astype(np.float64))
    real = real[..., ::-1] if color == "bgr" else real
    made = prepared(tensor(), Candidate(color=color, values=values, geometry="squash"), image)
    np.testing.assert_allclose(made, real, rtol=0, atol=2e-5)


def test_geometries_against_pillow(rng: np.random.Generator) -> None:
    image = picture(rng)
    pil = Image.fromarray(image)

    def resized(source: Image.Image, size: tuple[int, int]) -> Array:
        return np.asarray(source.resize(size, Image.Resampling.BILINEAR))

    shorter = resized(pil, (int(27 * 60 / 40), 27))
    expected = {
        "squash": resized(pil, (24, 24)),
        "square": resized(pil.crop((10, 0, 50, 40)), (24, 24)),
        # Margins int((40 - 35) / 2) and int((60 - 52.5) / 2).
        "central": resized(pil.crop((3, 2, 57, 38)), (24, 24)),
        "shorter_side": shorter[round(3 / 2) :, round(16 / 2) :][:24, :24],
        "letterbox": np.vstack([np.zeros((4, 24, 3)), resized(pil, (24, 16)), np.zeros((4, 24, 3))]),
        "letterbox_grey": np.vstack(
            [np.full((4, 24, 3), 114), resized(pil, (24, 16)), np.full((4, 24, 3), 114)]
        ),
    }
    assert set(expected) == set(Space(tensor()).geometries)
    for geometry, pixels in expected.items():
        candidate = Candidate(color="rgb", values="bytes", geometry=geometry, method="pillow_bilinear")
        np.testing.assert_array_equal(prepared(tensor(), candidate, image), pixels, err_msg=geometry)


@pytest.mark.parametrize(("clockwise", "quarter_turns"), [(90, -1), (180, 2), (270, 1)])
def test_rotations_of_an_input_that_is_not_square(clockwise, quarter_turns, rng) -> None:  # type: ignore[no-untyped-def]
    image = picture(rng, 40, 60)
    spec = tensor(shape=(1, 30, 20, 3))
    size = (20, 30) if clockwise == 180 else (30, 20)
    flat = cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    made = prepared(
        spec, Candidate(color="rgb", values="bytes", geometry="squash", clockwise=clockwise), image
    )
    np.testing.assert_array_equal(made, np.rot90(flat, quarter_turns))


def test_what_an_int8_input_stores() -> None:
    image = np.full((24, 24, 3), 204, np.uint8)
    spec = tensor("int8", scale=2 / 255, zero_point=-1)
    stored = {
        values: int(prepared(spec, Candidate(color="rgb", values=values), image)[0, 0, 0])
        for values in ("-1..1", "bytes", "0..1")
    }
    # 204/127.5 - 1 = .6: 76.5 steps; .8: 102 steps; both less 1.
    assert stored["-1..1"] in (75, 76)
    assert (stored["bytes"], stored["0..1"]) == (76, 101)


def test_equal_and_nearly_equal_value_maps_are_not_searched_twice() -> None:
    uint8 = Space(tensor("uint8", scale=1 / 128, zero_point=128))
    assert uint8.values[0] == "bytes"
    assert uint8.value_twins == {"bytes": ("-1..1", "127/128")} or uint8.value_twins == {"bytes": ("-1..1",)}
    assert Space(tensor("uint8")).values == ("bytes",)
    int8 = Space(tensor("int8", scale=1 / 255, zero_point=-128))
    # 0..1 at 1/255 stores byte - 128.
    assert "bytes" not in int8.values
    assert Space(tensor("int8", scale=1.0, zero_point=-128)).values[0] == "-1..1"


def test_gray_models_have_no_colours() -> None:
    space = Space(tensor(shape=(1, 24, 24, 1)))
    assert space.orders == ("gray",)
    assert set(space.values) == {"bytes", "-1..1", "0..1"}


def test_channels_first(rng: np.random.Generator) -> None:
    image = picture(rng, 24, 24)
    candidate = Candidate(color="rgb", values="bytes", geometry="squash")
    made = prepared(tensor(shape=(1, 3, 24, 24)), candidate, image)
    np.testing.assert_array_equal(made, image.transpose(2, 0, 1))


@pytest.mark.parametrize("dtype", ["float32", "uint8", "int8", "int16"])
def test_every_candidate_is_a_spec_that_reads_back(dtype: str) -> None:
    spec = tensor(dtype, scale=0.0 if dtype == "float32" else 0.01)
    space = Space(spec)
    centre = space.coarse()[0]
    every = {
        *space.coarse(),
        *space.shapes(centre),
        *space.neighbours(centre),
        *space.twins(centre),
    }
    for candidate in every:
        made = space.spec(candidate)
        assert parse(dump(made)) == made
        compile_spec(made, spec)


def test_neighbours_change_one_axis() -> None:
    space = Space(tensor())
    centre = Candidate(color="bgr", values="caffe", geometry="square", method="area", clockwise=90)
    near = space.neighbours(centre)
    assert centre not in near
    assert all(len(candidate.changed(centre)) == 1 for candidate in near)
    assert len(near) == 1 + 4 + 3 + 5 + 6


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (tensor(shape=(1, 16)), "input of shape 1x16 is no image"),
        (tensor("int32"), "input is int32"),
    ],
)
def test_models_that_take_no_image(spec: TensorSpec, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        Space(spec)
