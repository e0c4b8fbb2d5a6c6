"""The search: peel one difference after the other off the found tensors until nothing is left.

First how the array lies in memory, how the picture is turned and which part of the original it shows
(``hypotheses_coarse``, ``hypotheses_place``), then the channels, the tone curve, then resampling and
decoding against each other, last the values. At each turn the spec's own way is kept unless another
explains clearly more.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import cv2
import numpy as np

from agent.contracts import Array, Image, TensorSpec
from agent.preprocess.spec import PreprocessSpec
from calibration.hypothesis.coarse import EXACT, best_reading, coarse
from calibration.hypothesis.color import Colour, choose, colours
from calibration.hypothesis.details import settle_details
from calibration.hypothesis.form import Picture, Reading, readings
from calibration.hypothesis.hypothesis import (
    Difference,
    Scene,
    fit_lines,
    inner_rows,
    levels_error,
    pooled,
    rank,
    unexplained,
)
from calibration.hypothesis.orientation import IDENTITY, Turn
from calibration.hypothesis.place import Moved, settle
from calibration.hypothesis.recipe import Recipe, Workplace, base_of, order_of, turned
from calibration.hypothesis.values import name_exactly, name_lines, spec_scale, tone_curve, wrapped

_CURVED: Final = ("color space", "mixed channels")
"""Kinds of colour behind which a curve of single levels says nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Explanation:
    """``differences`` in the order of the steps; ``error``: what they leave, as a root mean square in
    levels of 255; ``agreeing``: per sample, whether they explain it."""

    differences: tuple[Difference, ...]
    error: float
    agreeing: tuple[bool, ...]


def explain(
    originals: Sequence[Image],
    found: Sequence[Array],
    spec: PreprocessSpec,
    tensor: TensorSpec,
    picture: Picture,
) -> Explanation:
    """``originals``: as the spec decodes them; ``found``: without a form problem, alike in shape."""
    bases = [base_of(spec, pixels) for pixels in originals]
    options = colours(order_of(spec), picture.channels)
    ways = readings(found, tensor, picture)
    size = picture.height, picture.width
    plain = _by_values_alone(ways, found, bases, options[0], spec, tensor)
    if plain:
        return plain
    reading, colour, share = best_reading(ways, found, bases, options)
    turn, rule = IDENTITY, None
    if share > EXACT:
        pixels = [turned(p, spec) for p in originals]
        reading, turn, rule = coarse(ways, found, pixels, bases, size, colour)
    work = Workplace(scenes=_scenes(originals, bases, found, reading, turn, spec, picture), spec=spec)
    recipe = Recipe(colour=colour)
    differences = [reading.difference, turn.difference]
    moved: Moved | None = None
    if share > EXACT:
        recipe, moved = settle(work, recipe, rule, size)
    work, each = _each_picture(work, replace(recipe, colour=options[0]))
    colour = _colour(work, recipe, options)
    recipe = replace(recipe, colour=colour)
    bendable = each is None and (colour.difference is None or colour.difference.kind not in _CURVED)
    recipe, curved = _curves(work, recipe) if bendable else (recipe, None)
    recipe, details = settle_details(work, recipe)
    if moved and not _blurred(recipe, moved, size):
        differences.append(moved.difference)
    differences += [colour.difference, curved, *details]
    differences.append(each or _values(work, recipe, spec, tensor, picture))
    return _concluded(work, recipe, [d for d in differences if d])


def _blurred(recipe: Recipe, moved: Moved, size: tuple[int, int]) -> bool:
    """Whether the picture is too coarse to say that its box has moved."""
    coarse_side = recipe.method.coarse if recipe.method else 0
    return coarse_side > 0 and moved.distance < 1.5 * max(size) / coarse_side


def _by_values_alone(
    ways: Sequence[Reading],
    found: Sequence[Array],
    bases: Sequence[Array],
    own: Colour,
    spec: PreprocessSpec,
    tensor: TensorSpec,
) -> Explanation | None:
    """Another normalisation or cast of the spec's own picture, which may leave little of it to see."""
    step = max(bases[0].shape[0] // 40, 1)
    levels = own.apply(pooled(bases, step))
    numbers = pooled([ways[0].apply(f) for f in found], step)
    exact = name_exactly(levels, numbers, spec, tensor)
    plain = exact[0] if exact else None
    if plain is None:
        return None
    scale = spec_scale(spec, tensor, numbers.shape[1])
    for way in ways[1:]:
        read = scale.levels(pooled([way.apply(f) for f in found], step))
        # Read so, the numbers are the spec's own: simpler than another normalisation.
        if way.difference and float(np.abs(read - levels).mean()) < 1.0:
            plain = way.difference
            break
    return Explanation(differences=(plain,), error=0.0, agreeing=(True,) * len(found))


def _each_picture(work: Workplace, recipe: Recipe) -> tuple[Workplace, Difference | None]:
    """Whether each picture has a straight line of its own; then the found numbers by these lines."""
    levels, numbers = _pooled(work, recipe)
    pairs = [work.predict(recipe, i, 4) for i in range(len(work.scenes))]
    alone = float(np.mean([unexplained(*pair) for pair in pairs]))
    together = unexplained(levels, numbers)
    if len(pairs) < 2 or alone > 0.25 * together or levels_error(together, levels) < 0.75:
        return work, None
    lines = [fit_lines(*_unclipped(p.reshape(-1, 1), f.reshape(-1, 1))) for p, f in pairs]
    gain = float(np.mean([line.gain[0] for line in lines]))
    scenes = tuple(
        replace(scene, found=(scene.found - line.offset[0]) / (line.gain[0] / gain))
        for scene, line in zip(work.scenes, lines, strict=True)
    )
    text = "the values are normalized by each picture's own mean and spread (or its own extremes)"
    return replace(work, scenes=scenes), Difference(step="normalize", kind="per image", text=text)


def _colour(work: Workplace, recipe: Recipe, options: Sequence[Colour]) -> Colour:
    """Judged on blocks of pixels where single ones do not match, so that detail has no say."""
    plain = replace(recipe, colour=_rgb())
    colour, share = choose(options, *_unclipped(*_pooled(work, plain)))
    if share <= EXACT:
        return colour
    pairs = [work.predict(plain, i) for i in range(len(work.scenes))]
    return choose(options, pooled([_blocks(p) for p, _ in pairs]), pooled([_blocks(f) for _, f in pairs]))[0]


def _blocks(image: Array) -> Array:
    """Means over blocks of about an eighth of a thumbnail's pixel, H×W×C."""
    made = cv2.resize(np.ascontiguousarray(image, np.float32), (28, 28), interpolation=cv2.INTER_AREA)
    return made.reshape(28, 28, -1)


def _curves(work: Workplace, recipe: Recipe) -> tuple[Recipe, Difference | None]:
    """Signed bytes, or a tone curve, where straight lines do not do."""
    levels, numbers = _unclipped(*_pooled(work, recipe))
    straight = unexplained(levels, numbers)
    if straight > 0.05 and unexplained(wrapped(levels), numbers) < 0.3 * straight:
        text = "unsigned bytes were read as signed ones (200 became -56)"
        return replace(recipe, signed=True), Difference(step="cast", kind="signedness", text=text)
    curve = tone_curve(levels, numbers)
    if curve is None:
        return recipe, None
    return replace(recipe, bend=curve[2]), curve[0]


def _values(
    work: Workplace, recipe: Recipe, spec: PreprocessSpec, tensor: TensorSpec, picture: Picture
) -> Difference | None:
    levels, numbers = _pooled(work, recipe)
    share = unexplained(levels, numbers)
    exact = name_exactly(levels, numbers, spec, tensor)
    if exact is not None:
        return exact[0]
    scale = spec_scale(spec, tensor, picture.channels)
    levels, numbers = _unclipped(levels, numbers)
    return name_lines(levels, numbers, scale, spec, tensor, share)


def _concluded(work: Workplace, recipe: Recipe, differences: list[Difference]) -> Explanation:
    pairs = [work.predict(recipe, i, 2) for i in range(len(work.scenes))]
    shares = [unexplained(*pair) for pair in pairs]
    agreeing = tuple(share <= max(0.05, 3.0 * float(np.median(shares))) for share in shares)
    error = float(np.median([levels_error(s, p[0]) for s, p in zip(shares, pairs, strict=True)]))
    ordered = sorted(differences, key=rank)
    return Explanation(differences=tuple(ordered), error=error, agreeing=agreeing)


def _scenes(
    originals: Sequence[Image],
    bases: Sequence[Array],
    found: Sequence[Array],
    reading: Reading,
    turn: Turn,
    spec: PreprocessSpec,
    picture: Picture,
) -> tuple[Scene, ...]:
    """The turn is taken back on the tensor, or, where that would change its shape, made before."""
    scenes = []
    for original, base, array in zip(originals, bases, found, strict=True):
        image = reading.apply(array)
        if turn.transposed and picture.height != picture.width:
            original = np.ascontiguousarray(turn.apply(original))
            base = base_of(spec, original)
        else:
            image = np.ascontiguousarray(turn.undo(image))
        scenes.append(Scene(original=original, pixels=turned(original, spec), base=base, found=image))
    return tuple(scenes)


def _unclipped(levels: Array, numbers: Array) -> tuple[Array, Array]:
    keep = inner_rows(numbers)
    return (levels, numbers) if keep is None else (levels[keep], numbers[keep])


def _pooled(work: Workplace, recipe: Recipe) -> tuple[Array, Array]:
    """Predicted levels and found numbers of all scenes, (n, C)."""
    step = max(work.scenes[0].found.shape[0] // 56, 1)
    pairs = [work.predict(recipe, i, step) for i in range(len(work.scenes))]
    return pooled([p for p, _ in pairs]), pooled([f for _, f in pairs])


def _rgb() -> Colour:
    return Colour(difference=None, apply=lambda rgb: rgb)
