"""What a search found, in sentences: for the screen, and as the comment of the file it writes."""

import textwrap
from typing import Final

from agent.plain_text import plain_text
from calibration.search import Found

_AXES: Final = ("colour order", "values", "rotation", "crop", "interpolation")
_WIDTH: Final = 98
_NOT_SEARCHED: Final = (
    "Not searched: EXIF orientation (here: ignored, as Pillow and TensorFlow do), mirroring, the rounding "
    "of cast."
)


def verdict(found: Found) -> list[str]:
    """What won, what may as well be it, what is truly worse, and how far to believe it."""
    best, inputs = found.best, found.inputs
    kind = "labelled images" if found.labelled else "images without labels"
    right = "" if best.accuracy is None else f", {best.accuracy:.0%} right"
    sentences = [
        f"Best on {inputs} {kind} (score {best.score:.3f}{right}): {', '.join(best.candidate.words())}."
    ]
    alike, worse, unseen = _options(found)
    others = len(found.alike) - 1
    if others:
        specs = "1 spec that differs" if others == 1 else f"{others} specs that differ"
        sentences.append(f"Not to be told apart from it with these images: {specs} in {_listed(alike)}.")
    else:
        sentences.append("No other spec comes near it.")
    if worse:
        sentences.append(
            f"Truly worse (all together wrong at most {found.alpha:.0%} of the time): {_listed(worse)}."
        )
    if unseen:
        sentences.append(f"Left behind early and not tested: {_listed(unseen)}.")
    return sentences + _reservations(found)


def header(found: Found, model: str) -> str:
    """The comment above the spec: where it comes from and what could not be told apart."""
    origin = f"Found by litewatch preprocess find for {plain_text(model)}."
    lines = [origin, *verdict(found), _NOT_SEARCHED, "Check it against the training code."]
    wrapped = [part for line in lines for part in textwrap.wrap(line, _WIDTH, subsequent_indent="  ")]
    return "".join(f"# {line}\n" for line in wrapped)


def _options(found: Found) -> tuple[dict[str, list[str]], dict[str, list[str]], dict[str, list[str]]]:
    """By axis, the options of: specs like the best (its own left out), worse ones alone, dropped alone."""
    alike: dict[str, list[str]] = {}
    worse: dict[str, list[str]] = {}
    unseen: dict[str, list[str]] = {}
    for place, axis in enumerate(_AXES):
        near = {one.candidate.words()[place]: None for one in found.alike}
        far = {one.candidate.words()[place]: None for one in found.ranked if one.distinguishable}
        left = {drop.arm.words()[place]: None for drop in found.dropped}
        alike[axis] = [option for option in near if option != found.best.candidate.words()[place]]
        worse[axis] = [option for option in far if option not in near]
        unseen[axis] = [option for option in left if option not in near and option not in far]
    return _filled(alike), _filled(worse), _filled(unseen)


def _filled(options: dict[str, list[str]]) -> dict[str, list[str]]:
    return {axis: found for axis, found in options.items() if found}


def _listed(options: dict[str, list[str]]) -> str:
    return "; ".join(f"{axis}: {', '.join(found)}" for axis, found in options.items())


def _reservations(found: Found) -> list[str]:
    said = []
    if found.weak:
        said.append(
            "With none of them does the model work: only differences in accuracy were counted, and what is "
            "named best means little. Look at the model first, and at the labels."
        )
    if not found.labelled:
        said.append(
            "Without labels this is weaker evidence: confidence and agreement can be high where every "
            "answer is wrong. Crops and interpolations are left open: a larger object makes a model surer, "
            "however it was trained."
        )
    return said
