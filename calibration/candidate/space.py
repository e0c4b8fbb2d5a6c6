"""The preprocessing that image models are trained with: a space of five axes, each point a spec.

A *candidate* takes one option of every axis: colour order, value map (scaling and signedness),
geometry (crop, aspect, padding), resampling method (interpolation and antialias) and rotation. The
options are the ones that the common training codes use; the axes stand in ``AXES``.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

import numpy as np

from agent.contracts import Array, TensorSpec
from agent.errors import SpecError
from agent.preprocess.compiled import lookup_table
from agent.preprocess.decoding import Decode
from agent.preprocess.geometry import CenterCrop, CenterSquare, CentralFraction, PadToSize, Rotate
from agent.preprocess.resize import Method, Resize
from agent.preprocess.spec import PreprocessSpec
from agent.preprocess.steps import Step
from agent.preprocess.values import Cast, Color, Normalize

Order: TypeAlias = Literal["rgb", "bgr", "gray"]
ValueMap: TypeAlias = Literal["bytes", "0..1", "-1..1", "imagenet", "caffe", "0..255", "127/128"]
Geometry: TypeAlias = Literal["central", "square", "shorter_side", "squash", "letterbox", "letterbox_grey"]
Turn: TypeAlias = Literal[0, 90, 180, 270]
Axis: TypeAlias = Literal["color", "values", "geometry", "method", "clockwise"]

AXES: Final[tuple[Axis, ...]] = ("color", "values", "clockwise", "geometry", "method")
"""Most telling first."""
KEPT: Final = 0.875
"""Share of each side that the usual evaluation crops keep (224 of 256)."""
TWINS: Final[tuple[Method, ...]] = ("linear_exact", "tf_bilinear")
"""The same resampling as ``linear`` but for rounding, a level of 255 at most."""
_SAME_SHARE: Final = 0.02
"""Value maps whose stored numbers differ by no more than this share of their range are twins."""

_GEOMETRIES: Final[tuple[Geometry, ...]] = (
    "central",
    "square",
    "shorter_side",
    "squash",
    "letterbox",
    "letterbox_grey",
)
_METHODS: Final[tuple[Method, ...]] = (
    "linear",
    "area",
    "pillow_bilinear",
    "nearest",
    "cubic",
    "pillow_bicubic",
    "lanczos4",
)
_TURNS: Final[tuple[Turn, ...]] = (0, 90, 180, 270)
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_CAFFE_MEAN = (123.68, 116.779, 103.939)
_GREY = 114.0

_WORDS: Final[dict[str, str]] = {
    "bytes": "bytes as they are",
    "0..1": "scaled to 0…1",
    "-1..1": "scaled to -1…1",
    "imagenet": "ImageNet mean and std",
    "caffe": "mean colour subtracted (Keras 'caffe')",
    "0..255": "0…255 through the tensor's scale",
    "127/128": "(value - 127) / 128",
    "central": "central 87.5 % (stretched)",
    "square": "centre square",
    "shorter_side": "shorter side and centre crop (torchvision)",
    "squash": "no crop (stretched)",
    "letterbox": "black letterbox",
    "letterbox_grey": "grey letterbox",
    "linear": "linear",
    "area": "area (antialiased)",
    "pillow_bilinear": "bilinear (antialiased)",
    "pillow_bicubic": "bicubic (antialiased)",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """One option of every axis; ``Space.spec`` makes the spec of it."""

    color: Order
    values: ValueMap
    geometry: Geometry = "central"
    method: Method = "linear"
    clockwise: Turn = 0

    def words(self) -> tuple[str, ...]:
        """What it does, an expression per axis, in the order of ``AXES``."""
        turned = f"turned {self.clockwise}° clockwise" if self.clockwise else "upright"
        return (
            self.color,
            _WORDS[self.values],
            turned,
            _WORDS[self.geometry],
            _WORDS.get(self.method, self.method),
        )

    def changed(self, other: "Candidate") -> tuple[tuple[Axis, object], ...]:
        """The axes, and the options there, in which it differs from ``other``."""
        return tuple(
            (axis, getattr(self, axis)) for axis in AXES if getattr(self, axis) != getattr(other, axis)
        )

    def differs(self, other: "Candidate") -> tuple[str, ...]:
        """What this one does where ``other`` does something else, in words."""
        return tuple(mine for mine, theirs in zip(self.words(), other.words(), strict=True) if mine != theirs)


class Space:
    """Every candidate that can fill ``tensor`` (1×H×W×C or 1×C×H×W, C of 1 or 3).

    Value maps that store the same numbers are one option; those that store nearly the same are
    *twins*: the plainer one stands for both, and only the neighbourhood of a candidate lists the
    others. Raises SpecError for a model that takes no image or whose input has a type no spec fills.
    """

    def __init__(self, tensor: TensorSpec) -> None:
        shape = tensor.shape
        if len(shape) != 4 or not {shape[1], shape[3]} & {1, 3}:
            shown = "x".join(map(str, shape))
            raise SpecError(f"the model's input of shape {shown} is no image: only image models are searched")
        if tensor.dtype not in ("uint8", "int8", "int16", "float32"):
            raise SpecError(f"the model's input is {tensor.dtype}: no spec fills it")
        self.tensor = tensor
        self._nhwc = shape[3] in (1, 3)
        self._height, self._width = shape[1:3] if self._nhwc else shape[2:4]
        gray = shape[3 if self._nhwc else 1] == 1
        self.orders: tuple[Order, ...] = ("gray",) if gray else ("rgb", "bgr")
        self.values, self.value_twins = self._distinct_values()
        square = self._height == self._width
        self.geometries = tuple(g for g in _GEOMETRIES if square or g != "shorter_side")
        self.methods = _METHODS
        self.turns = _TURNS

    def coarse(self) -> tuple[Candidate, ...]:
        """Every colour order, value map and rotation with the commonest geometry and method."""
        return tuple(
            Candidate(color=order, values=values, clockwise=turn)
            for order in self.orders
            for values in self.values
            for turn in self.turns
        )

    def shapes(self, around: Candidate) -> tuple[Candidate, ...]:
        """Every geometry and method with the colours, values and rotation of ``around``."""
        return tuple(
            replace(around, geometry=geometry, method=method)
            for geometry in self.geometries
            for method in self.methods
        )

    def neighbours(self, around: Candidate) -> tuple[Candidate, ...]:
        """Every candidate that differs from ``around`` in one axis."""
        found = [
            *(replace(around, color=order) for order in self.orders),
            *(replace(around, values=values) for values in self.values),
            *(replace(around, clockwise=turn) for turn in self.turns),
            *(replace(around, geometry=geometry) for geometry in self.geometries),
            *(replace(around, method=method) for method in self.methods),
        ]
        return tuple(candidate for candidate in dict.fromkeys(found) if candidate != around)

    def twins(self, around: Candidate) -> tuple[Candidate, ...]:
        """Candidates whose tensors differ from those of ``around`` by rounding alone, or little more."""
        values = [replace(around, values=twin) for twin in self.value_twins.get(around.values, ())]
        methods = TWINS if around.method == "linear" else ()
        return (*values, *(replace(around, method=method) for method in methods))

    def is_twin(self, candidate: Candidate) -> bool:
        """Whether a plainer candidate stands for this one: see ``twins``."""
        return candidate.values not in self.values or candidate.method not in self.methods

    def __len__(self) -> int:
        values = len(self.values) + sum(map(len, self.value_twins.values()))
        methods = len(self.methods) + len(TWINS)
        return len(self.orders) * values * len(self.turns) * len(self.geometries) * methods

    def spec(self, candidate: Candidate, *, version: str = "found") -> PreprocessSpec:
        """The candidate as a spec for this tensor."""
        steps: list[Step] = [Decode(exif="ignore"), *self._geometry(candidate)]
        if candidate.clockwise:
            steps.append(Rotate(clockwise=candidate.clockwise, flip="none"))
        steps.append(Color(order=candidate.color))
        normalize, cast = self._values(candidate)
        steps += [normalize] if normalize is not None else []
        return PreprocessSpec(version=version, steps=(*steps, cast))

    def _geometry(self, candidate: Candidate) -> Iterator[Step]:
        # The image is turned last, so before that it lies on its side.
        sides = (self._width, self._height)
        width, height = sides[::-1] if candidate.clockwise in (90, 270) else sides
        kind, method = candidate.geometry, candidate.method
        if kind == "central":
            yield CentralFraction(fraction=KEPT, rounding="tensorflow")
        elif kind == "square":
            yield CenterSquare(rounding="floor")
        if kind == "shorter_side":
            side = round(width / KEPT)
            yield Resize(width=side, height=side, method=method, aspect="shorter_side")
            yield CenterCrop(width=width, height=height, rounding="half_even")
        elif kind in ("letterbox", "letterbox_grey"):
            yield Resize(width=width, height=height, method=method, aspect="fit")
            value = 0.0 if kind == "letterbox" else _GREY
            yield PadToSize(width=width, height=height, value=(value,), position="center")
        else:
            yield Resize(width=width, height=height, method=method, aspect="stretch")

    def _values(self, candidate: Candidate) -> tuple[Normalize | None, Cast]:
        normalize = _NORMALIZE[candidate.values]
        if candidate.values == "bytes" and self.tensor.dtype == "int8":
            normalize = Normalize(mean=(128.0,), std=(1.0,))
        if normalize is not None and candidate.color == "bgr":
            normalize = replace(normalize, mean=normalize.mean[::-1], std=normalize.std[::-1])
        return normalize, Cast(
            mode="raw" if candidate.values == "bytes" else "quantize",
            rounding="half_away",
            layout="nhwc" if self._nhwc else "nchw",
        )

    def _distinct_values(self) -> tuple[tuple[ValueMap, ...], dict[ValueMap, tuple[ValueMap, ...]]]:
        """The value maps that store different numbers, and the twins of each."""
        channels = 1 if self.orders == ("gray",) else 3
        tables: dict[ValueMap, Array] = {}
        twins: dict[ValueMap, tuple[ValueMap, ...]] = {}
        for values in self._possible_values():
            made = self._values(Candidate(color=self.orders[0], values=values))
            table = lookup_table(*made, self.tensor, channels).astype(np.float64)
            if any(np.array_equal(table, known) for known in tables.values()):
                continue
            near = [
                main
                for main in (name for name in tables if name in twins)
                if np.abs(table - tables[main]).max() <= _SAME_SHARE * np.ptp(tables[main])
            ]
            tables[values] = table
            if near:
                twins[near[0]] = (*twins[near[0]], values)
            else:
                twins[values] = ()
        return tuple(twins), {main: found for main, found in twins.items() if found}

    def _possible_values(self) -> Iterator[ValueMap]:
        """The value maps this tensor can take, the plainest first."""
        names = list(_NORMALIZE)
        if self.tensor.dtype == "int8":  # fed with real numbers as a rule, and seldom with shifted bytes
            names.sort(key=lambda name: name == "bytes")
        integer = self.tensor.dtype != "float32"
        for name in names:
            normalize = _NORMALIZE[name]
            colourless = self.orders == ("gray",) and normalize is not None and len(normalize.mean) > 1
            unscaled = integer and not self.tensor.quantized and name != "bytes"
            if not colourless and not unscaled:
                yield name


_NORMALIZE: Final[dict[ValueMap, Normalize | None]] = {
    "bytes": None,
    "-1..1": Normalize(divisor=127.5, mean=(1.0,), std=(1.0,)),
    "0..1": Normalize(divisor=255.0, mean=(0.0,), std=(1.0,)),
    "imagenet": Normalize(divisor=255.0, mean=_IMAGENET_MEAN, std=_IMAGENET_STD),
    "caffe": Normalize(mean=_CAFFE_MEAN, std=(1.0,)),
    "0..255": None,
    "127/128": Normalize(mean=(127.0,), std=(128.0,)),
}
"""Means and deviations in RGB order; ``bytes`` of an int8 tensor are the pixel minus 128."""
