"""Faults of the sensor and of what carries its picture: noise, banding, few levels, compression, and
sources that deliver no scene at all."""

from collections.abc import Iterator

import cv2
import numpy as np

from agent.contracts import Array, Image
from calibration.replay.fault import Draws, Fault, ImageFault, bytes_of, standing

_MOST_PIXELS = 2**20
"""A stream is compressed at no more than this; so large photographs do not cost seconds each."""


def sensor_faults() -> Iterator[Fault]:
    """Noise, banding, depth, compression and ``source``."""
    yield from _noise()
    yield from _banding()
    for bits in (2, 3, 4):
        yield Fault(family="data:depth", name=f"{bits} bits", view=_levels(bits))
    yield Fault(family="data:depth", name="3 bits dithered", view=_dithered)
    for quality in (35, 20, 10, 4):
        yield Fault(family="data:compression", name=f"JPEG {quality}", picture=coded(quality))
    yield Fault(family="data:compression", name="JPEG 15 twice", picture=_twice)
    yield Fault(family="data:compression", name="coarse chroma", view=_coarse_chroma)
    yield from _sources()


def _noise() -> Iterator[Fault]:
    family = "data:noise"
    for sigma in (8.0, 20.0, 45.0):
        yield Fault(family=family, name=f"Gaussian {sigma:g}", view=noisy(sigma))
    for photons in (40.0, 12.0):
        yield Fault(family=family, name=f"shot noise, {photons:g} photons", view=_shot(photons))
    for share in (0.01, 0.06):
        yield Fault(family=family, name=f"salt and pepper {share:g}", view=_salt(share))
    yield Fault(family=family, name="grey grain 25", view=_grain(25.0))
    yield Fault(family=family, name="coarse noise", view=_coarse)


def _banding() -> Iterator[Fault]:
    family = "data:banding"
    yield Fault(family=family, name="flicker .2", view=_flicker(0.2, 3))
    yield Fault(family=family, name="flicker .45", view=_flicker(0.45, 6))
    yield Fault(family=family, name="column pattern 10", view=standing(_lines(10.0, 1), "columns", "10"))
    yield Fault(family=family, name="column pattern 22", view=standing(_lines(22.0, 1), "columns", "22"))
    yield Fault(family=family, name="row pattern 20", view=standing(_lines(20.0, 0), "rows", "20"))
    yield Fault(family=family, name="dead rows", view=standing(_dead_rows, "dead rows"))
    yield Fault(family=family, name="combed", view=_combed)


def _sources() -> Iterator[Fault]:
    for name, colour in (("black", (2, 2, 2)), ("grey", (128, 128, 128)), ("green", (0, 135, 0))):
        yield Fault(family="source", name=name, view=_even(colour))
    yield Fault(family="source", name="white", view=_even((254, 254, 254)))
    yield Fault(family="source", name="frozen", picture=Frozen())
    yield Fault(family="source", name="static", view=_static)
    yield Fault(family="source", name="test card", view=_test_card)


def noisy(sigma: float) -> ImageFault:
    """Independent normal noise in every channel."""
    scale = np.float32(sigma)
    return lambda image, draws: bytes_of(image + scale * draws.standard_normal(image.shape, np.float32))


def _shot(photons: float) -> ImageFault:
    """Counts of photons, whose variance is their mean; normal draws: Poisson's take five times as long."""
    scale = np.float32(255 / photons)

    def fault(image: Image, draws: Draws) -> Array:
        spread = np.sqrt(scale * image.astype(np.float32))
        return bytes_of(image + spread * draws.standard_normal(image.shape, np.float32))

    return fault


def _salt(share: float) -> ImageFault:
    def fault(image: Image, draws: Draws) -> Array:
        made, drawn = image.copy(), draws.random(image.shape[:2])
        made[drawn < share / 2], made[drawn > 1 - share / 2] = 0, 255
        return made

    return fault


def _grain(sigma: float) -> ImageFault:
    return lambda image, draws: bytes_of(image + draws.normal(0, sigma, (*image.shape[:2], 1)))


def _coarse(image: Image, draws: Draws) -> Array:
    height, width = image.shape[:2]
    half = draws.normal(0, 30, (height // 2 + 1, width // 2 + 1, 3))
    return bytes_of(image + cv2.resize(half, (width, height), interpolation=cv2.INTER_LINEAR))


def _flicker(strength: float, periods: int) -> ImageFault:
    """Bands of a lamp on the mains under a rolling shutter, at a phase that differs by picture."""

    def fault(image: Image, draws: Draws) -> Array:
        phase = 2 * np.pi * (periods * np.arange(image.shape[0]) / image.shape[0] + draws.random())
        return bytes_of(image * (1 - strength + strength * np.cos(phase))[:, None, None])

    return fault


def _lines(sigma: float, axis: int) -> ImageFault:
    def fault(image: Image, draws: Draws) -> Array:
        shape = (image.shape[0], 1, 1) if axis == 0 else (1, image.shape[1], 1)
        return bytes_of(image + draws.normal(0, sigma, shape))

    return fault


def _dead_rows(image: Image, draws: Draws) -> Array:
    made = image.copy()
    made[draws.random(image.shape[0]) < 0.08] = 0
    return made


def _combed(image: Image, _: Draws) -> Array:
    """Two fields of a moving picture put together as one."""
    made = image.copy()
    made[1::2] = np.roll(image[1::2], max(image.shape[1] // 40, 1), axis=1)
    return made


def _levels(bits: int) -> ImageFault:
    steps = 2**bits - 1
    return lambda image, _: bytes_of(np.rint(image / 255 * steps) * (255 / steps))


def _dithered(image: Image, draws: Draws) -> Array:
    return bytes_of(np.floor(image / 255 * 7 + draws.random(image.shape)) * (255 / 7))


def coded(quality: int) -> ImageFault:
    """Encoded as JPEG and decoded again."""

    def fault(image: Image, _: Draws) -> Array:
        parameters = [cv2.IMWRITE_JPEG_QUALITY, quality]
        _done, data = cv2.imencode(".jpg", cv2.cvtColor(_bounded(image), cv2.COLOR_RGB2BGR), parameters)
        decoded: Array | None = cv2.imdecode(data, cv2.IMREAD_COLOR)
        assert decoded is not None  # it was encoded a line above
        return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)

    return fault


def _twice(image: Image, draws: Draws) -> Array:
    """Compressed, moved off its 8-pixel blocks and compressed again, as a recorder does."""
    once = coded(15)(image, draws)
    return coded(15)(np.roll(once, (3, 5), (0, 1)), draws)


def _coarse_chroma(image: Image, _: Draws) -> Array:
    """Chroma at a sixteenth of the resolution."""
    luma, red, blue = cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb))
    size = image.shape[1::-1]
    small = max(size[0] // 16, 1), max(size[1] // 16, 1)
    planes = [cv2.resize(cv2.resize(p, small), size, interpolation=cv2.INTER_NEAREST) for p in (red, blue)]
    return cv2.cvtColor(cv2.merge([luma, *planes]), cv2.COLOR_YCrCb2RGB)


def _bounded(image: Image) -> Array:
    share = np.sqrt(_MOST_PIXELS / (image.shape[0] * image.shape[1]))
    if share >= 1:
        return image
    return cv2.resize(image, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)


class Frozen:
    """The first picture it is given, for ever."""

    def __init__(self) -> None:
        self._first: Image | None = None

    def __call__(self, image: Image, _: Draws) -> Array:
        if self._first is None:
            self._first = image.copy()
        return self._first


def _even(colour: tuple[int, int, int]) -> ImageFault:
    return lambda image, draws: bytes_of(np.array(colour) + draws.normal(0, 0.7, image.shape))


def _static(image: Image, draws: Draws) -> Array:
    return draws.integers(0, 256, image.shape, dtype=np.uint8)


def _test_card(image: Image, _: Draws) -> Array:
    bars = np.array([[v, v, v] for v in (255, 0)] + [[1, 1, 0], [0, 1, 1], [0, 1, 0], [1, 0, 1], [1, 0, 0]])
    colours = np.where(bars == 1, 255, bars).astype(np.uint8)
    across = np.arange(image.shape[1]) * len(colours) // image.shape[1]
    return np.broadcast_to(colours[across][None], image.shape).copy()
