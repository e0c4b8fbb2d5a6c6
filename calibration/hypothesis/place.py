"""Settle which box of the original is shown: measure it on several samples, then find the rule."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from agent.preprocess.geometry import Size
from agent.preprocess.resize import Resize
from agent.preprocess.spec import PreprocessSpec
from calibration.hypothesis.alignment import Map, register
from calibration.hypothesis.color import Colour
from calibration.hypothesis.geometry import RULES, Rule, distance, fraction_rule
from calibration.hypothesis.hypothesis import Difference, Floats, Scene, unexplained
from calibration.hypothesis.recipe import Recipe, Workplace
from calibration.hypothesis.resampling import Placement

_SAME = 0.8
"""Pixels of the tensor by which two placements may differ at a corner and be one."""
_SAME_PIXELS = 1.2
"""Pixels of the original: crops that round otherwise are looked at more closely later."""
_BY_RULE = 1.2
_FEW = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Moved:
    """``distance``: pixels of the tensor between the found box and the spec's, at the worst corner."""

    difference: Difference
    distance: float


def settle(work: Workplace, recipe: Recipe, rule: Rule | None, size: Size) -> tuple[Recipe, Moved | None]:
    """The recipe with its places, starting the search at ``rule`` (None: the spec's own); None where the
    box is the spec's own."""
    count = len(work.scenes)
    own = [work.own_place(i) for i in range(count)]
    start = [rule.place(_shape(s), size) for s in work.scenes] if rule else own
    few = min(count, _FEW)
    measured = [_registered(work.scenes[i], start[i], recipe.colour) for i in range(few)]
    apart_from_own = _apart(measured, own[:few], size)
    if apart_from_own < _SAME or _pixels_apart(measured, own[:few], size) < _SAME_PIXELS:
        return recipe, None
    scenes = work.scenes[:few]
    chosen, apart = _nearest(scenes, measured, size)
    if apart <= _BY_RULE:
        chosen = _rounded(work, recipe, chosen, size)
        places = tuple(chosen.place(_shape(s), size) for s in work.scenes)
        if _apart(places, own, size) < _SAME:
            return recipe, None
        moved = Moved(difference=describe(chosen, work.spec), distance=apart_from_own)
        return replace(recipe, places=places), moved
    measured += [_registered(work.scenes[i], start[i], recipe.colour) for i in range(few, count)]
    moved = Moved(difference=_free(work.scenes, measured), distance=apart_from_own)
    return replace(recipe, places=tuple(measured)), moved


def _rounded(work: Workplace, recipe: Recipe, rule: Rule, size: Size) -> Rule:
    """A measured fraction was probably a round number: the one near it that explains most."""
    if rule.fraction is None or rule in RULES:
        return rule
    f = rule.fraction
    near = {round(f, 2), round(f * 200) / 200, round(f, 3), size[0] / max(round(size[0] / f), 1), f}
    best = rule, 2.0
    for fraction in sorted(near):
        other = fraction_rule(min(fraction, 1.0), tensor_aspect=rule.keeps_aspect)
        places = tuple(other.place(_shape(s), size) for s in work.scenes)
        tried = replace(recipe, places=places)
        few = range(min(len(work.scenes), 3))
        share = float(np.mean([_plane_share(*work.predict(tried, i, 3)) for i in few]))
        if share < best[1]:
            best = other, share
    return best[0]


def _plane_share(levels: Floats, found: Floats) -> float:
    return unexplained(levels.mean(2, keepdims=True), found.mean(2, keepdims=True))


def describe(rule: Rule, spec: PreprocessSpec) -> Difference:
    """The rule in words. Where the spec keeps the aspect, showing the whole picture is squashing it."""
    step, kind = rule.step, rule.kind
    crops = any(s.NAME == "crop" for s in spec.steps)
    if rule.kind == "no crop" and (_keeps_aspect(spec) or not crops):
        step, kind = "resize", "squash"
    elif rule.kind == "letterbox" and any(s.NAME == "pad" for s in spec.steps):
        step, kind = "pad", "padding"
    return Difference(step=step, kind=kind, text=f"the tensor shows {rule.name}")


def _registered(scene: Scene, place: Placement, colour: Colour) -> Placement:
    """``place`` moved to where the found picture matches the original best."""
    height, width = _shape(scene)
    left, top, right, bottom = place.target
    picture = np.ascontiguousarray(scene.found[top:bottom, left:right].mean(2, dtype=np.float32))
    x0, y0, x1, y1 = place.source
    start = Map(
        scale_x=(x1 - x0) / width, start_x=x0 / width, scale_y=(y1 - y0) / height, start_y=y0 / height
    )
    plane = np.ascontiguousarray(colour.apply(scene.pixels.astype(np.float32)).mean(2, dtype=np.float32))
    m = register(plane, picture, start).map
    source = (
        m.start_x * width,
        m.start_y * height,
        (m.start_x + m.scale_x) * width,
        (m.start_y + m.scale_y) * height,
    )
    return Placement(source=source, target=place.target)


def _nearest(scenes: Sequence[Scene], places: Sequence[Placement], size: Size) -> tuple[Rule, float]:
    """The rule that lies nearest to the measured places, and how far (median, pixels of the tensor)."""
    shares, squares = [], []
    for scene, place in zip(scenes, places, strict=True):
        height, width = _shape(scene)
        wide, tall = place.source[2] - place.source[0], place.source[3] - place.source[1]
        shares += [wide / width, tall / height]
        ratio = min(height / size[0], width / size[1])
        squares += [wide / (ratio * size[1]), tall / (ratio * size[0])]
    rules = [
        *RULES,
        fraction_rule(float(np.clip(np.median(shares), 0.02, 1.0)), tensor_aspect=False),
        fraction_rule(float(np.median(squares)), tensor_aspect=True),
    ]
    apart = [_apart(places, [rule.place(_shape(s), size) for s in scenes], size) for rule in rules]
    # Square pictures cannot tell the rules apart: here every picture counts, not the median one alone.
    every = [_mean_apart(places, [rule.place(_shape(s), size) for s in scenes], size) for rule in rules]
    handicap = [a * (1.0 if i < len(RULES) else 1.3) for i, a in enumerate(every)]
    best = int(np.argmin(handicap))
    return rules[best], apart[best]


def _apart(a: Sequence[Placement], b: Sequence[Placement], size: Size) -> float:
    return float(np.median([distance(p, q, size) for p, q in zip(a, b, strict=True)]))


def _mean_apart(a: Sequence[Placement], b: Sequence[Placement], size: Size) -> float:
    return float(np.mean([min(distance(p, q, size), 20.0) for p, q in zip(a, b, strict=True)]))


def _pixels_apart(a: Sequence[Placement], b: Sequence[Placement], size: Size) -> float:
    """As ``_apart``, in pixels of the originals."""
    finest = [min((q.source[2] - q.source[0]) / size[1], (q.source[3] - q.source[1]) / size[0]) for q in b]
    each = [distance(p, q, size) * scale for p, q, scale in zip(a, b, finest, strict=True)]
    return float(np.median(each))


def _free(scenes: Sequence[Scene], places: Sequence[Placement]) -> Difference:
    boxes = []
    for scene, place in zip(scenes, places, strict=True):
        height, width = _shape(scene)
        x0, y0, x1, y1 = place.source
        boxes.append((x0 / width, y0 / height, x1 / width, y1 / height))
    left, top, right, bottom = (float(v) for v in np.median(boxes, axis=0))
    part = f"about {left:.1%} to {right:.1%} of its width, {top:.1%} to {bottom:.1%} of its height"
    return Difference(
        step="crop",
        kind="crop",
        text=f"the tensor shows another part of the picture than the spec's ({part})",
    )


def _keeps_aspect(spec: PreprocessSpec) -> bool:
    resizes = [step for step in spec.steps if isinstance(step, Resize)]
    square = any(step.NAME == "crop" and step.KIND == "center_square" for step in spec.steps)
    return square or any(step.aspect != "stretch" for step in resizes)


def _shape(scene: Scene) -> Size:
    return scene.pixels.shape[0], scene.pixels.shape[1]
