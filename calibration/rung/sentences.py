"""The ladder in words: what was found, how many points it costs, what to do first. Pure."""

import math

from calibration.check_result import KernelFamily, OutputError, Rung
from calibration.paired import ALPHA, ENOUGH_LABELS, smallest_visible_points
from calibration.rung.advice import first_step
from calibration.rung.measured import DELEGATE, FLOAT, KERNELS, PREPROCESS, QUANTIZED, YOURS, Measured

_WHAT = {
    QUANTIZED: "the quantized model against its float twin",
    KERNELS: "this CPU's kernels against the recorded outputs",
    DELEGATE: "the delegate against this CPU",
    PREPROCESS: "this device's decoding and preprocessing against the recorded tensors",
    YOURS: "your preprocessing against the recorded tensors",
}


def points_in_words(rung: Rung) -> str:
    """``−4.7 points of accuracy (90 % interval −9.1 to −0.2)``, whether it is proven, or that no label
    can say."""
    if rung.points is None or rung.points_low is None or rung.points_high is None:
        return "no labels to say what it costs"
    interval = f"90 % interval {_signed(rung.points_low)} to {_signed(rung.points_high)}"
    if rung.labelled is not None and rung.labelled < ENOUGH_LABELS:
        interval += f"; of {rung.labelled} labelled inputs"
    if rung.points < 0 and rung.p is not None and rung.p > ALPHA:
        return f"an estimated loss of {-rung.points:.1f} points of accuracy, not proven ({interval})"
    return f"{_signed(rung.points)} points of accuracy ({interval})"


def _signed(points: float) -> str:
    return f"{points:+.1f}".replace("-", "−")


def rung_sentence(rung: Rung, m: Measured) -> str:
    """One rung: what, how many points, what to do."""
    if m.against is None:
        which = "the float model's" if m.name == FLOAT else "the recorded"
        accuracy = "" if rung.accuracy is None else f", {rung.accuracy:.1%} of {rung.labelled} labelled right"
        return f"The first rung: {which} answers to {rung.inputs} inputs{accuracy}."
    told = _difference(rung, m)
    evidence = _findings(m)
    if m.unanswered:
        told = f"the model cannot be fed with these tensors ({m.unfed}): "
        told += f"no answer to {m.unanswered} of {m.inputs + m.against.margin_inputs}"
    elif m.against.flips or rung.verdict != "ok":
        evidence.insert(0, told)
        told = points_in_words(rung)
    seen = m.tensors.sentence.rstrip(".") if m.tensors is not None else ""
    text = f"{_WHAT[m.name]}: {'; '.join(part for part in (told, seen) if part)}."
    if advice := _advice(rung, m):
        text += f" {advice}."
    if evidence:
        text += f" Seen: {'; '.join(evidence)}."
    return text[0].upper() + text[1:]


def _advice(rung: Rung, m: Measured) -> str:
    own = m.tensors.advice if m.tensors is not None else ""
    if rung.cause is not None:
        advice = own or first_step(rung.cause)
        return f"Do first: {advice}" if advice else ""
    if m.tensors is not None and m.tensors.who == "training" and m.tensors.within == "no":
        return f"Nothing to do on this device; {own}" if own else "Nothing to do on this device"
    if m.name == QUANTIZED and rung.verdict == "changed":
        return "Nothing to do on this device; `litewatch schemes` compares quantizations"
    return ""


def _difference(rung: Rung, m: Measured) -> str:
    assert m.against is not None
    a = m.against
    if not a.flips and not a.margin_flips and not _moved(a.error):
        return f"the same answers for {a.inputs + a.margin_inputs} inputs"
    margin = f" and {a.margin_flips} of the {a.margin_inputs} closest calls" if a.margin_inputs else ""
    return f"{a.flips} of {a.units} {a.unit} flip{margin}"


def _moved(error: OutputError | None) -> bool:
    return error is None or error.largest > 0


def _findings(m: Measured) -> list[str]:
    found = []
    if m.what:
        found.append(m.what)
    if m.wobbles is not None and 0 < m.wobbles < math.inf:
        found.append(f"outputs move {m.wobbles:.2g} times as much as one level of input noise moves them")
    if m.exact_wobbles is not None:
        inputs = f"{m.reference_inputs} inputs"
        if m.exact_wobbles == 0:
            found.append(f"plain kernels repeat the recorded outputs of {inputs} to the last bit")
        else:
            found.append(
                f"no kernels come nearer to the recorded outputs than {m.exact_wobbles:.2g} on {inputs}"
            )
    return found


def ladder_sentence(
    rungs: tuple[Rung, ...], decided: Rung | None, alpha: float, *, accepted: str = ""
) -> str:
    """The whole check in one sentence or two. ``accepted``: what training does otherwise than the spec,
    where this was seen here too."""
    if decided is not None:
        return decided.sentence
    inputs = max((rung.inputs for rung in rungs), default=0)
    tested = [rung for rung in rungs if rung.p is not None]
    labelled = min((rung.labelled or 0 for rung in tested), default=0)
    visible = smallest_visible_points(labelled, alpha, tests=len(tested)) if tested else None
    if visible is not None and labelled >= ENOUGH_LABELS:
        blind = (
            f" By accuracy alone a loss under {visible:.1f} points could not be seen ({labelled} labelled "
            "inputs); tensors and outputs were compared."
        )
    else:
        blind = " Accuracy was not compared: too few labels; tensors and outputs were."
    families = [family for rung in rungs for family in rung.families]
    said = f"This machine answers {inputs} golden inputs as recorded, within rounding."
    if accepted:
        said = (
            f"This machine computes what its bundle says on {inputs} golden inputs, within rounding; "
            f"training fed something else, which was accepted when packing: {accepted.rstrip('.')}."
        )
    return said + _most(families) + blind


def _most(families: list[KernelFamily]) -> str:
    """Which kernels moved most."""
    if not any(family.flips or family.error.largest for family in families):
        return ""
    family = max(families, key=lambda each: (each.flips / max(each.inputs, 1), each.error.largest))
    return f" Of the kernels {family.name} moved most: {family.flips} of {family.inputs} inputs flip."
