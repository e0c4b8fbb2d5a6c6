"""Resampling against decoding: what changed the detail of a picture that shows the right part.

In tiers, the cheap first: the resampling methods, then low resolution, then JPEG at all qualities. The
best of all tried is taken, but only where it leaves clearly less than the spec's own way does.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Final

import numpy as np

from calibration.hypothesis.coarse import EXACT
from calibration.hypothesis.decoding import QUALITIES, recompressed
from calibration.hypothesis.hypothesis import Difference, Floats, unexplained
from calibration.hypothesis.recipe import Recipe, Workplace, method_of
from calibration.hypothesis.resampling import METHODS, Method, Placement, coarse

_SETTLED: Final = EXACT / 8
_DETAIL: Final = 4
"""Samples that decide."""
_MOST_NUMBERS: Final = 6_000_000
_BETTER: Final = 0.6
"""Another way must leave less than this share of what the way so far leaves."""
_SIDES: Final = (16, 20, 24, 28, 32, 40, 48, 56, 64, 72, 80, 96, 112, 128, 144, 160, 192)


@dataclass(frozen=True, kw_only=True, slots=True)
class Tried:
    """A recipe and the share it leaves unexplained."""

    recipe: Recipe
    difference: Difference
    share: float


def settle_details(work: Workplace, recipe: Recipe) -> tuple[Recipe, list[Difference]]:
    """The recipe with its resampling method and decoding fault; one of them, or both together."""
    few = _telling(work, recipe)
    found: list[Difference] = []
    for _ in range(2):
        now = _share(work, recipe, few)
        if now < _SETTLED:
            break
        best = _best(work, recipe, few, now)
        if best is None or best.share > _limit(recipe) * now:
            break
        recipe = best.recipe
        found.append(best.difference)
    if not found and now > EXACT:
        blurred = _repeated(work, few)
        found += [blurred] if blurred else []
    return recipe, found


def _limit(recipe: Recipe) -> float:
    """A box that was only measured leaves something that a neighbouring method may explain by chance."""
    return _BETTER if recipe.places is None else 0.35


def _best(work: Workplace, recipe: Recipe, few: Sequence[int], now: float) -> Tried | None:
    tried: list[Tried] = []
    if recipe.method is None:
        tried += [_try(work, _with_method(work, recipe, m), few) for m in _methods(work)]
        if tried and min(t.share for t in tried) < max(0.05 * now, _SETTLED):
            return min(tried, key=lambda t: t.share)
        tried += _off_by_one(work, recipe, few)
        if min(t.share for t in tried) < max(0.05 * now, _SETTLED):
            return min(tried, key=lambda t: t.share)
        tried += _coarsest(work, recipe, few)
    if recipe.fault is None:
        tried += _compressed(work, recipe, few, late=False)
        tried += _compressed(work, recipe, few, late=True)
    return min(tried, key=lambda t: t.share) if tried else None


def _methods(work: Workplace) -> Iterator[Method]:
    own = method_of(work.spec)
    return (method for method in METHODS if method != own)


def _with_method(work: Workplace, recipe: Recipe, method: Method) -> tuple[Recipe, Difference]:
    own = method_of(work.spec)
    kind = "low resolution" if method.coarse else "interpolation"
    if not method.coarse and method.antialias != own.antialias and method.kernel == own.kernel:
        kind = "antialias"
    text = f"resampled by {method.name}, the spec by {own.name}"
    return replace(recipe, method=method), Difference(step="resize", kind=kind, text=text)


def _off_by_one(work: Workplace, recipe: Recipe, few: Sequence[int]) -> list[Tried]:
    """The spec's crop with its edges rounded to other whole pixels; each picture has its own."""
    if recipe.places is not None or not any(step.NAME == "crop" for step in work.spec.steps):
        return []
    places = [work.own_place(i) for i in range(len(work.scenes))]
    for i in few:
        for axis in (0, 1):
            places[i] = _best_edges(work, recipe, places, i, axis)
    if all(places[i] == work.own_place(i) for i in few):
        return []
    text = "the crop's edges are rounded to other pixels than the spec's"
    difference = Difference(step="crop", kind="crop rounding", text=text)
    # The other samples keep the spec's edges: a pixel is little beside what is decided here.
    return [_try(work, (replace(recipe, places=tuple(places)), difference), few)]


def _best_edges(work: Workplace, recipe: Recipe, places: Sequence[Placement], i: int, axis: int) -> Placement:
    best, least = places[i], 2.0
    for low, high in product((0, -1, 1), repeat=2):
        source = list(places[i].source)
        source[axis] += low
        source[axis + 2] += high
        place = replace(places[i], source=(source[0], source[1], source[2], source[3]))
        moved = (*places[:i], place, *places[i + 1 :])
        share = unexplained(*work.predict(replace(recipe, places=tuple(moved)), i, 4))
        if share < least * 0.999:
            best, least = place, share
    return best


def _coarsest(work: Workplace, recipe: Recipe, few: Sequence[int]) -> Iterator[Tried]:
    """Low resolution: first how low, then by which kernels down and up."""
    up = {kernel: next(m for m in METHODS if m.kernel == kernel) for kernel in ("linear", "cubic75")}
    up["nearest"] = METHODS[1]
    scan = [_try(work, _with_method(work, recipe, coarse(n, up["linear"], "area")), few[:2]) for n in _SIDES]
    at = int(np.argmin([tried.share for tried in scan]))
    low, high = _SIDES[max(at - 1, 0)], _SIDES[min(at + 1, len(_SIDES) - 1)]
    fine = range(low, high + 1, max((high - low) // 8, 1))
    closer = {
        n: _try(work, _with_method(work, recipe, coarse(n, up["linear"], "area")), few[:2]).share
        for n in fine
    }
    chosen = sorted(closer, key=lambda n: closer[n])[:2]
    for n in chosen:
        for kernel, first in (
            ("linear", "area"),
            ("linear", "linear"),
            ("cubic75", "area"),
            ("nearest", "area"),
        ):
            yield _try(work, _with_method(work, recipe, coarse(n, up[kernel], first)), few)


def _compressed(work: Workplace, recipe: Recipe, few: Sequence[int], *, late: bool) -> Iterable[Tried]:
    """The quality that explains most, looked for on few samples and then more closely."""
    scan = {q: _fault(work, recipe, q, few[:1], late).share for q in QUALITIES}
    best = min(scan, key=lambda q: scan[q])
    fine = {q: _fault(work, recipe, q, few[:1], late).share for q in range(max(best - 2, 1), best + 3)}
    best = min(fine, key=lambda q: fine[q])
    return [_fault(work, recipe, best, few, late)]


def _fault(work: Workplace, recipe: Recipe, quality: int, few: Sequence[int], late: bool) -> Tried:
    fault = recompressed(quality, late=late)
    return _try(work, (replace(recipe, fault=fault), fault.difference), few)


def _try(work: Workplace, entry: tuple[Recipe, Difference], few: Sequence[int]) -> Tried:
    return Tried(recipe=entry[0], difference=entry[1], share=_share(work, entry[0], few))


def _share(work: Workplace, recipe: Recipe, few: Sequence[int]) -> float:
    return float(np.mean([unexplained(*work.predict(recipe, i, 3)) for i in few]))


def _telling(work: Workplace, recipe: Recipe) -> list[int]:
    """The samples that leave most to explain: small originals are hardly resampled and tell little. The
    very worst of many may have a trouble of its own, and huge ones cost too much."""
    shares = {
        i: _share(work, recipe, (i,))
        for i, scene in enumerate(work.scenes)
        if scene.pixels.size <= _MOST_NUMBERS or len(work.scenes) <= _DETAIL
    }
    order = sorted(shares, key=lambda i: -shares[i])
    skipped = 1 if len(order) > 2 * _DETAIL else 0
    return order[skipped : skipped + _DETAIL] or list(range(min(len(work.scenes), _DETAIL)))


def _repeated(work: Workplace, few: Sequence[int]) -> Difference | None:
    """Neighbouring pixels that are equal far more often than the spec's: enlarged without interpolation."""
    found = np.mean([_equal_neighbours(work.scenes[i].found) for i in few])
    own = np.mean([_equal_neighbours(work.scenes[i].base) for i in few])
    if found < 0.25 or found < 2.0 * own:
        return None
    text = "pixels are repeated: the picture was enlarged from a lower resolution by nearest neighbour"
    return Difference(step="resize", kind="low resolution", text=text)


def _equal_neighbours(image: Floats) -> float:
    same = np.all(image[:, 1:] == image[:, :-1], axis=2)
    inner = ~np.any((image == image.min((0, 1))) | (image == image.max((0, 1))), axis=2)[:, 1:]
    return float(np.mean(same & inner))
