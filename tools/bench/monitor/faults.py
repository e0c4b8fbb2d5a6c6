"""What goes wrong in the bench: written here with NumPy, OpenCV and Pillow, apart from the library
that the bundle's signatures and regressions are made from.

``FAULTS`` are the cases, each fault in up to three severities.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from PIL import Image as Pillow

from agent.contracts import Array
from tools.bench.diagnosis import picture_faults
from tools.bench.diagnosis.shot import SIDE, rounded
from tools.bench.monitor.scenes import view

Change = Callable[[Array], Array]


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """``family`` is its name in a diagnosis; ``also`` are names that are as right. ``resize`` takes the
    camera's picture to 224×224 in place of the right way, ``change`` alters the 224×224 picture,
    ``tensor`` what the model gets of it and no feature sees."""

    name: str
    severity: str
    family: str
    also: tuple[str, ...] = ()
    resize: Change | None = None
    change: Change | None = None
    tensor: Change | None = None

    @property
    def key(self) -> str:
        return f"{self.name} ({self.severity})"

    @property
    def families(self) -> tuple[str, ...]:
        return (self.family, *self.also)


def _graded(
    name: str,
    family: str,
    make: Callable[[float], Change],
    strengths: Sequence[float],
    *,
    also: tuple[str, ...] = (),
    stage: Literal["resize", "change", "tensor"] = "change",
) -> list[Fault]:
    severities = ("mild", "middle", "strong")[-len(strengths) :] if len(strengths) > 1 else ("full",)
    made = []
    for severity, strength in zip(severities, strengths, strict=True):
        step = make(strength)
        made.append(
            Fault(
                name=name,
                severity=severity,
                family=family,
                also=also,
                resize=step if stage == "resize" else None,
                change=step if stage == "change" else None,
                tensor=step if stage == "tensor" else None,
            )
        )
    return made


def _zoomed(kept: float) -> Change:
    def change(picture: Array) -> Array:
        height, width = (int(length * kept) for length in picture.shape[:2])
        top, left = (picture.shape[0] - height) // 2, (picture.shape[1] - width) // 2
        return view(picture[top : top + height, left : left + width])

    return change


def _low(side: float) -> Change:
    def change(picture: Array) -> Array:
        small = Pillow.fromarray(picture).resize((int(side),) * 2, Pillow.Resampling.BOX)
        return np.asarray(small.resize((SIDE, SIDE), Pillow.Resampling.BILINEAR))

    return change


def _tilted(degrees: float) -> Change:
    def change(picture: Array) -> Array:
        turn = cv2.getRotationMatrix2D((SIDE / 2, SIDE / 2), degrees, 1.0)
        return np.asarray(cv2.warpAffine(picture, turn, (SIDE, SIDE), borderMode=cv2.BORDER_REFLECT))

    return change


def _gamma(power: float) -> Change:
    return lambda picture: rounded(255 * (picture.astype(np.float32) / 255) ** power)


def _gained(gain: float) -> Change:
    return lambda picture: rounded(picture.astype(np.float32) * gain)


def _flat(contrast: float) -> Change:
    def change(picture: Array) -> Array:
        values = picture.astype(np.float32)
        return rounded(values.mean() + (values - values.mean()) * contrast)

    return change


def _blurred(sigma: float) -> Change:
    return lambda picture: np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma))


def _smeared(length: float) -> Change:
    kernel = np.zeros((int(length),) * 2, np.float32)
    np.fill_diagonal(kernel, 1.0 / length)
    return lambda picture: np.asarray(cv2.filter2D(picture, -1, kernel))


def _grainy(sigma: float) -> Change:
    def change(picture: Array) -> Array:
        rng = np.random.default_rng(int(picture[::16, ::16].sum()))
        return rounded(picture + rng.normal(0, sigma, picture.shape))

    return change


def _peppered(share: float) -> Change:
    def change(picture: Array) -> Array:
        rng = np.random.default_rng(int(picture[::16, ::16].sum()))
        drawn, spoiled = rng.random(picture.shape[:2]), picture.copy()
        spoiled[drawn < share / 2], spoiled[drawn > 1 - share / 2] = 0, 255
        return spoiled

    return change


def _tinted(blue: float) -> Change:
    return lambda picture: rounded(picture * np.array([1.0 / np.sqrt(blue), 1.0, blue], np.float32))


def _foggy(share: float) -> Change:
    """White between the lens and the scene, thicker towards the top."""
    depth = (share * np.linspace(1.3, 0.7, SIDE, dtype=np.float32))[:, None, None]
    return lambda picture: rounded(picture * (1 - depth) + 215.0 * depth)


def _pale(saturation: float) -> Change:
    def change(picture: Array) -> Array:
        grey = (picture @ np.array([0.299, 0.587, 0.114], np.float32))[:, :, None]
        return rounded(grey + (picture - grey) * saturation)

    return change


def _hidden(share: float) -> Change:
    """A dark object before a corner."""
    side = int(SIDE * share**0.5)

    def change(picture: Array) -> Array:
        covered = picture.copy()
        covered[SIDE - side :, :side] = (38, 34, 30)
        return covered

    return change


def _dirty(spots: float) -> Change:
    """Blurred dark spots on the lens."""
    rng = np.random.default_rng(5)
    mask = np.zeros((SIDE, SIDE), np.float32)
    for _ in range(int(spots)):
        centre = tuple(int(at) for at in rng.integers(0, SIDE, 2))
        cv2.circle(mask, centre, int(rng.integers(8, 22)), 1.0, -1)
    through = 1.0 - 0.75 * np.asarray(cv2.GaussianBlur(mask, (0, 0), 5))[:, :, None]
    return lambda picture: rounded(picture * through)


def _scaled(gain: float) -> Change:
    """The model's numbers in another range: around the middle, so much of the right one."""
    return lambda picture: rounded(128.0 + (picture.astype(np.float32) - 128.0) * gain)


def _jpeg(quality: float) -> Change:
    return lambda picture: picture_faults.jpeg_pillow(picture, int(quality))


def _turned(quarters: float) -> Change:
    return lambda picture: np.ascontiguousarray(np.rot90(picture, int(quarters)))


FAULTS: tuple[Fault, ...] = (
    *_graded("BGR", "preprocess:color", lambda _: lambda picture: picture[:, :, ::-1].copy(), [1]),
    *_graded("chroma planes swapped", "preprocess:color", lambda _: picture_faults.uv_swapped, [1]),
    *_graded(
        "limited range", "preprocess:color", lambda _: picture_faults.limited_read_as_full, [1],
        also=("preprocess:decode", "data:contrast"),
    ),
    *_graded("low resolution", "preprocess:resize", _low, [112, 64, 32], also=("data:blur",)),
    *_graded("zoomed", "preprocess:crop", _zoomed, [0.8, 0.6, 0.4], stage="resize"),
    *_graded("turned", "preprocess:rotate", _turned, [1]),
    *_graded("upside down", "preprocess:rotate", _turned, [2]),
    *_graded("tilted", "data:tilt", _tilted, [10, 25], also=("preprocess:rotate",)),
    *_graded(
        "wrong range", "preprocess:normalize", _scaled, [0.7, 0.5, 0.3],
        stage="tensor", also=("preprocess:cast",),
    ),
    *_graded("JPEG", "data:compression", _jpeg, [30, 12, 6], also=("preprocess:decode",)),
    *_graded("dark", "data:dark", _gamma, [1.4, 2.0, 3.0]),
    *_graded("overexposed", "data:bright", _gained, [1.4, 1.9, 2.8]),
    *_graded("flat contrast", "data:contrast", _flat, [0.7, 0.5, 0.3], also=("data:fog",)),
    *_graded("defocus", "data:blur", _blurred, [1.0, 2.0, 4.0]),
    *_graded("motion blur", "data:motion", _smeared, [5, 9, 17], also=("data:blur",)),
    *_graded("sensor noise", "data:noise", _grainy, [10, 20, 40]),
    *_graded("dead pixels", "data:noise", _peppered, [0.01, 0.03, 0.1]),
    *_graded("white balance", "data:tint", _tinted, [0.85, 0.7, 0.5]),
    *_graded("fog", "data:fog", _foggy, [0.2, 0.4, 0.6], also=("data:contrast", "data:weather")),
    *_graded("pale", "data:saturation", _pale, [0.5, 0.2, 0.0]),
    *_graded("object before the lens", "data:occlusion", _hidden, [0.08, 0.2, 0.4]),
    *_graded("dirt on the lens", "data:dirt", _dirty, [6, 14, 30], also=("data:occlusion",)),
)  # fmt: skip
