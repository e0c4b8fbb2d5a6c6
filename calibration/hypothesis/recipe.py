"""A recipe: what the found preprocessing is taken to do, and the picture that it predicts."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from agent.contracts import Array, Image
from agent.preprocess.resize import Resize
from agent.preprocess.spec import PreprocessSpec
from agent.preprocess.steps import ImageStep
from agent.preprocess.values import Color
from calibration.hypothesis.color import Colour
from calibration.hypothesis.geometry import spec_placement
from calibration.hypothesis.hypothesis import Difference, Floats, Scene
from calibration.hypothesis.resampling import BY_SPEC, METHODS, Method, Placement, render
from calibration.hypothesis.values import wrapped


@dataclass(frozen=True, kw_only=True, slots=True)
class Fault:
    """What is done otherwise to pixels: ``apply`` takes RGB and gives RGB. ``late``: to the picture behind
    the geometric steps instead of the decoded original."""

    difference: Difference
    apply: Callable[[Image], Image]
    late: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Recipe:
    """None stands for the spec's own way. ``places``: one per scene (what lies outside them is not
    predicted); ``bend``: exponent of a gamma curve; ``signed``: bytes read as signed ones."""

    colour: Colour
    places: tuple[Placement, ...] | None = None
    method: Method | None = None
    fault: Fault | None = None
    bend: float | None = None
    signed: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Workplace:
    """The scenes of one search, the spec, and decoder faults already applied to their originals."""

    scenes: tuple[Scene, ...]
    spec: PreprocessSpec
    _faulty: dict[tuple[Fault, int], Image] = field(default_factory=dict)

    def predict(self, recipe: Recipe, i: int, step: int = 1) -> tuple[Floats, Floats]:
        """Levels in the tensor's channels for scene ``i``, and what was found there, H×W×C; every
        ``step`` rows and columns."""
        if recipe.fault and recipe.fault.late:
            rgb, found = self._picture(replace(recipe, fault=None), i, 1)
            rgb = recipe.fault.apply(_pixels(rgb)).astype(np.float32)[::step, ::step]
            found = found[::step, ::step]
        else:
            rgb, found = self._picture(recipe, i, step)
        levels = np.clip(recipe.colour.apply(np.ascontiguousarray(rgb)), 0.0, 255.0)
        if recipe.bend is not None:
            levels = 255.0 * (levels / 255.0) ** recipe.bend
        return (wrapped(levels) if recipe.signed else levels), found

    def own_place(self, i: int) -> Placement:
        return spec_placement(self.spec.steps, _size(self.scenes[i].original))

    def _picture(self, recipe: Recipe, i: int, step: int) -> tuple[Floats, Floats]:
        """RGB levels and what was found."""
        if recipe.places is not None or recipe.method is not None:
            return self._render(recipe, i, step)
        scene = self.scenes[i]
        made = scene.base if recipe.fault is None else base_of(self.spec, self._fault(recipe.fault, i))
        return made[::step, ::step], scene.found[::step, ::step]

    def _render(self, recipe: Recipe, i: int, step: int) -> tuple[Floats, Floats]:
        scene = self.scenes[i]
        place = recipe.places[i] if recipe.places else self.own_place(i)
        pixels = scene.pixels
        if recipe.fault:
            pixels = turned(self._fault(recipe.fault, i), self.spec)
        left, top, right, bottom = place.target
        rows, columns = _every(bottom - top, step), _every(right - left, step)
        made = render(pixels, place, recipe.method or method_of(self.spec), rows, columns)
        return made, scene.found[top:bottom:step, left:right:step]

    def _fault(self, fault: Fault, i: int) -> Image:
        if (fault, i) not in self._faulty:
            if len(self._faulty) >= len(self.scenes):
                self._faulty.clear()
            self._faulty[fault, i] = fault.apply(self.scenes[i].original)
        return self._faulty[fault, i]


def base_of(spec: PreprocessSpec, pixels: Image) -> Floats:
    """The spec's picture before colour order: RGB levels, float32."""
    view: Array = pixels
    for step in spec.steps:
        if isinstance(step, ImageStep) and not isinstance(step, Color):
            view = step.apply(view)
    return view.astype(np.float32)


def turned(pixels: Image, spec: PreprocessSpec) -> Image:
    """The original behind the spec's ``rotate`` steps alone."""
    for step in spec.steps:
        if step.NAME == "rotate" and isinstance(step, ImageStep):
            pixels = step.apply(pixels)
    return pixels


def order_of(spec: PreprocessSpec) -> str:
    return next(step.order for step in spec.steps if isinstance(step, Color))


def method_of(spec: PreprocessSpec) -> Method:
    methods = [step.method for step in spec.steps if isinstance(step, Resize)]
    return BY_SPEC[methods[-1]] if methods else METHODS[0]


def _pixels(levels: Floats) -> Image:
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8)


def _every(length: int, step: int) -> NDArray[np.intp]:
    return np.arange(0, length, step)


def _size(pixels: Image) -> tuple[int, int]:
    return pixels.shape[0], pixels.shape[1]
