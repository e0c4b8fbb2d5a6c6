"""The factors in which two preprocessing specs differ, and specs that mix the two.

A factor is the smallest difference that can stand alone: every subset of factors gives a valid spec
(``mix``), from training's with none of them to the deployed one with all. What cannot be separated,
such as a letterbox's smaller resize and its padding, is one factor.
"""

from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations
from typing import Final, get_args

import yaml

from agent.errors import SpecError
from agent.preprocess.spec import PreprocessSpec, differing_steps, dump, fingerprint, is_image
from agent.preprocess.steps import Step, image_flow
from agent.preprocess.validity import step_problems
from calibration.factor import vectors as factor_vectors
from calibration.factor.geometry import Role, Taken, assemble, take_apart
from calibration.factor.methods import only_antialias, separable

_ROLES: Final[tuple[Role, ...]] = get_args(Role)
_GEOMETRY: Final[frozenset[Role]] = frozenset(
    {"crop", "pad_before", "fit", "pad_values", "kernel", "antialias", "rotation"}
)
_STEPS: Final = ("decode", "crop", "resize", "pad", "rotate", "color", "normalize", "cast")
_SIZES: Final = ("width", "height", "aspect")
_SHOWN: Final[Mapping[str, Mapping[str, tuple[str, ...]]]] = {
    "crop": {"crop": (), "resize": _SIZES},
    "resize aspect": {"crop": (), "resize": _SIZES, "pad": ()},
    "resize": {"crop": (), "resize": (), "pad": ()},
    "geometry": {"crop": (), "resize": (), "pad": (), "rotate": ()},
    "interpolation": {"resize": ("method",)},
    "antialias": {"resize": ("method",)},
    "normalisation": {"normalize": (), "standardize": (), "cast": ("mode",)},
    "rounding": {"cast": ("rounding",)},
    "layout": {"cast": ("layout",)},
    "decoder": {"decode": ("exif",)},
    "preparation": {"select": (), "impute": (), "clip": ()},
    "step order": dict.fromkeys(_STEPS, ()),
}
"""What of a spec a factor's description shows: steps, and which of their parameters (none: all)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Factor:
    """One separable difference. ``step``: the step of the spec it is found in. ``trained`` and
    ``deployed``: what either side does there, as in preprocess.yaml."""

    name: str
    step: str
    trained: str
    deployed: str


@dataclass(frozen=True, slots=True)
class _Group:
    """A factor of an image spec and the roles that change sides with it."""

    name: str
    step: str
    roles: frozenset[Role]


def factors(training: PreprocessSpec, deployed: PreprocessSpec) -> tuple[Factor, ...]:
    """In the order in which frames pass them; none when the two prepare inputs the same way.

    Raises SpecError when one prepares images and the other vectors.
    """
    if is_image(training) != is_image(deployed):
        kinds = ["images" if is_image(spec) else "vectors" for spec in (training, deployed)]
        raise SpecError(f"preprocess: training's spec prepares {kinds[0]}, the deployed one {kinds[1]}")
    found = []
    for name, step in _named(training, deployed):
        ours, theirs = _told(training, step, name), _told(deployed, step, name)
        trained, other = (
            "; ".join(line for line in side if side == against or line not in against) or "none"
            for side, against in ((ours, theirs), (theirs, ours))
        )
        found.append(Factor(name=name, step=step, trained=trained, deployed=other))
    return tuple(found)


def mix(training: PreprocessSpec, deployed: PreprocessSpec, chosen: Iterable[str]) -> PreprocessSpec:
    """Training's spec with the ``chosen`` factors (by name) as they are deployed: always valid.

    None chosen is ``training`` itself, all is ``deployed``. Raises ValueError for a name that
    ``factors`` does not give.
    """
    wanted = frozenset(chosen)
    known = {name for name, _ in _named(training, deployed)}
    if wanted - known:
        raise ValueError(f"no factor {', '.join(sorted(wanted - known))} among {', '.join(sorted(known))}")
    if not wanted or not known:
        return training
    if wanted == known:
        return deployed
    if is_image(training):
        groups = _groups(training, deployed)
        steps = _mixed(training, deployed, (group for group in groups if group.name in wanted))
    else:
        steps = factor_vectors.mixed(training.steps, deployed.steps, wanted)
    return PreprocessSpec(version=f"{training.version} with {', '.join(sorted(wanted))}", steps=steps)


def _named(training: PreprocessSpec, deployed: PreprocessSpec) -> tuple[tuple[str, str], ...]:
    if is_image(training):
        return tuple((group.name, group.step) for group in _groups(training, deployed))
    return factor_vectors.differing(training.steps, deployed.steps)


@lru_cache(maxsize=64)
def _groups(training: PreprocessSpec, deployed: PreprocessSpec) -> tuple[_Group, ...]:
    if fingerprint(training) == fingerprint(deployed):
        return ()
    ours, theirs = take_apart(training), take_apart(deployed)
    groups = tuple(_separate(ours, theirs))
    if not groups:
        step = next(iter(differing_steps(training, deployed)), "cast")
        return (_Group("step order", step, frozenset({"order"})),)
    if _all_valid(training, deployed, groups):
        return groups
    return _merged(groups)


def _separate(ours: Taken, theirs: Taken) -> Iterator[_Group]:
    if ours.decode.exif != theirs.decode.exif:
        yield _Group("decoder", "decode", frozenset({"decode"}))
    shaping = tuple(_shaping(ours, theirs))
    yield from _merged(shaping) if _inseparable(ours, theirs) else shaping
    if ours.color != theirs.color:
        yield _Group("colour order", "color", frozenset({"color"}))
    if (ours.normalize, ours.cast.mode) != (theirs.normalize, theirs.cast.mode):
        step = "normalize" if ours.normalize != theirs.normalize else "cast"
        yield _Group("normalisation", step, frozenset({"numbers"}))
    if ours.cast.rounding != theirs.cast.rounding:
        yield _Group("rounding", "cast", frozenset({"rounding"}))
    if ours.cast.layout != theirs.cast.layout:
        yield _Group("layout", "cast", frozenset({"layout"}))


def _shaping(ours: Taken, theirs: Taken) -> Iterator[_Group]:
    """What moves pixels. Roles that cannot move alone go with the fit."""
    fitting: set[Role] = {"fit"}
    same_fit = ours.layout == theirs.layout
    values_apart = len(ours.pads) == len(theirs.pads)
    methods_apart = len(ours.methods) == len(theirs.methods)
    fitting |= set() if values_apart else {"pad_values"}
    fitting |= set() if methods_apart else {"kernel", "antialias"}
    cropped_alike = (ours.windows, ours.kept) == (theirs.windows, theirs.kept)
    if same_fit and (ours.crops, _sizes(ours)) != (theirs.crops, _sizes(theirs)):
        yield _Group("crop", "crop", frozenset({"crop", *fitting}))
    elif not same_fit:
        if not cropped_alike:
            yield _Group("crop", "crop", frozenset({"crop"}))
        name = "resize aspect" if methods_apart else "resize"
        yield _Group(name, "resize", frozenset({*fitting, "crop"} if cropped_alike else fitting))
    padding = _padding(ours, theirs, values_apart)
    if padding:
        yield _Group("padding", "pad", padding)
    if methods_apart:
        yield from _resampling(ours, theirs)
    if ours.rotates != theirs.rotates:
        yield _Group("rotation", "rotate", frozenset({"rotation"}))


def _padding(ours: Taken, theirs: Taken, values_apart: bool) -> frozenset[Role]:
    found: set[Role] = set()
    if ours.pads_before != theirs.pads_before:
        found.add("pad_before")
    looks = [[(pad.value, pad.position) for pad in side.pads] for side in (ours, theirs)]
    if values_apart and looks[0] != looks[1]:
        found.add("pad_values")
    return frozenset(found)


def _resampling(ours: Taken, theirs: Taken) -> Iterator[_Group]:
    if ours.methods == theirs.methods:
        return
    pairs = tuple(zip(ours.methods, theirs.methods, strict=True))
    if len(pairs) == 1 and separable(*pairs[0]):
        yield _Group("interpolation", "resize", frozenset({"kernel"}))
        yield _Group("antialias", "resize", frozenset({"antialias"}))
    else:
        both: frozenset[Role] = frozenset({"kernel", "antialias"})
        antialias = all(a == b or only_antialias(a, b) for a, b in pairs)
        yield _Group("antialias" if antialias else "interpolation", "resize", both)


def _inseparable(ours: Taken, theirs: Taken) -> bool:
    """Where a mixture of the two geometries would have no meaning, or an image no fixed size."""
    if not ours.methods or not theirs.methods:
        return True
    windows = bool(ours.windows or theirs.windows)
    turned_else = (ours.rotates, ours.rotates_first) != (theirs.rotates, theirs.rotates_first)
    return windows and (turned_else or ours.pads_before != theirs.pads_before)


def _merged(groups: Iterable[_Group]) -> tuple[_Group, ...]:
    """The groups with all that moves pixels as one."""
    groups = tuple(groups)
    moving = [group for group in groups if group.roles & _GEOMETRY]
    if len(moving) < 2:
        return groups
    step = min((group.step for group in moving), key=_STEPS.index)
    one = _Group("geometry", step, _GEOMETRY)
    return tuple(one if group is moving[0] else group for group in groups if group not in moving[1:])


def _all_valid(training: PreprocessSpec, deployed: PreprocessSpec, groups: tuple[_Group, ...]) -> bool:
    """Whether every mix of the groups that shape the image is a valid spec of the same size."""
    size = image_flow(training.steps).size
    shaping = [group for group in groups if group.roles & _GEOMETRY or "color" in group.roles]
    for count in range(len(shaping) + 1):
        for chosen in combinations(shaping, count):
            steps = _mixed(training, deployed, chosen)
            if step_problems(steps) or image_flow(steps).size not in (None, size):
                return False
    return True


def _mixed(training: PreprocessSpec, deployed: PreprocessSpec, chosen: Iterable[_Group]) -> tuple[Step, ...]:
    ours, theirs = take_apart(training), take_apart(deployed)
    moved = {role for group in chosen for role in group.roles}
    return assemble({role: theirs if role in moved else ours for role in _ROLES}, ours, theirs)


def _sizes(side: Taken) -> tuple[tuple[str, int, int], ...]:
    """What the fit resizes and crops to, whatever its methods and pad values."""
    return tuple(
        (type(step).__name__, getattr(step, "width", 0), getattr(step, "height", 0))
        for step in side.upright_fit
    )


def _told(spec: PreprocessSpec, step: str, name: str) -> list[str]:
    """What ``spec`` does at a factor, step by step as in preprocess.yaml."""
    shown = _SHOWN.get(name, {step: ()})
    told = []
    parts = [next(iter(part.items())) for part in yaml.safe_load(dump(spec))["steps"]]
    kinds = {parameters.get("kind") for kind, parameters in parts if kind == "crop"}
    for kind, parameters in parts:
        if kind in shown and not _aside(name, kind, parameters, kinds):
            keys = shown[kind] or tuple(parameters)
            told.append(_flow({kind: {key: parameters[key] for key in keys if key in parameters}}))
    return told


def _aside(name: str, step: str, parameters: Mapping[str, object], crops: Set[object]) -> bool:
    """Whether a step says nothing of its factor: a size that no crop follows, a share that is kept."""
    if name == "crop":
        return step == "resize" and "center" not in crops
    return name == "resize aspect" and parameters.get("kind") in ("central_fraction", "box")


def _flow(value: object) -> str:
    text: str = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=1000)
    return text.strip()[1:-1]
