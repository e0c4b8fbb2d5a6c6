"""How the array lies in memory, how the picture is turned and what it roughly shows, together.

On thumbnails, because none of the three can be judged while another is wrong; every reading of the
array, each of the eight turns and every usual crop are tried against each other.
"""

from collections.abc import Sequence
from itertools import product

import cv2
import numpy as np

from agent.contracts import Array, Image
from agent.preprocess.geometry import Size
from calibration.hypothesis.color import Colour, choose
from calibration.hypothesis.form import Reading
from calibration.hypothesis.geometry import RULES, Rule
from calibration.hypothesis.hypothesis import Floats, pooled, unexplained
from calibration.hypothesis.orientation import TURNS, Turn
from calibration.hypothesis.values import looked_up

THUMB = 24
EXACT = 0.002
"""Unexplained share below which the picture is the spec's (about 2.5 levels of 255)."""
_FEW = 8
_IN_PLACE = 0.15
_OTHER = 1.25
_OTHER_RULE = 1.1
"""By how much the spec's own way may be worse and is still kept."""


def best_reading(
    ways: Sequence[Reading], found: Sequence[Array], bases: Sequence[Floats], options: Sequence[Colour]
) -> tuple[Reading, Colour, float]:
    """With the spec's own geometry: the reading and colour that leave least, and the share they leave."""
    step = max(bases[0].shape[0] // 56, 1)
    predicted = pooled(bases, step)
    best = ways[0], options[0], 2.0
    for way in ways:
        numbers = pooled([way.apply(f) for f in found], step)
        colour, share = choose(options, predicted, numbers)
        share = min(share, looked_up(np.clip(colour.apply(predicted), 0, 255), numbers))
        if share < best[2] * 0.6:
            best = way, colour, share
        if best[2] <= EXACT:
            break
    # With the picture out of place the channels cannot be told apart yet.
    return best if best[2] < _IN_PLACE else (best[0], options[0], best[2])


def coarse(
    ways: Sequence[Reading],
    found: Sequence[Array],
    pixels: Sequence[Image],
    bases: Sequence[Floats],
    size: Size,
    colour: Colour,
) -> tuple[Reading, Turn, Rule | None]:
    """Reading, turn and rule (None: the spec's) that explain the first samples' thumbnails best.

    ``pixels``: the originals behind the spec's ``rotate``; ``size``: the tensor's height and width."""
    few = range(min(len(found), _FEW))
    rules: list[Rule | None] = [None, *RULES]
    thumbs = [[_predicted(rule, pixels[i], bases[i], size, colour) for i in few] for rule in rules]
    scores = np.empty((len(ways), len(TURNS), len(rules)))
    for w, way in enumerate(ways):
        small = [_thumb(way.apply(found[i])) for i in few]
        for (t, turn), r in product(enumerate(TURNS), range(len(rules))):
            shares = [_left(*thumbs[r][i], turn.undo(small[i])) for i in few]
            scores[w, t, r] = float(np.mean(shares))
    scores[1:] *= _OTHER
    scores[:, 1:] *= _OTHER
    scores[:, :, 1:] *= _OTHER_RULE
    w, t, r = (int(at) for at in np.unravel_index(int(np.argmin(scores)), scores.shape))
    return ways[w], TURNS[t], rules[r]


def _thumb(image: Floats) -> Floats:
    plane = np.ascontiguousarray(image.mean(2, dtype=np.float32))
    return np.asarray(cv2.resize(plane, (THUMB, THUMB), interpolation=cv2.INTER_AREA))


def _predicted(
    rule: Rule | None, pixels: Image, base: Floats, size: Size, colour: Colour
) -> tuple[Floats, Array]:
    """A thumbnail of what the rule predicts, and where it predicts anything."""
    if rule is None:
        return _thumb(colour.apply(base)), np.ones((THUMB, THUMB), bool)
    place = rule.place((pixels.shape[0], pixels.shape[1]), size)
    left, top, right, bottom = (round(v) for v in place.source)
    cut = pixels[max(top, 0) : max(bottom, 1), max(left, 0) : max(right, 1)]
    x0, y0, x1, y1 = (round(v * THUMB / size[1 - i % 2]) for i, v in enumerate(place.target))
    made, mask = np.zeros((THUMB, THUMB), np.float32), np.zeros((THUMB, THUMB), bool)
    if x1 > x0 and y1 > y0 and cut.size:
        part = cv2.resize(np.ascontiguousarray(cut), (x1 - x0, y1 - y0), interpolation=cv2.INTER_AREA)
        made[y0:y1, x0:x1] = colour.apply(part.astype(np.float32)).mean(2)
        mask[y0:y1, x0:x1] = True
    return made, mask


def _left(predicted: Floats, mask: Array, found: Floats) -> float:
    """Unexplained share, where what lies outside ``mask`` should be one constant."""
    total = float(np.var(found)) * found.size
    if total <= 0 or np.count_nonzero(mask) < 8:
        return 1.0
    inside = found[mask]
    rest = unexplained(predicted[mask][:, None], inside[:, None]) * float(np.var(inside)) * inside.size
    if not mask.all():
        rest += float(np.var(found[~mask])) * np.count_nonzero(~mask)
    return rest / total
