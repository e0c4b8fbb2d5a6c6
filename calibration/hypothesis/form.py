"""How a found tensor lies in memory: shape, layout, signedness, and what makes it hopeless.

A *reading* turns the array as it was found into H×W×C numbers; the first reading is the spec's.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.contracts import Array, TensorSpec
from agent.preprocess.values import Cast
from calibration.hypothesis.hypothesis import Difference, Floats

_LARGEST = 1e30
"""No preprocessing makes more, and the squares of less can be summed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """Height, width and channels that the model's input tensor holds, and in which layout."""

    height: int
    width: int
    channels: int
    layout: str

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.height, self.width, self.channels

    @property
    def axes(self) -> tuple[int, int, int]:
        """The shape without its batch axis, in the tensor's layout."""
        return self.shape if self.layout == "nhwc" else (self.channels, self.height, self.width)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """``apply``: the found array to H×W×C float32."""

    difference: Difference | None
    apply: Callable[[Array], Floats]


def picture_of(tensor: TensorSpec, cast: Cast) -> Picture:
    a, b, c = tensor.shape[1:]
    if cast.layout == "nchw":
        return Picture(height=b, width=c, channels=a, layout="nchw")
    return Picture(height=a, width=b, channels=c, layout="nhwc")


def unbatched(found: Array) -> Array:
    return found[0] if found.ndim == 4 and found.shape[0] == 1 else found


def problem(found: Array, picture: Picture) -> Difference | None:
    """What keeps ``found`` from being read at all; None when it can be."""
    if not (np.issubdtype(found.dtype, np.number) or found.dtype == np.bool_):
        return Difference(step="cast", kind="dtype", text=f"the values are no numbers ({found.dtype})")
    if np.iscomplexobj(found):
        return Difference(step="cast", kind="dtype", text="the values are complex numbers")
    shape = unbatched(found).shape
    if not _readable(shape, picture):
        return _shape_problem(shape, picture)
    bad = int(found.size - np.count_nonzero(measurable(found)))
    if bad:
        text = f"{bad:,} of {found.size:,} values are not finite (NaN, infinite or beyond 1e30)"
        return Difference(step="normalize", kind="not finite", text=text)
    return None


def measurable(found: Array) -> NDArray[np.bool_]:
    """Which values are finite and small enough to be squared."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.abs(found.astype(np.float64)) <= _LARGEST, np.bool_)


def readings(found: Sequence[Array], tensor: TensorSpec, picture: Picture) -> tuple[Reading, ...]:
    """The possible readings of arrays that have no ``problem`` and one shape and dtype."""
    ordered = _layouts(unbatched(found[0]).shape, picture)
    signs = _signs(found, tensor)
    return tuple(_joined(layout, sign) for sign in signs for layout in ordered)


def _readable(shape: tuple[int, ...], picture: Picture) -> bool:
    h, w, c = picture.shape
    known = {(h, w, c), (c, h, w), (w, h, c), (c, w, h), (h * w * c,), (1, h * w * c)}
    return shape in known or (c == 1 and shape in {(h, w), (w, h)})


def _shape_problem(shape: tuple[int, ...], picture: Picture) -> Difference:
    h, w, c = picture.shape
    shown, wanted = "x".join(map(str, shape)) or "a single number", "x".join(map(str, picture.axes))
    sides = {(h, w), (w, h)}
    if (len(shape) == 2 and shape in sides) or (
        len(shape) == 3 and (shape[:2] in sides or shape[1:] in sides)
    ):
        text = f"the tensor is {shown}: another number of channels than the model's {wanted}"
        return Difference(step="color", kind="channels", text=text)
    if (len(shape) == 3 and c in (shape[0], shape[2])) or (c == 1 and len(shape) == 2):
        text = f"the tensor is {shown}: another size than the model's {wanted}"
        return Difference(step="resize", kind="size", text=text)
    text = f"the tensor is {shown}, the model's input {wanted}"
    return Difference(step="cast", kind="shape", text=text)


def _layouts(shape: tuple[int, ...], picture: Picture) -> list[Reading]:
    h, w, c = picture.shape
    own, other = ("NHWC", "NCHW") if picture.layout == "nhwc" else ("NCHW", "NHWC")
    straight = Reading(difference=None, apply=_interleaved(picture, picture.layout == "nchw"))
    mixed = Reading(
        difference=Difference(
            step="cast", kind="layout", text=f"the values lie in memory as {other}, the model reads {own}"
        ),
        apply=_interleaved(picture, picture.layout != "nchw"),
    )
    planes = Reading(
        difference=Difference(
            step="cast", kind="layout", text=f"values that lie in memory as {own} were read as {other}"
        ),
        apply=_read_as_other(picture),
    )
    if len(shape) < 3 or shape == picture.axes:
        return [straight, mixed, planes] if c > 1 else [straight]
    if sorted(shape) == sorted(picture.axes) and shape in {(h, w, c), (c, h, w)}:
        axes = Difference(step="cast", kind="layout", text=f"the axes are {other}, the model's are {own}")
        return [Reading(difference=axes, apply=mixed.apply)]
    turned = Difference(step="cast", kind="transposed", text="height and width are exchanged")
    first = shape[0] == c
    return [
        Reading(
            difference=turned,
            apply=lambda a: (
                _floats(a)
                .reshape((c, w, h) if first else (w, h, c))
                .transpose((2, 1, 0) if first else (1, 0, 2))
            ),
        )
    ]


def _interleaved(picture: Picture, planar: bool) -> Callable[[Array], Floats]:
    h, w, c = picture.shape
    if planar:
        return lambda a: np.ascontiguousarray(_floats(a).reshape(c, h, w).transpose(1, 2, 0))
    return lambda a: _floats(a).reshape(h, w, c)


def _read_as_other(picture: Picture) -> Callable[[Array], Floats]:
    """Undo a reshape to the other layout that was followed by bringing the axes back in order."""
    h, w, c = picture.shape
    if picture.layout == "nchw":
        undone = _interleaved(picture, planar=True)
        return lambda a: undone(_floats(a).reshape(c, h, w).transpose(1, 2, 0))
    return lambda a: np.ascontiguousarray(_floats(a).reshape(h, w, c).transpose(2, 0, 1)).reshape(h, w, c)


def _signs(found: Sequence[Array], tensor: TensorSpec) -> list[Reading]:
    """Readings of the numbers: as they are, with the sign bit otherwise, with 128 more or less."""
    kinds: list[tuple[str, Callable[[Array], Array]]] = []
    dtype = found[0].dtype
    low = min(float(a.min()) for a in found)
    high = max(float(a.max()) for a in found)
    whole = all(bool(np.all(a == np.rint(a))) for a in found) if low >= -128 and high <= 255 else False
    plain = Reading(difference=None, apply=_floats)
    if not whole or (low >= 0 and high <= 1):
        return [plain]
    if tensor.dtype == "int8" and high > 127:
        kinds.append(
            ("the values are unsigned bytes (0..255), the model takes int8", lambda a: _floats(a) - 128)
        )
    elif tensor.dtype == "uint8" and low < 0:
        kinds.append(("the values are signed bytes, the model takes uint8", lambda a: _floats(a) + 128))
    if low < 0 and high <= 127:
        kinds.append(("unsigned bytes were read as signed ones (200 became -56)", lambda a: _floats(a) % 256))
    if tensor.dtype in ("int8", "uint8") and dtype.itemsize == 1:
        text = "the sign bit of the bytes is inverted (uint8 taken for int8, or the other way)"
        kinds.append((text, _sign_flipped))
    return [plain] + [
        Reading(difference=Difference(step="cast", kind="signedness", text=text), apply=way)
        for text, way in kinds
    ]


def _sign_flipped(a: Array) -> Floats:
    return _floats((a.view(np.uint8) ^ np.uint8(128)).view(a.dtype))


def _floats(a: Array) -> Floats:
    return a.astype(np.float32)


def _joined(layout: Reading, sign: Reading) -> Reading:
    def apply(found: Array) -> Floats:
        return layout.apply(sign.apply(np.ascontiguousarray(found)))

    joined = layout.difference or sign.difference
    if layout.difference and sign.difference:
        text = f"{layout.difference.text}; {sign.difference.text}"
        joined = Difference(step="cast", kind=layout.difference.kind, text=text)
    return Reading(difference=joined, apply=apply)
