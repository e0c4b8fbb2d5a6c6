"""Every step by its name in preprocess.yaml, and what flows from one to the next."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

from agent.preprocess.decoding import Decode
from agent.preprocess.geometry import (
    Box,
    CenterCrop,
    CenterSquare,
    CentralFraction,
    PadToSize,
    PadToSquare,
    Rotate,
    Size,
)
from agent.preprocess.resize import Resize
from agent.preprocess.values import Cast, Color, Normalize
from agent.preprocess.vectors import Clip, Impute, Select, Standardize

Crop: TypeAlias = CentralFraction | CenterSquare | CenterCrop | Box
Pad: TypeAlias = PadToSize | PadToSquare
ImageStep: TypeAlias = Crop | Resize | Pad | Rotate | Color
"""Takes an image and gives an image, before any normalisation."""
VectorStep: TypeAlias = Select | Impute | Clip
Step: TypeAlias = Decode | ImageStep | Normalize | VectorStep | Standardize | Cast

_ALL: Final[tuple[type[Step], ...]] = (
    *(Decode, CentralFraction, CenterSquare, CenterCrop, Box, Resize, PadToSize, PadToSquare, Rotate),
    *(Color, Normalize, Cast, Select, Impute, Clip, Standardize),
)
_VECTOR_NAMES: Final = ("select", "impute", "clip")
_IMAGE_NAMES: Final = ("crop", "resize", "pad", "rotate", "color")

STEPS: Final[Mapping[str, Mapping[str, type[Step]]]] = {
    name: {cls.KIND: cls for cls in _ALL if name == cls.NAME} for name in dict.fromkeys(c.NAME for c in _ALL)
}
"""Step name → kind → class; steps of one kind have the empty kind."""
REVISIONS: Final[Mapping[str, int]] = {cls.NAME: cls.REVISION for cls in _ALL}


@dataclass(frozen=True, kw_only=True, slots=True)
class Flow:
    """What an image is at some place in a spec; ``size`` None: known only once a frame arrives."""

    size: Size | None
    channels: int
    dtype: Literal["uint8", "float32"]


def image_flow(steps: Sequence[Step]) -> Flow:
    """What the image steps among ``steps`` make of a picture, before normalize and cast."""
    flow = Flow(size=None, channels=3, dtype="uint8")
    for step in steps:
        if isinstance(step, ImageStep):
            flow = flow_after(flow, step)
    return flow


def flow_after(flow: Flow, step: ImageStep) -> Flow:
    """What ``step`` makes of an image like ``flow``. Raises FrameError where it refuses its size."""
    flow = replace(flow, size=step.size_after(flow.size))
    if isinstance(step, Color):
        return replace(flow, channels=step.channels)
    if isinstance(step, Resize) and step.method == "tf_bilinear":
        return replace(flow, dtype="float32")
    return flow


def order_problems(names: Sequence[str]) -> list[tuple[int | None, str]]:
    """What is wrong with the order of step names: (index or None, problem)."""
    if not names:
        return [(None, "expected at least one step")]
    image = names[0] == "decode" or any(name in (*_IMAGE_NAMES, "normalize", "decode") for name in names)
    ranks = _ranks(image)
    found: list[tuple[int | None, str]] = []
    highest = -1
    for i, name in enumerate(names):
        if name not in ranks:
            found.append((i, f"{name} is a step for {'vectors' if image else 'images'}, this spec is not"))
        elif ranks[name] < highest or (name in names[:i] and name in _ONCE):
            found.append((i, f"{name} cannot stand here; the order is {_ORDER[image]}"))
        highest = max(highest, ranks.get(name, highest))
    required = ("decode", "color", "cast") if image else ("cast",)
    found += [(None, f"required step {name} is missing") for name in required if name not in names]
    return found


_ONCE: Final = frozenset({"decode", "color", "normalize", "standardize", "cast"})
_ORDER: Final = {
    True: "decode; crop, resize, pad, rotate, color (once) in any order; normalize; cast",
    False: "select, impute, clip in any order; standardize; cast",
}


def _ranks(image: bool) -> dict[str, int]:
    if image:
        return {"decode": 0, **dict.fromkeys(_IMAGE_NAMES, 1), "normalize": 2, "cast": 3}
    return {**dict.fromkeys(_VECTOR_NAMES, 1), "standardize": 2, "cast": 3}
