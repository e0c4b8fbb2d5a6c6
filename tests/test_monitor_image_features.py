"""The 30 image features against plain formulas, and what they must do when an image changes."""

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.stats import entropy

from agent.monitor.image_features import IMAGE_FEATURES, image_features
from agent.monitor.pixels import pixel_counts


def features(image):
    return dict(zip((name for name, _ in IMAGE_FEATURES), image_features(image), strict=True))


def scene(rng, height=96, width=128):
    """Smooth coloured blobs with a little texture, darker at the bottom."""
    noise = rng.normal(size=(height, width, 3))
    smooth = ndimage.gaussian_filter(noise, (6, 6, 0)) * 500 + rng.normal(size=(height, width, 3)) * 6
    shade = np.linspace(30, -30, height)[:, None, None]
    return np.clip(smooth + shade + [150, 120, 95], 0, 255).astype(np.uint8)


def plainly(image):
    """The same features by the book, in float64 on whole arrays."""
    red, green, blue = (image[..., channel].astype(float) for channel in range(3))
    luma = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(float)
    height, width = luma.shape

    def step(dy, dx, plane=luma):
        a = plane[max(dy, 0) : height + min(dy, 0), max(dx, 0) : width + min(dx, 0)]
        b = plane[max(-dy, 0) : height + min(-dy, 0), max(-dx, 0) : width + min(-dx, 0)]
        return ((a - b) ** 2).mean()

    rounding = 1 / 6
    d = {lag: step(0, lag) + step(lag, 0) + 2 * rounding for lag in (1, 2, 4)}
    top = image.max(axis=2).astype(float)
    chroma = top - image.min(axis=2)
    across_x = ((luma[:, 8::8] - luma[:, 7:-1:8]) ** 2).mean()
    across_y = ((luma[8::8] - luma[7:-1:8]) ** 2).mean()
    half = np.clip(np.rint(red / 2 - green / 2 + 128), 0, 255)
    quarter_y, quarter_x = height // 4, width // 4
    centre = luma[quarter_y : height - quarter_y, quarter_x : width - quarter_x]
    return {
        "red_mean": red.mean(),
        "green_std": green.std(),
        "blue_std": blue.std(),
        "luma_mean": luma.mean(),
        "luma_std": luma.std(),
        "luma_p5": np.quantile(luma, 0.05, method="inverted_cdf"),
        "luma_p95": np.quantile(luma, 0.95, method="inverted_cdf"),
        "bright_share": (luma > 250).mean(),
        "dark_share": (luma < 6).mean(),
        "luma_entropy": entropy(np.bincount(luma.astype(int).ravel(), minlength=256)),
        "saturation_mean": chroma.mean() / (top.mean() + 8),
        "saturation_std": chroma.std() / (top.mean() + 8),
        "red_minus_green": (red - green).mean(),
        "yellow_minus_blue": ((red + green) / 2 - blue).mean(),
        "red_tint": (red - green).mean() / (luma.mean() + 8),
        "blue_tint": (blue - green).mean() / (luma.mean() + 8),
        "chroma_step": math.log(step(0, 1, half) + step(1, 0, half) + 2 * rounding),
        "step_1": math.log(d[1]),
        "step_2_to_1": math.log(d[2] / d[1]),
        "step_4_to_2": math.log(d[4] / d[2]),
        "x_to_y_1": math.log((step(0, 1) + rounding) / (step(1, 0) + rounding)),
        "x_to_y_4": math.log((step(0, 4) + rounding) / (step(4, 0) + rounding)),
        "diagonals": math.log((step(1, 1) + rounding) / (step(1, -1) + rounding)),
        "blockiness": math.log((across_x + across_y + 2 * rounding) / d[1]),
        "top_minus_bottom": luma[: height // 2].mean() - luma[height // 2 :].mean(),
        "left_minus_right": luma[:, : width // 2].mean() - luma[:, width // 2 :].mean(),
        "centre_minus_mean": centre.mean() - luma.mean(),
    }


@pytest.mark.parametrize("size", [(96, 128), (48, 48), (12, 34), (224, 224)])
def test_equals_the_plain_formulas(rng, size):
    image = scene(rng, *size)
    found = features(image)
    for name, value in plainly(image).items():
        assert found[name] == pytest.approx(value, rel=1e-6, abs=1e-6), name


def test_there_are_thirty_distinct_ones():
    assert len(IMAGE_FEATURES) == len({name for name, _ in IMAGE_FEATURES}) == 30
    assert {family for _, family in IMAGE_FEATURES} == {"light", "colour", "sharpness", "texture", "layout"}


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 2**32 - 1))
def test_finite_on_every_small_image(height, width, seed):
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    assert np.isfinite(image_features(image)).all()


@pytest.mark.parametrize("level", [0, 5, 128, 255])
@pytest.mark.parametrize("size", [(1, 1), (1, 9), (8, 8), (9, 1), (31, 50)])
def test_a_constant_image_has_a_level_and_no_structure(level, size):
    found = features(np.full((*size, 3), level, dtype=np.uint8))
    assert found["luma_mean"] == found["red_mean"] == found["luma_p5"] == found["luma_p95"] == level
    assert found["bright_share"] == (level > 250)
    assert found["dark_share"] == (level < 6)
    absent = {"luma_std", "luma_entropy", "saturation_mean", "step_2_to_1", "x_to_y_4", "diagonals"}
    absent |= {"blockiness", "top_minus_bottom", "left_minus_right", "centre_minus_mean", "red_tint"}
    assert {name: found[name] for name in absent} == pytest.approx(dict.fromkeys(absent, 0.0), abs=1e-12)
    assert found["step_1"] == pytest.approx(math.log(2 / 6))


def test_blur_lowers_the_step_and_raises_its_reach(rng):
    image = scene(rng)
    sharp, blurred = features(image), features(cv2.GaussianBlur(image, (0, 0), 1.0))
    assert blurred["step_1"] < sharp["step_1"] - 1
    assert blurred["step_2_to_1"] > sharp["step_2_to_1"]


def test_darkening_lowers_light_and_keeps_tints(rng):
    image = scene(rng)
    bright, dark = features(image), features((image * 0.5).astype(np.uint8))
    for name in ("luma_mean", "red_mean", "luma_p95", "luma_std"):
        assert dark[name] == pytest.approx(bright[name] / 2, rel=0.02), name
    assert dark["saturation_mean"] == pytest.approx(bright["saturation_mean"], abs=0.02)
    assert dark["red_tint"] == pytest.approx(bright["red_tint"], abs=0.02)


def test_jpeg_blocks_are_seen(rng):
    image = scene(rng)
    _, coded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 10])
    blocky = cv2.imdecode(coded, cv2.IMREAD_COLOR)
    assert features(blocky)["blockiness"] > features(image)["blockiness"] + 0.5


def test_swapped_channels_turn_the_colours_round(rng):
    image = scene(rng)
    ordered, swapped = features(image), features(image[..., [1, 0, 2]])
    assert ordered["red_minus_green"] > 20
    assert swapped["red_minus_green"] == pytest.approx(-ordered["red_minus_green"])
    assert swapped["chroma_step"] == pytest.approx(ordered["chroma_step"], abs=0.05)
    assert swapped["red_mean"] == ordered["green_mean"]


def test_turning_the_image_turns_layout_and_direction(rng):
    image = scene(rng, 64, 64)
    image[:, ::2] //= 2  # Vertical stripes: large steps along x.
    upright, turned = features(image), features(np.rot90(image))
    assert upright["x_to_y_1"] > 1
    assert turned["x_to_y_1"] == pytest.approx(-upright["x_to_y_1"])
    assert turned["diagonals"] == pytest.approx(-upright["diagonals"])
    assert turned["top_minus_bottom"] == pytest.approx(-upright["left_minus_right"])
    assert features(image[::-1])["top_minus_bottom"] == pytest.approx(-upright["top_minus_bottom"])


def test_a_view_of_a_larger_array_gives_the_same(rng):
    image = scene(rng)
    assert image_features(image[10:60, 20:80]) == image_features(image[10:60, 20:80].copy())


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_pixel_counts_are_exact(height, width, seed):
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    counts = pixel_counts(image)
    assert counts.dtype == np.int64
    expected = [np.bincount(image[..., channel].ravel(), minlength=256) for channel in range(3)]
    np.testing.assert_array_equal(counts, expected)


def test_pixel_counts_of_an_image_beyond_float32(rng):
    image = np.full((4100, 4100, 3), 7, dtype=np.uint8)
    assert pixel_counts(image)[:, 7].tolist() == [4100 * 4100] * 3
