"""Frozen, black and stuck pictures are found, said once in steady words, and withdrawn."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.contracts import Image, Payload
from agent.monitor.picture import PictureOptions, PictureWatch, same_picture

OPTIONS = PictureOptions(frozen_after_s=10.0, bad_after_s=4.0)
S = 1_000_000_000


def scene(seed: int, *, level: float = 120.0, size: tuple[int, int] = (120, 160)) -> Image:
    """A picture with the noise of a sensor."""
    noise = np.random.default_rng(seed).normal(level, 20.0, (*size, 3))
    return np.clip(noise, 0, 255).astype(np.uint8)


def jpeg(image: Image) -> bytes:
    return bytes(cv2.imencode(".jpg", image)[1])


def with_comment(encoded: bytes, comment: bytes) -> bytes:
    """What a camera does that writes the time into every file."""
    return encoded[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + encoded[2:]


class Watched:
    """A watch and the seconds at which it was told things."""

    def __init__(self, options: PictureOptions = OPTIONS) -> None:
        self.watch = PictureWatch(options)

    def see(self, second: float, payload: Payload) -> tuple[str, ...]:
        self.watch.payload(payload, int(second * S))
        if isinstance(payload, np.ndarray) and payload.ndim == 3:
            self.watch.view(payload)
        return self.watch.problems


FROZEN = ("frozen: the same picture for over 10 s",)


@pytest.mark.parametrize("encoded", [False, True])
def test_a_frozen_camera_is_said_after_its_time_and_withdrawn_after_five_good_seconds(encoded: bool) -> None:
    def frame(seed: int) -> Payload:
        return jpeg(scene(seed)) if encoded else scene(seed)

    watched = Watched()
    assert [watched.see(second, frame(second)) for second in range(20)] == [()] * 20
    # The last good picture, of second 19, stays: ten seconds later it is said, and in the same words since.
    said = [watched.see(second, frame(19)) for second in range(20, 60)]
    assert said == [()] * 9 + [FROZEN] * 31
    assert [watched.see(second, frame(second)) for second in range(60, 67)] == [FROZEN] * 5 + [()] * 2


def test_a_camera_that_stirs_now_and_then_stays_frozen() -> None:
    watched = Watched()
    for second in range(100):
        problems = watched.see(second, scene(second // 12))
    assert problems == FROZEN


def test_a_slow_camera_is_not_frozen_by_two_equal_pictures() -> None:
    watched = Watched()
    assert [watched.see(60 * minute, scene(0)) for minute in range(3)] == [(), (), FROZEN]


def test_the_time_written_into_a_jpeg_file_does_not_hide_that_its_picture_is_the_same() -> None:
    watched = Watched()
    one = jpeg(scene(1))
    for second in range(12):
        problems = watched.see(second, with_comment(one, f"taken in second {second}".encode()))
    assert problems == FROZEN


def test_one_pixel_is_enough_to_be_another_picture() -> None:
    image = scene(1, size=(480, 640))
    changed = image.copy()
    changed[333, 221, 1] ^= 1
    assert same_picture(image, image.copy()) and not same_picture(image, changed)
    assert not same_picture(image, image[:240])
    assert not same_picture(image, b"bytes")


def test_bytes_that_are_no_jpeg_are_the_same_only_when_equal() -> None:
    front = bytes(range(256))
    assert same_picture(b"\x89PNG" + front, b"\x89PNG" + front)
    assert not same_picture(b"a" + front, b"b" + front)


@given(one=st.binary(max_size=80), other=st.binary(max_size=80))
def test_sameness_is_symmetric_and_of_equal_bytes_certain(one: bytes, other: bytes) -> None:
    assert same_picture(one, one)
    assert same_picture(one, other) == same_picture(other, one)


def test_readings_may_repeat_themselves() -> None:
    watched = Watched()
    assert {watched.see(second, np.array([20.5, 7.0])) for second in range(100)} == {()}


def test_black_pictures() -> None:
    watched = Watched()
    dark = [watched.see(second, scene(second, level=-60.0)) for second in range(6)]
    assert dark == [()] * 4 + [("black: mean brightness 0 of 255",)] * 2
    # Between the levels nothing changes; well above, five seconds withdraw it.
    between = [watched.see(6 + second, np.full((9, 9, 3), 10 + second % 2, np.uint8)) for second in range(8)]
    assert set(between) == {("black: mean brightness 0 of 255",)}
    bright = [watched.see(14 + second, scene(second)) for second in range(7)]
    assert [bool(problems) for problems in bright] == [True] * 5 + [False] * 2


def test_a_dark_scene_with_a_lamp_is_not_black() -> None:
    watched = Watched()
    for second in range(20):
        image = scene(second, level=0.0)
        image[40:80, 40:80] = scene(second, level=230.0, size=(40, 40))
        problems = watched.see(second, image)
    assert problems == ()


@pytest.mark.parametrize(
    ("picture", "said"),
    [
        ((255, 255), "stuck exposure: 100 % of the pixels at the ends of the scale, 100 % white"),
        ((0, 255), "stuck exposure: 100 % of the pixels at the ends of the scale, 50 % white"),
    ],
)
def test_a_stuck_exposure(picture: tuple[int, int], said: str) -> None:
    watched = Watched()
    for second in range(5):
        # One moving grey line keeps it from being frozen.
        image = np.repeat(np.array(picture, np.uint8), 64)[None, :, None] * np.ones((128, 1, 3), np.uint8)
        image[2 * second + 1] = 128
        problems = watched.see(second, image)
    assert problems == (said,)


def test_a_flash_is_no_stuck_exposure() -> None:
    watched = Watched()
    for second in range(30):
        white = second % 4 == 0
        image = np.full((64, 64, 3), 255, np.uint8) if white else scene(second)
        assert watched.see(second, image) == ()


def test_everything_can_be_turned_off() -> None:
    watched = Watched(PictureOptions(frozen_after_s=0, black_below=0, clipped_above=0))
    pictures = [np.full((8, 8, 3), value, np.uint8) for value in (0, 255)]
    assert {watched.see(second, pictures[second > 50]) for second in range(100)} == {()}


def test_options_that_make_no_sense() -> None:
    options = PictureOptions(frozen_after_s=-1, black_below=200, clipped_above=90)
    assert options.problems() == [
        "frozen_after_s: must be from 0 to 86400, got -1",
        "black_below: must be from 0 to 128, got 200",
        "clipped_above: must be from 0 to 1, got 90",
    ]
    assert PictureOptions().problems() == []
