"""What was done with the channels: their order, grey, another colour space, a wrong YUV conversion.

Each is a function of RGB levels that is compared, line by line per channel, with what was found. A
free 3×3 mixing fitted by least squares says how good the best linear explanation could be; the first
named one that comes close to it is taken, the spec's own order first.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from typing import Final

import cv2
import numpy as np

from calibration.hypothesis.hypothesis import Difference, Floats, fit_mixing, unexplained

_CLOSE = 1.35
"""A named explanation may leave that many times what the free mixing leaves."""
_NEGLIGIBLE = 4e-4


@dataclass(frozen=True, kw_only=True, slots=True)
class Colour:
    """``apply``: RGB levels (n, 3) to levels in the tensor's channels (n, C)."""

    difference: Difference | None
    apply: Callable[[Floats], Floats]


STRETCHED: Final = "full-range YUV was decoded as if limited to 16..235 (contrast stretched, ends clipped)"
SHRUNK: Final = "limited-range YUV (16..235) was taken for full range (contrast shrunk, black is 16)"
_TO_YUV: Final = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
_TO_YUV709: Final = np.array(
    [[0.2126, 0.7152, 0.0722], [-0.114572, -0.385428, 0.5], [0.5, -0.454153, -0.045847]]
)
_SWAP: Final = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
_UV_SWAPPED: Final = np.linalg.inv(_TO_YUV) @ _SWAP @ _TO_YUV
_ORDERS: Final = {"rgb": (0, 1, 2), "bgr": (2, 1, 0)}


def colours(order: str, channels: int) -> tuple[Colour, ...]:
    """The hypotheses for a spec's ``color`` order, simplest first."""
    if channels == 1:
        return _to_grey(order)
    own = _ORDERS.get(order, (0, 1, 2))
    made = [Colour(difference=None, apply=_picked(own))]
    made += [
        Colour(difference=_order_difference(other, own), apply=_picked(other))
        for other in sorted(permutations(range(3)), key=lambda p: p != own[::-1])
        if other != own
    ]
    made += _grey_in_three()
    made += _decoded_wrong(own)
    made += [_also(colour, own) for colour in _decoded_wrong(own[::-1])]
    made += _other_spaces(own)
    return tuple(made)


def choose(candidates: Sequence[Colour], predicted: Floats, found: Floats) -> tuple[Colour, float]:
    """The simplest candidate that explains ``found`` (n, C) from RGB ``predicted`` (n, 3), and what it
    leaves unexplained."""
    own = _share(candidates[0], predicted, found)
    if own <= _NEGLIGIBLE:
        return candidates[0], own
    matrix, _, free = fit_mixing(predicted, found)
    shares = [own, *(_share(candidate, predicted, found) for candidate in candidates[1:])]
    # Clipped and curved maps (HSV, limited range) can beat every linear mixing.
    limit = min(free, *shares) * _CLOSE + _NEGLIGIBLE
    for candidate, share in zip(candidates, shares, strict=True):
        if share <= limit:
            return candidate, share
    best = int(np.argmin(shares))
    # Clipping alone makes a free mixing a little better than the right explanation.
    if shares[best] <= 2.5 * free + 10 * _NEGLIGIBLE:
        return candidates[best], shares[best]
    return _mixed(matrix), free


def _share(candidate: Colour, predicted: Floats, found: Floats) -> float:
    return unexplained(_clipped(candidate.apply(predicted)), found)


def _clipped(levels: Floats) -> Floats:
    return np.clip(levels, 0.0, 255.0)


def _picked(order: Sequence[int]) -> Callable[[Floats], Floats]:
    chosen = list(order)
    return lambda rgb: rgb[..., chosen]


def _linear(matrix: Floats, offset: Floats | float = 0.0) -> Callable[[Floats], Floats]:
    return lambda rgb: (rgb @ matrix.T + offset).astype(np.float32)


def _order_difference(order: Sequence[int], own: Sequence[int]) -> Difference:
    found = "".join("RGB"[i] for i in order)
    wanted = "".join("RGB"[i] for i in own)
    return Difference(
        step="color",
        kind="channel order",
        text=f"the channels come in the order {found}, the spec makes {wanted}",
    )


def _to_grey(order: str) -> tuple[Colour, ...]:
    weights = {
        "BT.601 grey": (0.299, 0.587, 0.114),
        "BT.601 grey with red and blue exchanged": (0.114, 0.587, 0.299),
        "the mean of the channels": (1 / 3, 1 / 3, 1 / 3),
        "BT.709 grey": (0.2126, 0.7152, 0.0722),
        "the red channel": (1.0, 0.0, 0.0),
        "the green channel": (0.0, 1.0, 0.0),
        "the blue channel": (0.0, 0.0, 1.0),
    }
    return tuple(
        Colour(
            difference=None
            if i == 0
            else Difference(
                step="color", kind="grey", text=f"the channel is {name}, the spec makes BT.601 grey"
            ),
            apply=_linear(np.array([row])),
        )
        for i, (name, row) in enumerate(weights.items())
    )


def _grey_in_three() -> list[Colour]:
    difference = Difference(
        step="color", kind="grey", text="all channels hold the same grey picture, the spec makes colour"
    )
    weights = ([0.299, 0.587, 0.114], [0.114, 0.587, 0.299], [1 / 3, 1 / 3, 1 / 3], [0.2126, 0.7152, 0.0722])
    return [Colour(difference=difference, apply=_linear(np.array([row] * 3))) for row in weights]


def _decoded_wrong(own: Sequence[int]) -> list[Colour]:
    named = {
        "uv swap": (_UV_SWAPPED, "the two chroma planes (U, V) are exchanged"),
        "yuv matrix 709 for 601": (
            np.linalg.inv(_TO_YUV709) @ _TO_YUV,
            "YUV was converted with BT.709's matrix instead of BT.601's",
        ),
        "yuv matrix 601 for 709": (
            np.linalg.inv(_TO_YUV) @ _TO_YUV709,
            "YUV was converted with BT.601's matrix instead of BT.709's",
        ),
    }
    made = [
        Colour(
            difference=Difference(step="decode", kind=kind.split(" matrix")[0], text=text),
            apply=_linear(matrix[list(own)]),
        )
        for kind, (matrix, text) in named.items()
    ]
    limited = Difference(step="decode", kind="limited range", text=STRETCHED)
    shrunk = Difference(step="decode", kind="limited range", text=SHRUNK)
    luma, chroma = 255 / 219, 255 / 224
    # Luma alone, or luma and chroma; levels are clipped behind it, as a decoder clips them.
    made += [
        Colour(difference=limited, apply=_ranged(luma, gain, -16 * luma, own)) for gain in (luma, chroma, 1.0)
    ]
    made += [
        Colour(difference=shrunk, apply=_ranged(1 / luma, gain, 16.0, own)) for gain in (1 / chroma, 1.0)
    ]
    return made


def _also(colour: Colour, own: Sequence[int]) -> Colour:
    """A wrong conversion with red and blue exchanged behind it."""
    assert colour.difference is not None
    order = _order_difference(own[::-1], own)
    text = f"{colour.difference.text}; color: {order.text}"
    return Colour(difference=replace(colour.difference, text=text), apply=colour.apply)


def _ranged(luma: float, chroma: float, offset: float, own: Sequence[int]) -> Callable[[Floats], Floats]:
    matrix = np.linalg.inv(_TO_YUV) @ np.diag([luma, chroma, chroma]) @ _TO_YUV
    return _linear(matrix[list(own)], offset)


def _other_spaces(own: Sequence[int]) -> list[Colour]:
    codes = {
        "YCrCb": cv2.COLOR_RGB2YCrCb,
        "YUV": cv2.COLOR_RGB2YUV,
        "HSV": cv2.COLOR_RGB2HSV_FULL,
        "HLS": cv2.COLOR_RGB2HLS_FULL,
        "Lab": cv2.COLOR_RGB2Lab,
    }
    yuv = np.array([0.0, 128.0, 128.0])
    made = [Colour(difference=_space("YCbCr"), apply=_linear(_TO_YUV, yuv))]
    made += [Colour(difference=_space(name), apply=_converted(code, own)) for name, code in codes.items()]
    return made


def _space(name: str) -> Difference:
    return Difference(step="color", kind="color space", text=f"the channels are {name}, the spec makes RGB")


def _converted(code: int, own: Sequence[int]) -> Callable[[Floats], Floats]:
    def apply(rgb: Floats) -> Floats:
        pixels = np.clip(np.rint(rgb), 0, 255).astype(np.uint8).reshape(-1, 1, 3)
        return cv2.cvtColor(pixels, code).reshape(rgb.shape).astype(np.float32)

    del own
    return apply


def _mixed(matrix: Floats) -> Colour:
    rows = "; ".join(" ".join(f"{v:+.2f}" for v in row / max(np.abs(row).max(), 1e-9)) for row in matrix)
    difference = Difference(
        step="color", kind="mixed channels", text=f"the channels are mixtures of red, green and blue ({rows})"
    )
    return Colour(difference=difference, apply=_linear(matrix))
