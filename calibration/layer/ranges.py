"""Ranges that calibration chose badly, told from the ranges the float twin shows.

A representative set on another scale moves the input's range, and the ranges after it as far as
activations let them; one picture or noise leaves ranges short here and there; a single short range
is that tensor's own. A shortage counts only where it cuts off numbers that matter.
"""

from collections.abc import Sequence

import numpy as np

from calibration.layer.finding import Finding, others, place, ranges, times
from calibration.layer.measures import Measure

FIXED = ("SOFTMAX", "LOGISTIC", "TANH", "LOG_SOFTMAX")
"""Operators whose results have a range of their own, which nothing calibrates."""
_HANDED_ON = ("input", "QUANTIZE", "RESHAPE", "SQUEEZE", "EXPAND_DIMS", "TRANSPOSE", "SLICE", "STRIDED_SLICE",
              "GATHER", "AVERAGE_POOL_2D", "MAX_POOL_2D", "PAD", "PADV2")  # fmt: skip


def input_scale(measures: Sequence[Measure], real: bool) -> list[Finding]:
    """The input's range at least twice too wide at both ends (eight times at one), or under four fifths of
    what is seen with a tenth of the numbers outside. Without the real inputs a pile of 15 % at its ends
    is all that can be seen."""
    entry = _entry(measures)
    if entry is None:
        return []
    measure = measures[entry]
    beyond, at_ends = measure.below + measure.above, measure.at_low + measure.at_high
    if too_wide(measure):
        what = f"its range is {times(_span_ratio(measure))} too wide ({ranges(measure)})."
    elif beyond >= 0.1 and _span_ratio(measure) < 0.8:
        what = f"{beyond:.0%} of its numbers lie outside its range ({ranges(measure)})."
    elif not real and at_ends >= 0.15:
        what = (
            f"{at_ends:.0%} of its stored numbers lie at the ends of its range ({ranges(measure)}); "
            "certain only if the inputs are not really that black and white."
        )
    else:
        return []
    return [Finding(
        kind="scale",
        sentence=f"The input was calibrated on the wrong scale: {what}{_after(measures)} Quantize again with "
        "representative inputs that went through the training preprocessing.",
        tensors=((entry, f"wrong scale: {ranges(measure)}"),),
    )]  # fmt: skip


def too_wide(measure: Measure) -> bool:
    """Whether an input's range is so wide that dark or quiet inputs cannot be why."""
    if not measure.calibrated:
        return False
    (low, high), (seen_low, seen_high) = measure.calibrated, measure.seen
    margin = 0.2 * (seen_high - seen_low)
    ratio = _span_ratio(measure)
    return ratio >= 8 or (ratio >= 2 and low < seen_low - margin and high > seen_high + margin)


def _entry(measures: Sequence[Measure]) -> int | None:
    """The first tensor that stores the model's input in integers."""
    source = measures[0].pair.float
    return next((i for i, one in enumerate(measures) if one.calibrated and one.pair.float == source), None)


def _span_ratio(measure: Measure) -> float:
    (low, high), (seen_low, seen_high) = measure.calibrated or (0.0, 0.0), measure.seen
    return (high - low) / (seen_high - seen_low) if seen_high > seen_low else 1.0


def _after(measures: Sequence[Measure]) -> str:
    ratios = [_width(measures[i]) for i in _own_ranges(measures)]
    off = [ratio for ratio in ratios if not 0.8 <= ratio <= 1.25]
    return f" Of the {len(ratios)} ranges after it {len(off)} are more than a quarter off." if ratios else ""


def uniform_scale(measures: Sequence[Measure]) -> list[Finding]:
    """The ranges after the input are off by one factor: median at least 1.6, quartiles within 1.3. Too
    small under a right input is no scale: one dim picture does that."""
    places = _own_ranges(measures)
    if len(places) < 4:
        return []
    quarter, middle, three = np.quantile([_width(measures[i]) for i in places], (0.25, 0.5, 0.75))
    small = middle < 1 / 1.6 and _entry(measures) is None
    if not (middle > 1.6 or small) or three > 1.3 * quarter:
        return []
    wide = "small" if small else "wide"
    factor = times(float(1 / middle if small else middle))
    return [Finding(
        kind="scale",
        sentence=f"The calibrated ranges are all too {wide} by about the same factor, {factor} in the median "
        f"of {len(places)} tensors: the representative inputs had another scale than those the model sees. "
        "Quantize again with inputs that went through the training preprocessing.",
        tensors=tuple((i, f"calibrated range too {wide} by the common factor") for i in places),
    )]  # fmt: skip


def clipped(measures: Sequence[Measure]) -> list[Finding]:
    """Ranges that cut off a hundredth of the signal's energy, or a hundredth of the numbers where that is
    most of the error. With a fifth of all ranges short as well it is not a tensor, it is the calibration."""
    cut = [i for i, one in enumerate(measures) if one.calibrated and _cuts(one)]
    if not cut:
        return []
    places = _own_ranges(measures)
    short = [i for i in places if _reach(measures[i]) < 0.93]
    if len(short) >= max(3, len(places) / 5):
        return [_unlike(measures, places, short)]
    worst = max(cut, key=lambda i: measures[i].clip_noise / measures[i].signal)
    measure = measures[worst]
    return [Finding(
        kind="clipped",
        sentence=f"Clipped: {measure.saturated:.1%} of the numbers of {place(measure)} lie outside "
        f"its range ({ranges(measure)}){others(len(cut) - 1)}. The representative inputs did not reach that "
        "far: give more and more varied ones (one picture is not enough).",
        tensors=tuple((i, f"clipped: {ranges(measures[i])}") for i in cut),
    )]  # fmt: skip


def _unlike(measures: Sequence[Measure], places: Sequence[int], short: Sequence[int]) -> Finding:
    entry = _entry(measures)
    odd_input = [entry] if entry is not None and too_wide(measures[entry]) else []
    wide = [*odd_input, *(i for i in places if _width(measures[i]) > 1.4)]
    worst = min(short, key=lambda i: _reach(measures[i]))
    if wide:
        what = f", and {len(wide)} far too wide: noise, or inputs of another kind than the model sees"
    else:
        what = ", none too wide: one picture or a few, or noise, in place of varied ones"
    return Finding(
        kind="unlike",
        sentence=f"Calibrated on unlike inputs: {len(short)} of {len(places)} ranges are too small, each by "
        f"another factor{what}. Worst: {place(measures[worst])} "
        f"({ranges(measures[worst])}). "
        "Quantize again with a hundred or more inputs like those the model will see.",
        tensors=tuple((i, f"range too small: {ranges(measures[i])}") for i in short),
    )


def _cuts(measure: Measure) -> bool:
    if measure.pair.op == "input" or measure.signal == 0:
        return False
    most = measure.below + measure.above >= 0.01 and measure.clip_noise > measure.noise / 2
    return most or measure.clip_noise > measure.signal / 100


def _own_ranges(measures: Sequence[Measure]) -> list[int]:
    """Tensors whose range calibration chose: neither handed on from the one before nor a function's own."""
    return [
        i
        for i, one in enumerate(measures)
        if one.calibrated and one.pair.op not in (*FIXED, *_HANDED_ON) and one.seen[1] > one.seen[0]
    ]


def _width(measure: Measure) -> float:
    """Calibrated range against the range seen (with 0, which every calibrated range includes)."""
    low, high = measure.calibrated or (0.0, 0.0)
    return (high - low) / (max(measure.seen[1], 0.0) - min(measure.seen[0], 0.0))


def _reach(measure: Measure) -> float:
    """How far the calibrated range goes towards the end of the range seen, at its worse end; an end
    near zero does not count."""
    (low, high), (seen_low, seen_high) = measure.calibrated or (0.0, 0.0), measure.seen
    size = max(abs(seen_low), abs(seen_high)) / 10
    reaches = [end / seen for end, seen in ((-low, -seen_low), (high, seen_high)) if seen > size]
    return min(reaches, default=1.0)
