"""The library of faults: what each does to a picture or a reading, against other people's arithmetic."""

import re
from collections import Counter

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow
from scipy import ndimage

from agent.contracts import Array
from agent.preprocess.spec import parse
from calibration.replay.fault import Fault, mix, seeded
from calibration.replay.faults_lens import blurred
from calibration.replay.faults_light import curved, gained, saturated
from calibration.replay.faults_sensor import coded, noisy
from calibration.replay.faults_step import channels, kept
from calibration.replay.faults_vector import Usual, VectorFault, both, vector_faults
from calibration.replay.mixes import image_faults

FAULTS = image_faults()
SINGLE = [fault for fault in FAULTS if "+" not in fault.family]
FAMILY = re.compile(r"(preprocess:(decode|crop|resize|pad|rotate|color|normalize|cast)|data:[a-z]+|source)")
SPEC = """\
version: "1"
steps:
- decode: {exif: ignore}
- resize: {width: 64, height: 64, method: linear, aspect: shorter_side}
- crop: {kind: center, width: 56, height: 56, rounding: floor}
- color: {order: rgb}
- cast: {mode: raw, rounding: half_away, layout: nhwc}
"""


def picture(height: int = 48, width: int = 64, seed: int = 3) -> Array:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def found(family: str, name: str) -> Fault:
    return next(fault for fault in FAULTS if (fault.family, fault.name) == (family, name))


def test_the_library_is_large_and_speaks_the_vocabulary_of_causes() -> None:
    singles = Counter(fault.family for fault in SINGLE)
    assert len(SINGLE) >= 120
    assert len(singles) >= 20
    assert min(singles.values()) >= 3
    assert len(FAULTS) - len(SINGLE) >= 12
    for fault in FAULTS:
        assert all(FAMILY.fullmatch(part) for part in fault.family.split("+")), fault.family
    assert len({(fault.family, fault.name) for fault in FAULTS}) == len(FAULTS)


@pytest.mark.parametrize("size", [(48, 64), (9, 7), (8, 8)])
def test_every_fault_of_the_models_picture_keeps_its_size_and_its_input(size: tuple[int, int]) -> None:
    image = picture(*size)
    before = image.copy()
    for fault in image_faults():
        for function in (fault.view, fault.picture):
            if function is None:
                continue
            made = function(image, seeded(fault.name))
            assert made.dtype == np.uint8, fault.name
            assert made.ndim == 3, fault.name
            assert made.shape[2] == 3, fault.name
            np.testing.assert_array_equal(image, before, err_msg=fault.name)
        if fault.view is not None:
            np.testing.assert_array_equal(
                fault.view(image, seeded("a")), fault.view(image, seeded("a")), err_msg=fault.name
            )
            assert fault.view(image, seeded("a")).shape == image.shape, fault.name


def test_every_fault_of_the_models_picture_changes_it() -> None:
    image = picture()
    for fault in SINGLE:
        if fault.view is not None:
            assert not np.array_equal(fault.view(image, seeded("x")), image), fault.name


def test_dirt_stays_where_it_is_and_noise_does_not() -> None:
    grey = np.full((64, 64, 3), 128, np.uint8)
    dirt, noise = found("data:dirt", "25 dark spots").view, found("data:noise", "Gaussian 20").view
    assert dirt is not None
    assert noise is not None
    np.testing.assert_array_equal(dirt(grey, seeded("one")), dirt(grey, seeded("two")))
    assert not np.array_equal(noise(grey, seeded("one")), noise(grey, seeded("two")))


def test_colour_and_light_are_exact() -> None:
    image = picture()
    draws = seeded("x")
    np.testing.assert_array_equal(channels("bgr")(image, draws), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    np.testing.assert_array_equal(channels("gbr")(image, draws)[..., 0], image[..., 1])
    half = curved(lambda share: 0.5 * share)(image, draws)
    np.testing.assert_array_equal(half, np.rint(image * 0.5))
    np.testing.assert_array_equal(
        gained((1.0, 1.0, 3.0))(image, draws)[..., 2], np.minimum(image[..., 2] * 3.0, 255)
    )
    grey = np.asarray(Pillow.fromarray(image).convert("L").convert("RGB"))
    assert np.abs(saturated(0.0)(image, draws).astype(int) - grey).max() <= 1


def test_blur_and_compression_are_those_of_others() -> None:
    image = picture(224, 224)
    expected = ndimage.gaussian_filter(image.astype(float), (3.2, 3.2, 0), mode="mirror")
    assert np.abs(blurred(3.2)(image, seeded("x")) - expected).max() <= 2.0
    _, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 10])
    decoded = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))
    np.testing.assert_array_equal(coded(10)(image, seeded("x")), decoded[..., ::-1])


def test_noise_has_the_strength_it_is_named_by() -> None:
    grey = np.full((200, 200, 3), 128, np.uint8)
    assert noisy(20.0)(grey, seeded("x")).std() == pytest.approx(20.0, rel=0.01)
    shot = found("data:noise", "shot noise, 40 photons").view
    assert shot is not None
    # Of m photons the standard deviation is the root of m: here 128 / 255 * 40 of them.
    assert shot(grey, seeded("x")).std() == pytest.approx(np.sqrt(128 / 255 * 40) * 255 / 40, rel=0.02)


def test_cropping_keeps_the_part_it_says() -> None:
    image = picture(40, 80)
    np.testing.assert_array_equal(kept(0.25, 0.25, 0.5)(image, seeded("x")), image[10:30, 20:60])
    square = found("preprocess:crop", "central square").picture
    assert square is not None
    np.testing.assert_array_equal(square(image, seeded("x")), image[:, 20:60])
    bars = found("preprocess:pad", "grey bars").picture
    assert bars is not None
    padded = bars(image, seeded("x"))
    np.testing.assert_array_equal(padded[20:60], image)
    assert set(np.unique(padded[:20])) == {114}


def test_a_spec_without_its_crop_stretches_to_the_same_size() -> None:
    uncropped = found("preprocess:crop", "not cropped").spec
    assert uncropped is not None
    made = uncropped(parse(SPEC))
    assert made is not None
    expected = SPEC.replace("width: 64, height: 64", "width: 56, height: 56").replace(
        "shorter_side", "stretch"
    )
    assert made == parse("".join(line for line in expected.splitlines(True) if "crop:" not in line))
    assert uncropped(made) is None
    linear = found("preprocess:resize", "method linear").spec
    assert linear is not None
    assert linear(parse(SPEC)) is None


def test_a_mix_does_both_in_their_places() -> None:
    bgr = found("preprocess:color", "channels bgr")
    dark = found("data:dark", "gain .35")
    cropped = found("preprocess:crop", "central 0.6")
    mixed = mix(mix(dark, bgr), cropped)
    assert mixed.family == "data:dark+preprocess:color+preprocess:crop"
    assert mixed.name == "gain .35 + channels bgr + central 0.6"
    assert mixed.picture is cropped.picture
    assert mixed.view is not None
    image = picture()
    np.testing.assert_allclose(mixed.view(image, seeded("x")), image[..., ::-1] * 0.35, atol=0.51)
    one, two = found("preprocess:normalize", "0 … 1"), found("preprocess:normalize", "0 … 255")
    with pytest.raises(ValueError, match=r"0 … 1 and 0 … 255 both act on numbers"):
        mix(one, two)


USUAL = Usual(
    names=("t", "p", "id", "rh"),
    used=(0, 1, 3),
    mean=np.array([20.0, 1000.0, 7.0, 50.0]),
    spread=np.array([2.0, 10.0, 1.0, 5.0]),
    low=np.array([10.0, 950.0, 0.0, 20.0]),
    high=np.array([30.0, 1050.0, 9.0, 80.0]),
)
RECENT = np.array([[18.0, 990.0, 1.0, 40.0], [21.0, 1005.0, 2.0, 45.0], [24.0, 1010.0, 3.0, 60.0]])


def reading(name: str) -> list[float]:
    fault = next(fault for fault in vector_faults(USUAL) if fault.name == name)
    assert fault.reading is not None
    values: list[float] = fault.reading(RECENT, USUAL, seeded(name)).tolist()
    return values


def test_the_faults_of_readings() -> None:
    assert reading("gain 2") == [48.0, 2020.0, 3.0, 120.0]  # a column the model is not given stays
    assert reading("gain 2 of p") == [24.0, 2020.0, 3.0, 60.0]
    assert reading("offset -3 sd of rh") == [24.0, 1010.0, 3.0, 45.0]
    assert reading("span 0.3 of t") == pytest.approx([21.2, 1010.0, 3.0, 60.0])
    assert reading("stuck high") == [23.0, 1015.0, 3.0, 57.5]
    assert reading("Fahrenheit for Celsius of t") == pytest.approx([75.2, 1010.0, 3.0, 60.0])
    assert reading("clipped above of t") == pytest.approx([20.6, 1010.0, 3.0, 60.0])
    assert reading("3 readings late") == [18.0, 990.0, 3.0, 40.0]
    assert reading("mean of 3 of t") == [21.0, 1010.0, 3.0, 60.0]
    assert reading("t and p swapped") == [1010.0, 24.0, 3.0, 60.0]
    assert reading("columns moved by +1") == [60.0, 24.0, 3.0, 1010.0]
    assert reading("mirrored at the mean of t") == [16.0, 1010.0, 3.0, 60.0]
    assert reading("steps of 2 sd of t") == [24.0, 1010.0, 3.0, 60.0]
    assert np.isnan(reading("missing of p")[1])


def test_readings_have_as_many_faults_and_families() -> None:
    faults = vector_faults(USUAL)
    families = {part for fault in faults for part in fault.family.split("+")}
    assert len(faults) >= 120
    assert len(families) >= 20
    assert len({(fault.family, fault.name) for fault in faults}) == len(faults)
    before = RECENT.copy()
    for fault in faults:
        assert fault.reading is not None
        made = fault.reading(RECENT, USUAL, seeded(fault.name))
        assert made.shape == (4,), fault.name
        assert made[2] == 3.0, fault.name
        np.testing.assert_array_equal(RECENT, before, err_msg=fault.name)
    behind = VectorFault(family="a", name="b", behind=np.negative)
    with pytest.raises(ValueError, match="both must act on the reading"):
        both(behind, behind)
