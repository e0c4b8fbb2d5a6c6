"""Verdicts: when a rung is ok, changed or harmful, and what to name as its cause. Pure.

**harmful** is what is proven: the exact McNemar test, Holm-corrected over the rungs of the ladder, at
``ALPHA``; so of all healthy machines at most one in a hundred is accused by it. Where too few inputs
have labels for that, a rung is also harmful when so many answers flip that no rounding explains it
(``WIDE``: the 90 % interval of the share of flips lies above it) and the labels, if there are any, point
the same way.

**changed** is a difference beyond tolerance. Two kinds of evidence name a cause without a proven loss.
Input tensors: whatever is beyond tolerance there is a fact and no estimate, and its step is named. Output
numbers: they are measured in *wobbles*, the mean distance that one 8-bit level of noise at the input
makes (``wobble``). Rounding in correct kernels made at most 1.14 of it; from ``NAMED`` on, a
rung computes something else. Reference kernels are plain code: they repeat the recorded outputs to the
last bit on the same runtime, and to ``EXACT_ELSEWHERE`` wobbles on others; where they do not, what
computes here is not the recorded model, and the cause is the hardware.

**ok** is equal or within those tolerances.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from agent.monitor.accuracy import wilson
from agent.monitor.wobble import NAMED, ROUNDING
from calibration.check_result import Evidence, Rung, Verdict
from calibration.paired import ALPHA, ENOUGH_LABELS, holm, mcnemar, paired_points
from calibration.rung.measured import DELEGATE, KERNELS, QUANTIZED, Measured, Paired
from calibration.rung.sentences import rung_sentence

NOTICED_P = 0.01
"""Of "no more flips than one level of input noise makes"."""
UNLIKE_P = 0.05
"""The same for a quantized model against its float twin, of which only ``changed`` follows."""
EXACT_HERE, EXACT_ELSEWHERE = 0.05, 0.6
"""Wobbles by which reference kernels may differ: on the runtime and architecture of the recording (sums
in another order), and on others (a dynamic-range model differs by up to .45 between two runtimes)."""
WIDE = 0.15
"""Share of flips above which answers are not the model's any more."""
WIDE_QUANTIZED, QUANTIZED_MANY, QUANTIZED_SOME = 0.5, 0.25, 0.2
"""The same for a quantized model against its float twin: harmful, named, and named where the labels also
say so. Quantization-aware training alone flips a sixth of the answers of a good model."""
NOTABLE_POINTS, UNQUIET_POINTS = 3.0, 1.0
"""Estimated losses that count beside many flips, and that are mentioned at all."""
NET_LOSSES = 3
"""Losses beyond the gains from which a loss is estimated: one input more or less is no estimate."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Opinion:
    verdict: Verdict
    cause: str | None = None
    spoke: tuple[Evidence, ...] = ()


def judge(measured: Sequence[Measured]) -> tuple[Rung, ...]:
    """The ladder's rungs with verdicts, causes and sentences, in the order given."""
    p_of = _corrected({m.name: m.against for m in measured if m.against is not None and m.against.labelled})
    return tuple(_rung(m, p_of.get(m.name)) for m in measured)


def _corrected(labelled: Mapping[str, Paired]) -> dict[str, float]:
    """p of each rung, Holm-corrected over those on which any outcome differs.

    The test is conditional on how many outcomes differ, whichever way. Where none does it can say nothing
    (p is 1 whatever is true), and to leave it out depends on that number alone, not on how it falls: the
    smallest case of R. E. Tarone, "A modified Bonferroni method for discrete data", Biometrics 46 (1990).
    No rung is left out for its p.
    """
    telling = {name: a for name, a in labelled.items() if a.lost + a.gained}
    adjusted = holm([mcnemar(a.lost, a.gained) for a in telling.values()])
    return dict.fromkeys(labelled, 1.0) | dict(zip(telling, adjusted, strict=True))


def _rung(m: Measured, p: float | None) -> Rung:
    low, high = wilson(m.right, m.labelled) if m.labelled else (None, None)
    bare = Rung(
        name=m.name,
        verdict="ok",
        inputs=m.inputs,
        flips=0,
        compared=m.compared,
        accuracy=m.right / m.labelled if m.labelled else None,
        low=low,
        high=high,
        families=m.families,
        labelled=m.labelled,
        latency_ms=m.latency_ms,
    )
    if m.against is None:
        return replace(bare, sentence=rung_sentence(bare, m))
    points = paired_points(m.against.lost, m.against.gained, m.against.labelled)
    known = m.against.labelled > 0
    opinion = _opinion(m, m.against, p)
    judged = replace(
        bare,
        verdict=opinion.verdict,
        cause=opinion.cause,
        spoke=opinion.spoke,
        flips=m.against.flips,
        units=m.against.units,
        points=points[0] if known else None,
        points_low=points[1] if known else None,
        points_high=points[2] if known else None,
        p=p,
        margin_inputs=m.against.margin_inputs,
        margin_flips=m.against.margin_flips,
        error=m.against.error,
    )
    return replace(judged, sentence=rung_sentence(judged, m))


def _opinion(m: Measured, against: Paired, p: float | None) -> _Opinion:
    proven = p is not None and p <= ALPHA and against.lost > against.gained
    if m.name == QUANTIZED:
        return _quantization(m, against, proven)
    if m.tensors is not None:
        return _preparation(m, against, proven)
    return _computation(m, against, proven)


def _quantization(m: Measured, against: Paired, proven: bool) -> _Opinion:
    """A quantized model differs from its float twin always; how much is too much is a question of
    accuracy first."""
    if proven:
        return _Opinion(verdict="harmful", cause="quantization", spoke=("accuracy",))
    if against.share_low >= WIDE_QUANTIZED and _points_agree(against):
        return _Opinion(verdict="harmful", cause="quantization", spoke=("flips",))
    enough = against.labelled >= ENOUGH_LABELS
    estimate = paired_points(against.lost, against.gained, against.labelled)[0]
    many = against.share_low >= QUANTIZED_MANY and (not enough or estimate <= 0)
    lossy = enough and against.lost - against.gained >= NET_LOSSES
    costly = against.share_low >= QUANTIZED_SOME and lossy and estimate <= -NOTABLE_POINTS
    if many or costly:
        spoke: tuple[Evidence, ...] = ("flips", "accuracy") if costly else ("flips",)
        return _Opinion(verdict="changed", cause="quantization", spoke=spoke)
    if lossy and estimate <= -UNQUIET_POINTS:
        return _Opinion(verdict="changed", spoke=("accuracy",))
    wide = against.share_low >= WIDE and (m.wobbles is None or m.wobbles > ROUNDING)
    far = wide or m.excess_p <= UNLIKE_P
    return _Opinion(verdict="changed", spoke=("flips",)) if far else _Opinion(verdict="ok")


def _preparation(m: Measured, against: Paired, proven: bool) -> _Opinion:
    """Input tensors beyond tolerance are a fact: changed at least, and the step is named. But where they
    are the spec's, and training was known to differ from it when packing, only a proven loss counts."""
    assert m.tensors is not None
    cause = f"preprocess:{m.tensors.step or 'decode'}"
    if proven:
        return _Opinion(verdict="harmful", cause=cause, spoke=("accuracy", "tensors"))
    if m.tensors.accepted:
        return _Opinion(verdict="ok")
    if m.tensors.within == "no":
        if against.share_low >= WIDE and _points_agree(against):
            return _Opinion(verdict="harmful", cause=cause, spoke=("flips", "tensors"))
        return _Opinion(verdict="changed", cause=cause, spoke=("tensors",))
    if m.tensors.within == "tolerance" and _far(m):
        return _Opinion(verdict="changed", cause=cause, spoke=("outputs", "tensors"))
    return _Opinion(verdict="ok")


def _computation(m: Measured, against: Paired, proven: bool) -> _Opinion:
    """The same input tensors, another computer."""
    spoke = _spoke(m, against)
    cause, inexact = _computing_cause(m)
    if proven:
        return _Opinion(verdict="harmful", cause=cause, spoke=("accuracy", *spoke))
    if (_far(m) or inexact) and against.share_low >= WIDE and _points_agree(against):
        return _Opinion(verdict="harmful", cause=cause, spoke=("flips", "outputs"))
    if _far(m) or inexact:
        return _Opinion(verdict="changed", cause=cause, spoke=("outputs",))
    if spoke or (m.exact_wobbles or 0.0) > EXACT_HERE:
        return _Opinion(verdict="changed", spoke=spoke or ("outputs",))
    return _Opinion(verdict="ok")


def _computing_cause(m: Measured) -> tuple[str, bool]:
    """The cause to name, and whether the reference kernels themselves are off."""
    if m.name == DELEGATE:
        return "delegate", False
    allowed = EXACT_HERE if m.exact_runtime else EXACT_ELSEWHERE
    inexact = m.name == KERNELS and m.exact_wobbles is not None and m.exact_wobbles > allowed
    return ("hardware" if inexact else "kernels"), inexact


def _far(m: Measured) -> bool:
    return m.wobbles is not None and m.wobbles >= NAMED


def _spoke(m: Measured, against: Paired) -> tuple[Evidence, ...]:
    """What lies beyond rounding: the outputs, or flips (of the margin stratum, of the random one)."""
    found: list[Evidence] = []
    if (m.wobbles is None and against.distance > 0) or (m.wobbles or 0.0) > ROUNDING:
        found.append("outputs")
    if m.excess_p <= NOTICED_P:
        found.append("flips" if against.flips else "margins")
    return tuple(found)


def _points_agree(against: Paired) -> bool:
    """Whether the labels, if enough, also say that accuracy fell."""
    return against.labelled < ENOUGH_LABELS or against.lost > against.gained


def overall(rungs: Sequence[Rung]) -> tuple[Verdict, str | None, Rung | None]:
    """The ladder's verdict, its one cause, and the rung that decided (None when all is ok).

    The cause is that of the harmful rung with the largest loss; else of a changed rung that names one,
    tensor evidence before output evidence, then by loss; else None.
    """
    harmful = [rung for rung in rungs if rung.verdict == "harmful"]
    if harmful:
        worst = min(harmful, key=_severity)
        return "harmful", worst.cause, worst
    changed = [rung for rung in rungs if rung.verdict == "changed"]
    named = [rung for rung in changed if rung.cause is not None]
    if named:
        first = min(named, key=lambda rung: ("tensors" not in rung.spoke, *_severity(rung)))
        return "changed", first.cause, first
    return ("changed", None, min(changed, key=_severity)) if changed else ("ok", None, None)


def _severity(rung: Rung) -> tuple[float, float]:
    """Sorts the worst first: by points lost, then by the share of flips."""
    return (rung.points or 0.0, -rung.flips / max(rung.units or rung.inputs, 1))
