"""Why a quantized model's layers differ from its float twin's: the usual culprits, told by numbers.

Every rule looks at what calibration and rounding did, never at a name. The thresholds are stated
beside the rules; docs/layers.md says on which models they were tried. Causes come before their
consequences: a range that is wrong because the input's is wrong is not accused a second time.
"""

from collections.abc import Sequence
from statistics import median

import numpy as np

from calibration.layer.finding import Finding, decibels, others, place, times
from calibration.layer.measures import Measure
from calibration.layer.ranges import FIXED, clipped, input_scale, too_wide, uniform_scale
from calibration.layer.weights import COARSE_STEPS, WeightMeasure

FINE_DB = 30.0
"""Better than this counts as this: 8-bit rounding alone leaves 25 to 50 dB."""
DROP_DB = 6.0
"""A tensor at which half the signal-to-noise amplitude is lost."""


def find(
    measures: Sequence[Measure], weights: Sequence[WeightMeasure], *, real: bool = False
) -> tuple[Finding, ...]:
    """The culprits, causes first; nothing for a healthy model.

    ``real``: the float twin was given the true real numbers, not the quantized model's input read
    back; only then is it certain what the input's range cuts off.
    """
    retrained = _retrained(weights)
    altered = _corrupted(weights, bool(retrained))
    coarse = [] if retrained else _per_tensor(measures, weights)
    calibrated = _calibrated(measures, real)
    scaled = any(one.kind == "scale" for one in calibrated)
    constant = [] if altered or coarse or scaled else _constant(measures)
    return (*altered, *calibrated, *coarse, *constant, *_ties(measures), *retrained)


def _calibrated(measures: Sequence[Measure], real: bool) -> list[Finding]:
    """The wrong scale explains ranges that are too small after it; ranges too small after an input that
    is too wide contradict it, as noise does."""
    scale = input_scale(measures, real) or uniform_scale(measures)
    cut = clipped(measures)
    wide = any(too_wide(one) for one in measures[:2])  # the input, or what QUANTIZE makes of it
    noise = wide and any(one.kind == "unlike" for one in cut)
    return cut if noise or not scale else scale


def drop_db(measures: Sequence[Measure], position: int) -> float:
    """Signal to noise lost at a tensor against the worst it is made from, both at most ``FINE_DB``."""
    own = _fine(measures[position])
    return min((_fine(measures[before]) for before in measures[position].pair.after), default=FINE_DB) - own


def _fine(measure: Measure) -> float:
    if measure.snr_db is None or measure.signal == 0:
        return FINE_DB
    return min(measure.snr_db, FINE_DB)


def _retrained(weights: Sequence[WeightMeasure]) -> list[Finding]:
    """More than a third of the tensors are not the twin's rounded ones: another training made them."""
    tensors = [one for one in weights if not one.bias]
    off = [one for one in tensors if one.largest_steps > 1]
    if len(off) * 3 <= len(tensors) or len(off) < 2:
        return []
    away = median(one.relative for one in off)
    return [Finding(
        kind="retrained",
        sentence=f"The weights are not the float model's rounded ones: {len(off)} of {len(tensors)} tensors "
        f"differ by more than rounding (half of them by more than {away:.0%}). After quantization-aware "
        "training that is as it should be; otherwise this float model is not the one that was quantized.",
    )]  # fmt: skip


def _corrupted(weights: Sequence[WeightMeasure], retrained: bool) -> list[Finding]:
    """Beyond rounding where the others are not; in a retrained model, far out of line with the others
    (its largest healthy difference here was 28 %, four times the median)."""
    found = []
    for bias in (False, True):
        group = [one for one in weights if one.bias == bias]
        usual = median([one.relative for one in group]) if group else 0.0
        for one in group:
            odd = one.relative > max(0.6, 4 * usual)
            # A bias that 32 bits cannot hold is the doing of its scale, which is found by itself.
            beyond = (
                one.largest_steps > 1 if not bias else 2 < one.largest_steps < 2**31 and one.relative > 0.01
            )
            if odd if retrained else beyond:
                found.append(_altered(one))
    return found


def _altered(one: WeightMeasure) -> Finding:
    what = "bias" if one.bias else "weights"
    verb = "is" if one.bias else "are"
    return Finding(
        kind="weights",
        sentence=f"The {what} '{one.name.split(';')[0]}' {verb} not the float model's: {one.off:.2%} "
        f"of the numbers are off by more than rounding, the worst by {one.largest_steps:.0f} steps, "
        f"{one.relative:.0%} of the norm. Other tensors agree, so this one was altered or damaged: convert "
        "again and compare the file's SHA-256.",
        tensors=((one.position, f"{what} differ from the float model's by more than rounding"),),
    )


def _per_tensor(measures: Sequence[Measure], weights: Sequence[WeightMeasure]) -> list[Finding]:
    """Channel ranges at least ten times apart under one scale, a tenth of the channels with under 3
    bits, and at one of the tensors the signal is lost."""
    coarse = [one for one in weights if not one.bias and one.spread >= 10 and one.coarse >= 0.1]
    if not any(drop_db(measures, one.position) >= DROP_DB for one in coarse):
        return []
    worst = max(coarse, key=lambda one: drop_db(measures, one.position))
    measure = measures[worst.position]
    like = f"{len(coarse)} tensors are like it. " if len(coarse) > 1 else ""
    return [Finding(
        kind="per-tensor",
        sentence=f"Per-tensor weights: all channels of {place(measure)} share one scale. Their "
        f"ranges are {times(worst.spread)} apart, so {worst.coarse:.0%} of the channels have fewer than "
        f"{COARSE_STEPS} steps left, and the signal falls to {decibels(measure)} there. {like}"
        "Quantize weights per channel; where the target needs one scale, equalize the ranges or train with "
        "quantization.",
        tensors=tuple(
            (one.position, f"per-tensor weights: channel ranges {times(one.spread)} apart") for one in coarse
        ),
    )]  # fmt: skip


def _constant(measures: Sequence[Measure]) -> list[Finding]:
    """Channels that hold one number here while the twin's vary by more than four steps and a hundredth
    of the tensor's range."""
    found = []
    for i, one in enumerate(measures):
        channels = one.channel_low.size
        if one.pair.op in ("input", *FIXED) or channels < 2 or one.numbers < 8 * channels:
            continue
        varies = max(4 * one.step, (one.seen[1] - one.seen[0]) / 100)
        still = one.channel_low_here == one.channel_high_here
        dead = int(np.count_nonzero(still & (one.channel_high - one.channel_low > varies)))
        if dead:
            found.append((i, dead, channels))
    if not found:
        return []
    worst, dead, channels = max(found, key=lambda one: one[1] / one[2])
    return [Finding(
        kind="constant",
        sentence=f"Dead channels: {dead} of {channels} channels of {place(measures[worst])} hold one "
        f"number for every input while the float model's vary{others(len(found) - 1)}. Look at the weights "
        "and the bias of those channels.",
        tensors=tuple((i, f"{count} of {size} channels constant") for i, count, size in found),
    )]  # fmt: skip


def _ties(measures: Sequence[Measure]) -> list[Finding]:
    """The best score shared by several outputs on a twentieth of the inputs, at least two, where the
    tensor is one set of scores an input."""
    for i in reversed(range(len(measures))):
        one = measures[i]
        scores = one.pair.op in ("SOFTMAX", "LOGISTIC") and one.numbers == one.inputs * one.channel_low.size
        if scores and one.calibrated and one.ties >= max(2, one.inputs / 20):
            return [Finding(
                kind="ties",
                sentence=f"8-bit ties: on {one.ties} of {one.inputs} inputs several outputs share the best "
                f"score of {place(one)}, because one step of it is {one.step:.4f}; the first of them wins. "
                "Take the class from the tensor before it, or keep this operator in float.",
                tensors=((i, f"best score tied on {one.ties} of {one.inputs} inputs"),),
            )]  # fmt: skip
    return []
