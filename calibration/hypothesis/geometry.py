"""Which part of the original the tensor shows: the crop, the aspect and the letterbox.

Every geometry of ``crop``, ``resize`` and ``pad`` is a *placement*: a box of the original on a box of
the tensor. The spec's own is computed step by step; the usual others are rules of the original's
size; what follows no rule is measured by registration (``alignment``) and described.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from agent.preprocess.geometry import (
    CentralFraction,
    PadToSize,
    PadToSquare,
    Rotate,
    Size,
)
from agent.preprocess.resize import Resize
from agent.preprocess.steps import ImageStep, Step
from agent.preprocess.values import Color
from calibration.hypothesis.resampling import Placement


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """``place(original, tensor)`` says where a picture of that (height, width) goes. ``fraction``: of a
    centred crop; ``keeps_aspect``: whether of the central square or of either side."""

    name: str
    step: str
    kind: str
    place: Callable[[Size, Size], Placement]
    fraction: float | None = None
    keeps_aspect: bool = False


def spec_placement(steps: Sequence[Step], original: Size) -> Placement:
    """Where the spec's steps put an original of that size, seen after its ``rotate`` steps."""
    box = (0.0, 0.0, float(original[1]), float(original[0]))
    size = original
    for step in steps:
        if not isinstance(step, ImageStep):
            continue
        after = step.size_after(size) or size
        if isinstance(step, Rotate):
            box = _turned_box(box, step, original)
            original = (original[1], original[0]) if step.clockwise in (90, 270) else original
        elif not isinstance(step, (Resize, Color)):
            box = _cut(box, size, _window(step, size, after))
        size = after
    return _clipped(box, size, original)


def _window(step: ImageStep, size: Size, after: Size) -> tuple[float, float, float, float]:
    """(left, top, right, bottom) of what ``step`` keeps of a picture of ``size``; outside: padding."""
    probe = np.arange(size[0] * size[1], dtype=np.float32).reshape(*size, 1)
    if isinstance(step, (PadToSize, PadToSquare)):
        top, left = (after[0] - size[0]) // 2, (after[1] - size[1]) // 2
        if step.position == "top_left":
            top = left = 0
        return -left, -top, after[1] - left, after[0] - top
    kept = step.apply(probe)
    first = int(kept[0, 0, 0])
    top, left = divmod(first, size[1])
    return left, top, left + after[1], top + after[0]


def _cut(
    box: tuple[float, float, float, float], size: Size, window: tuple[float, float, float, float]
) -> tuple[float, float, float, float]:
    x, y = (box[2] - box[0]) / size[1], (box[3] - box[1]) / size[0]
    return box[0] + window[0] * x, box[1] + window[1] * y, box[0] + window[2] * x, box[1] + window[3] * y


def _turned_box(
    box: tuple[float, float, float, float], step: Rotate, size: Size
) -> tuple[float, float, float, float]:
    left, top, right, bottom = box
    height, width = size
    for _ in range(step.clockwise // 90):
        left, top, right, bottom = height - bottom, left, height - top, right
        height, width = width, height
    if step.flip == "horizontal":
        left, right = width - right, width - left
    elif step.flip == "vertical":
        top, bottom = height - bottom, height - top
    return left, top, right, bottom


def _clipped(box: tuple[float, float, float, float], tensor: Size, original: Size) -> Placement:
    """``box`` of the original on the whole tensor; what lies outside the original is padding."""
    left, top, right, bottom = box
    x, y = (right - left) / tensor[1], (bottom - top) / tensor[0]
    target = (
        max(round(-left / x), 0),
        max(round(-top / y), 0),
        min(round((original[1] - left) / x), tensor[1]),
        min(round((original[0] - top) / y), tensor[0]),
    )
    source = (left + target[0] * x, top + target[1] * y, left + target[2] * x, top + target[3] * y)
    return Placement(source=source, target=target)


def _whole(tensor: Size) -> tuple[int, int, int, int]:
    return 0, 0, tensor[1], tensor[0]


def _fraction(fraction: float) -> Callable[[Size, Size], Placement]:
    def place(original: Size, tensor: Size) -> Placement:
        step = CentralFraction(fraction=fraction, rounding="tensorflow")
        left, top, right, bottom = _window(step, original, step.size_after(original) or original)
        return Placement(source=(left, top, right, bottom), target=_whole(tensor))

    return place


def _square(fraction: float) -> Callable[[Size, Size], Placement]:
    """The largest centred box of the tensor's aspect, times ``fraction``."""

    def place(original: Size, tensor: Size) -> Placement:
        ratio = min(original[0] / tensor[0], original[1] / tensor[1]) * fraction
        tall, wide = tensor[0] * ratio, tensor[1] * ratio
        top, left = (original[0] - tall) / 2, (original[1] - wide) / 2
        if fraction == 1.0:
            top, left = float(int(top)), float(int(left))
        return Placement(source=(left, top, left + wide, top + tall), target=_whole(tensor))

    return place


def letterbox(fraction: float, where: float) -> Callable[[Size, Size], Placement]:
    """The central ``fraction`` fitted whole into the tensor; ``where`` of the spare space before it."""

    def place(original: Size, tensor: Size) -> Placement:
        inner = _fraction(fraction)(original, tensor).source
        wide, tall = inner[2] - inner[0], inner[3] - inner[1]
        ratio = min(tensor[0] / tall, tensor[1] / wide)
        made = (min(round(tall * ratio), tensor[0]), min(round(wide * ratio), tensor[1]))
        top, left = int((tensor[0] - made[0]) * where), int((tensor[1] - made[1]) * where)
        return Placement(source=inner, target=(left, top, left + made[1], top + made[0]))

    return place


def _unscaled(where: float) -> Callable[[Size, Size], Placement]:
    def place(original: Size, tensor: Size) -> Placement:
        top, left = (int((original[i] - tensor[i]) * where) for i in (0, 1))
        return _clipped((left, top, left + tensor[1], top + tensor[0]), tensor, original)

    return place


RULES: Final = (
    Rule(name="the whole picture, squashed", step="crop", kind="no crop", place=_fraction(1.0)),
    Rule(name="the central square", step="crop", kind="central square", place=_square(1.0)),
    Rule(name="the central 87.5 % of height and width", step="crop", kind="crop", place=_fraction(0.875)),
    Rule(
        name="the centre crop behind a shorter-side resize (224 of 256)",
        step="crop",
        kind="centre crop",
        place=_square(0.875),
    ),
    Rule(name="the whole picture in a letterbox", step="resize", kind="letterbox", place=letterbox(1.0, 0.5)),
    Rule(
        name="the whole picture in a letterbox, padded on one side",
        step="resize",
        kind="letterbox",
        place=letterbox(1.0, 0.0),
    ),
    Rule(
        name="the whole picture in a letterbox, padded before it",
        step="resize",
        kind="letterbox",
        place=letterbox(1.0, 1.0),
    ),
    Rule(
        name="the central 87.5 % in a letterbox",
        step="resize",
        kind="letterbox",
        place=letterbox(0.875, 0.5),
    ),
    Rule(
        name="pixels around the centre, not resized", step="resize", kind="not resized", place=_unscaled(0.5)
    ),
    Rule(
        name="pixels of the top left corner, not resized",
        step="resize",
        kind="not resized",
        place=_unscaled(0.0),
    ),
)


def fraction_rule(fraction: float, tensor_aspect: bool) -> Rule:
    """A centred crop of a fraction that was measured."""
    if tensor_aspect:
        name = f"the central {100 * fraction:.3g} % of the largest square"
        place = _square(fraction)
    else:
        name = f"the central {100 * fraction:.3g} % of height and width"
        place = _fraction(fraction)
    kind = "centre crop" if tensor_aspect else "crop"
    return Rule(name=name, step="crop", kind=kind, place=place, fraction=fraction, keeps_aspect=tensor_aspect)


def distance(a: Placement, b: Placement, tensor: Size) -> float:
    """Largest shift, in pixels of the tensor, between two placements' corners."""
    worst = 0.0
    for axis in (0, 1):
        scale_a, start_a = _line(a, axis)
        scale_b, start_b = _line(b, axis)
        scale = (abs(scale_a) + abs(scale_b)) / 2
        for at in (0.0, float(tensor[1 - axis])):
            worst = max(worst, abs((scale_a * at + start_a) - (scale_b * at + start_b)) / max(scale, 1e-6))
    return worst


def _line(place: Placement, axis: int) -> tuple[float, float]:
    """Source pixel = scale × tensor pixel + start, along x (0) or y (1)."""
    low, high = place.source[axis], place.source[axis + 2]
    first, last = place.target[axis], place.target[axis + 2]
    scale = (high - low) / max(last - first, 1)
    return scale, low - scale * first
