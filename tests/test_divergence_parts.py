"""The parts of the search against the libraries that they stand for."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from agent.preprocess.spec import parse
from calibration.hypothesis.alignment import Map, register
from calibration.hypothesis.geometry import RULES, spec_placement
from calibration.hypothesis.orientation import TURNS
from calibration.hypothesis.resampling import METHODS, Placement, full

Image = pytest.importorskip("PIL.Image")

PILLOW = {
    "bilinear with antialiasing": Image.Resampling.BILINEAR,
    "bicubic with antialiasing": Image.Resampling.BICUBIC,
    "Lanczos with antialiasing": Image.Resampling.LANCZOS,
    "box filter": Image.Resampling.BOX,
    "Hamming filter": Image.Resampling.HAMMING,
    "nearest neighbour (half-pixel centres)": Image.Resampling.NEAREST,
}
OPENCV = {
    "bilinear without antialiasing": cv2.INTER_LINEAR_EXACT,
    "nearest neighbour": cv2.INTER_NEAREST,
    "area averaging": cv2.INTER_AREA,
    "bicubic without antialiasing (a = -0.75, OpenCV's)": cv2.INTER_CUBIC,
    "Lanczos without antialiasing": cv2.INTER_LANCZOS4,
}


@pytest.fixture
def pixels(rng: np.random.Generator) -> NDArray[np.uint8]:
    return rng.integers(40, 216, (131, 97, 3), dtype=np.uint8)


def rendered(pixels: NDArray[np.uint8], name: str, size: int = 48) -> NDArray[np.floating]:
    method = next(method for method in METHODS if method.name == name)
    whole = Placement(source=(0, 0, pixels.shape[1], pixels.shape[0]), target=(0, 0, size, size))
    return np.clip(full(pixels, whole, method, (size, size)), 0, 255)


@pytest.mark.parametrize("name", sorted(PILLOW))
def test_resampling_is_pillows_before_rounding(pixels: NDArray[np.uint8], name: str) -> None:
    wanted = np.array(Image.fromarray(pixels).resize((48, 48), PILLOW[name]))
    assert np.abs(rendered(pixels, name) - wanted).max() <= 1.2


@pytest.mark.parametrize("name", sorted(OPENCV))
def test_resampling_is_opencvs_before_rounding(pixels: NDArray[np.uint8], name: str) -> None:
    wanted = cv2.resize(pixels, (48, 48), interpolation=OPENCV[name])
    assert np.abs(rendered(pixels, name) - wanted).max() <= 1.2


def test_every_method_is_held_against_a_library_or_is_one_of_tensorflows() -> None:
    assert {method.name for method in METHODS} - set(PILLOW) - set(OPENCV) == {
        "bicubic without antialiasing (a = -0.5, TensorFlow's)",
        "bilinear without half-pixel centres",
        "bilinear with aligned corners",
    }


def test_registration_finds_the_box_to_a_tenth_of_a_pixel(rng: np.random.Generator) -> None:
    plane = cv2.resize(
        rng.normal(0, 50, (40, 60)).astype(np.float32), (480, 320), interpolation=cv2.INTER_CUBIC
    )
    shown = cv2.resize(plane[32:256, 60:420], (192, 192), interpolation=cv2.INTER_LINEAR)
    start = Map(scale_x=0.875, start_x=0.0625, scale_y=0.875, start_y=0.0625)
    found = register(plane, shown * -0.4 + 7, start)
    wanted = np.array([360 / 480, 60 / 480, 224 / 320, 32 / 320])
    got = np.array([found.map.scale_x, found.map.start_x, found.map.scale_y, found.map.start_y])
    np.testing.assert_allclose(got, wanted, atol=0.1 / 192)
    assert found.unexplained < 1e-3


def test_every_turn_undoes_itself_and_all_differ(pixels: NDArray[np.uint8]) -> None:
    turned = [turn.apply(pixels) for turn in TURNS]
    for turn, made in zip(TURNS, turned, strict=True):
        np.testing.assert_array_equal(turn.undo(made), pixels)
    assert len({made.tobytes() for made in turned}) == 8
    clockwise = next(t for t in TURNS if t.difference and "90 degrees clockwise" in t.difference.text)
    np.testing.assert_array_equal(clockwise.apply(pixels), np.rot90(pixels, -1))


@pytest.mark.parametrize(
    ("steps", "source", "target"),
    [
        (
            "- resize: {width: 50, height: 40, method: linear, aspect: stretch}",
            (0, 0, 200, 100),
            (0, 0, 50, 40),
        ),
        (
            "- crop: {kind: center_square, rounding: floor}\n"
            "- resize: {width: 50, height: 50, method: linear, aspect: stretch}",
            (50, 0, 150, 100),
            (0, 0, 50, 50),
        ),
        (
            "- resize: {width: 50, height: 50, method: linear, aspect: shorter_side}\n"
            "- crop: {kind: center, width: 40, height: 40, rounding: floor}",
            (60, 10, 140, 90),
            (0, 0, 40, 40),
        ),
        (
            "- resize: {width: 50, height: 50, method: linear, aspect: fit}\n"
            "- pad: {kind: size, width: 50, height: 50, value: [0], position: center}",
            (0, 0, 200, 100),
            (0, 12, 50, 37),
        ),
        (
            "- rotate: {clockwise: 90, flip: none}\n"
            "- resize: {width: 25, height: 50, method: linear, aspect: stretch}",
            (0, 0, 100, 200),
            (0, 0, 25, 50),
        ),
        (
            "- crop: {kind: box, units: pixels, left: 20, top: 10, right: 120, bottom: 60}\n"
            "- rotate: {clockwise: 90, flip: horizontal}",
            (10, 20, 60, 120),
            (0, 0, 50, 100),
        ),
    ],
)
def test_where_a_spec_puts_an_original(
    steps: str, source: tuple[int, int, int, int], target: tuple[int, int, int, int]
) -> None:
    """Of 200x100 pixels; behind a rotation the box is one of the turned original."""
    text = f'version: "1"\nsteps:\n- decode: {{exif: ignore}}\n{steps}\n- color: {{order: rgb}}\n'
    spec = parse(text + "- cast: {mode: raw, rounding: half_away, layout: nhwc}\n")
    made = spec_placement(spec.steps, (100, 200))
    assert made.target == target
    np.testing.assert_allclose(made.source, source, atol=1e-9)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_every_rule_stays_inside_the_original_and_the_tensor(rule: object) -> None:
    from calibration.hypothesis.geometry import Rule

    assert isinstance(rule, Rule)
    for height, width in ((375, 500), (500, 375), (300, 300), (100, 640)):
        place = rule.place((height, width), (224, 224))
        assert place.source[0] >= -1e-9
        assert place.source[1] >= -1e-9
        assert place.source[2] <= width + 1e-9
        assert place.source[3] <= height + 1e-9
        assert 0 <= place.target[0] < place.target[2] <= 224
        assert 0 <= place.target[1] < place.target[3] <= 224
