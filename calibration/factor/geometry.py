"""An image spec taken apart by what its steps are for, and specs put together from two of them.

Roles, not places, are what two specs are compared by: one may crop before it resizes, the other
after. Where all geometry comes from one spec its own order of steps is kept; a mixture is laid out
as crop, pad, resize (with what completes it), rotate, color. Sizes are (height, width) as in
``agent.preprocess.geometry``.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

from agent.preprocess.decoding import Decode
from agent.preprocess.geometry import (
    CenterCrop,
    CenterSquare,
    CentralFraction,
    PadToSize,
    PadToSquare,
    Rotate,
)
from agent.preprocess.resize import Method, Resize
from agent.preprocess.spec import PreprocessSpec
from agent.preprocess.steps import Crop, ImageStep, Pad, Step
from agent.preprocess.values import Cast, Color, Normalize
from calibration.factor.methods import between

Role: TypeAlias = Literal[
    "decode", "crop", "pad_before", "fit", "pad_values", "kernel", "antialias", "rotation", "color",
    "numbers", "rounding", "layout", "order",
]  # fmt: skip
"""What of a spec can come from one side or the other. ``crop``: the part of the picture that is kept.
``fit``: how that part becomes the tensor's size. ``pad_values``: what surrounds it then.
``numbers``: normalize, and whether cast quantizes."""
Side: TypeAlias = "Taken"
Layout: TypeAlias = tuple[str, float, float] | tuple[Step, ...]

_WEIGHTS: Final = (0.299, 0.587, 0.114)


@dataclass(frozen=True, kw_only=True, slots=True)
class Taken:
    """One image spec by roles. ``steps`` are its own steps between decode and normalize, in order;
    ``fit`` those from the first resize on, without rotations and colour."""

    decode: Decode
    steps: tuple[ImageStep, ...]
    crops: tuple[Crop, ...]
    pads_before: tuple[Pad, ...]
    fit: tuple[Resize | Crop | Pad, ...]
    rotates: tuple[Rotate, ...]
    color: Color
    normalize: Normalize | None
    cast: Cast

    @property
    def methods(self) -> tuple[Method, ...]:
        return tuple(step.method for step in self.fit if isinstance(step, Resize))

    @property
    def pads(self) -> tuple[Pad, ...]:
        """Pads behind the resize, their values in RGB order."""
        return tuple(
            replace(step, value=_in_rgb(step.value, self.color, self._coloured(step)))
            for step in self.fit
            if isinstance(step, (PadToSize, PadToSquare))
        )

    @property
    def rotates_first(self) -> bool:
        """Whether it turns the picture before anything else changes its shape."""
        return bool(self.rotates) and isinstance(_shaping(self.steps)[0], Rotate)

    @property
    def turned_after(self) -> bool:
        """Whether what the resize makes is turned by a quarter afterwards."""
        return not self.rotates_first and quarter(self.rotates)

    @property
    def square(self) -> bool:
        """Whether it keeps the central square of the picture."""
        return self._zoom is not None and (
            any(isinstance(step, CenterSquare) for step in self.crops)
            or self._resize.aspect == "shorter_side"
        )

    @property
    def kept(self) -> float:
        """The share of a side that is kept by central cropping, before and behind the resize."""
        shares = [step.fraction for step in self.crops if isinstance(step, CentralFraction)]
        return round(math.prod(shares) * (self._zoom or 1.0), 4)

    @property
    def windows(self) -> tuple[Crop, ...]:
        """Crops that are not merely a central share or, with ``square``, the central square."""
        central = (CentralFraction, CenterSquare) if self.square else (CentralFraction,)
        return tuple(step for step in self.crops if not isinstance(step, central))

    @property
    def cropping(self) -> tuple[tuple[Crop, ...], tuple[Crop, ...], float]:
        """Equal where two specs crop by the same steps to the same share."""
        return self.crops, self.windows, self.kept

    @property
    def upright_fit(self) -> tuple[Resize | Crop | Pad, ...]:
        """``fit`` with the widths and heights it has in the tensor, should the picture be turned yet."""
        return tuple(map(_transposed, self.fit)) if self.turned_after else self.fit

    @property
    def layout(self) -> Layout:
        """How what is kept becomes the tensor's size: equal where two specs do the same."""
        upright = self.upright_fit
        if self._zoom is None:
            return tuple(map(_bare, upright))
        last = upright[-1]
        assert isinstance(last, (Resize, CenterCrop))  # _zoom has seen to it
        return ("square" if self.square else "stretch", last.width, last.height)

    @property
    def simple_fit(self) -> tuple[Resize | Crop | Pad, ...]:
        """``fit`` for a picture whose crop is made already: without the crop behind the resize."""
        if self._zoom is None:
            return self.fit
        last = self.fit[-1]
        assert isinstance(last, (Resize, CenterCrop))
        resize = replace(self._resize, width=last.width, height=last.height, aspect="stretch")
        square = CenterSquare(rounding=self._odd_margin(last))
        return (square, resize) if self.square else (resize,)

    def _odd_margin(self, last: Resize | CenterCrop) -> Literal["floor", "half_even"]:
        for step in (*self.crops, last):
            if isinstance(step, (CenterSquare, CenterCrop)):
                return step.rounding
        return "floor"

    @property
    def _resize(self) -> Resize:
        return next(step for step in self.fit if isinstance(step, Resize))

    @property
    def _zoom(self) -> float | None:
        """The share that a central crop behind the resize keeps; None where the fit is something
        else than a plain resize, or a resize and such a crop."""
        match self.fit:
            case (Resize(aspect="stretch"),):
                return 1.0
            case (Resize(aspect="stretch") as resize, CenterCrop() as crop):
                wide, tall = crop.width / resize.width, crop.height / resize.height
                return wide if math.isclose(wide, tall, rel_tol=0.01) else None
            case (Resize(aspect="shorter_side") as resize, CenterCrop() as crop):
                return crop.width / resize.width if crop.width == crop.height else None
        return None

    def _coloured(self, pad: Pad) -> bool:
        return self.steps.index(self.color) < self.steps.index(pad)


def take_apart(spec: PreprocessSpec) -> Taken:
    """A valid image spec by roles."""
    steps = tuple(step for step in spec.steps if isinstance(step, ImageStep))
    first = next((i for i, step in enumerate(steps) if isinstance(step, Resize)), len(steps))
    cast = spec.steps[-1]
    assert isinstance(cast, Cast) and isinstance(spec.steps[0], Decode)
    return Taken(
        decode=spec.steps[0],
        steps=steps,
        crops=tuple(step for step in steps[:first] if isinstance(step, Crop)),
        pads_before=tuple(step for step in steps[:first] if isinstance(step, Pad)),
        fit=tuple(step for step in steps[first:] if not isinstance(step, (Rotate, Color))),
        rotates=tuple(step for step in steps if isinstance(step, Rotate) and not _idle(step)),
        color=next(step for step in steps if isinstance(step, Color)),
        normalize=next((step for step in spec.steps if isinstance(step, Normalize)), None),
        cast=cast,
    )


def assemble(sides: Mapping[Role, Taken], trained: Taken, deployed: Taken) -> tuple[Step, ...]:
    """The steps of a spec that takes each role from the side ``sides`` gives for it."""
    own = next((side for side in (trained, deployed) if _has_geometry_of(side, sides)), None)
    methods = _methods(sides)
    shaped = own.steps if own is not None else tuple(_laid_out(sides))
    numbers, rounding = sides["numbers"], sides["rounding"].cast.rounding
    layout = sides["layout"].cast.layout
    return (
        sides["decode"].decode,
        *_filled(shaped, methods, sides["pad_values"].pads, sides["color"].color),
        *((numbers.normalize,) if numbers.normalize else ()),
        Cast(mode=numbers.cast.mode, rounding=rounding, layout=layout),
    )


def quarter(rotates: tuple[Rotate, ...]) -> bool:
    """Whether width and height change places."""
    return sum(step.clockwise in (90, 270) for step in rotates) % 2 == 1


def _has_geometry_of(side: Taken, sides: Mapping[Role, Taken]) -> bool:
    return (
        sides["crop"].cropping == side.cropping
        and sides["pad_before"].pads_before == side.pads_before
        and tuple(map(_bare, sides["fit"].fit)) == tuple(map(_bare, side.fit))
        and sides["rotation"].rotates == side.rotates
        and sides["order"] is side
    )


def _laid_out(sides: Mapping[Role, Taken]) -> Iterator[ImageStep]:
    crop, fit, turn = sides["crop"], sides["fit"], sides["rotation"]
    if turn.rotates_first:
        yield from turn.rotates
    together = crop.cropping == fit.cropping
    yield from fit.crops if together else _crops(crop)
    yield from sides["pad_before"].pads_before
    fitting = fit.fit if together else fit.simple_fit
    turned = not turn.rotates_first and quarter(turn.rotates)
    yield from map(_transposed, fitting) if turned != fit.turned_after else fitting
    if not turn.rotates_first:
        yield from turn.rotates
    yield sides["color"].color


def _crops(side: Taken) -> Iterator[Crop]:
    """The crop of ``side`` as steps before any resize."""
    yield from side.windows
    if side.kept < 1:
        own = (step.rounding for step in side.crops if isinstance(step, CentralFraction))
        yield CentralFraction(fraction=side.kept, rounding=next(own, "floor"))


def _methods(sides: Mapping[Role, Taken]) -> tuple[Method, ...]:
    kernels, antialias = sides["kernel"].methods, sides["antialias"].methods
    if kernels == antialias:
        return kernels
    return tuple(between(kernel, smooth) for kernel, smooth in zip(kernels, antialias, strict=True))


def _filled(
    steps: tuple[ImageStep, ...], methods: tuple[Method, ...], pads: tuple[Pad, ...], color: Color
) -> Iterator[Step]:
    """``steps`` with these methods, pads' values and colour in their places."""
    coming, surrounding = iter(methods), iter(pads)
    resized = coloured = False
    float_pixels = False
    for step in steps:
        if isinstance(step, Resize):
            resized, method = True, next(coming, step.method)
            float_pixels |= method == "tf_bilinear"
            yield replace(step, method=method)
        elif isinstance(step, (PadToSize, PadToSquare)) and resized:
            like = next(surrounding, step)
            value = _from_rgb(like.value, color) if coloured else like.value
            whole = value if float_pixels else tuple(float(round(number)) for number in value)
            yield replace(step, value=whole, position=like.position)
        elif isinstance(step, Color):
            coloured = True
            yield color
        else:
            yield step


def _in_rgb(value: tuple[float, ...], color: Color, coloured: bool) -> tuple[float, ...]:
    return value[::-1] if coloured and color.order == "bgr" else value


def _from_rgb(value: tuple[float, ...], color: Color) -> tuple[float, ...]:
    if color.order == "gray" and len(value) == 3:
        return (float(round(sum(w * v for w, v in zip(_WEIGHTS, value, strict=True)))),)
    return value[::-1] if color.order == "bgr" else value


def _bare(step: Step) -> Step:
    """A step without what other roles decide."""
    if isinstance(step, Resize):
        return replace(step, method="nearest")
    if isinstance(step, (PadToSize, PadToSquare)):
        return replace(step, value=(0.0,), position="center")
    return step


def _transposed(step: Resize | Crop | Pad) -> Resize | Crop | Pad:
    if isinstance(step, (Resize, CenterCrop, PadToSize)):
        return replace(step, width=step.height, height=step.width)
    return step


def _shaping(steps: tuple[ImageStep, ...]) -> tuple[ImageStep, ...]:
    return tuple(
        step
        for step in steps
        if not isinstance(step, Color) and not (isinstance(step, Rotate) and _idle(step))
    )


def _idle(step: Rotate) -> bool:
    return step.clockwise == 0 and step.flip == "none"
