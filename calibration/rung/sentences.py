"""The ladder in words: what was found, how many points it costs, what to do first. Pure."""

from calibration.check_result import OutputError, Rung
from calibration.paired import smallest_visible_points
from calibration.rung.measured import DELEGATE, FLOAT, KERNELS, PREPROCESS, QUANTIZED, YOURS, Measured

_FIRST = {
    "quantization": "quantize again: representative data through the bundle's own preprocessing, weights per "
    "channel, or `litewatch schemes` for what costs least",
    "kernels": "run with other kernels (model.delegate: {kind: cpu, kernels: builtin}) and check again",
    "delegate": "run on the CPU (model.delegate: cpu) until the delegate's driver or model is replaced",
    "hardware": "copy the bundle again and check again; if it stays, test this machine's memory",
}
_STEPS = {
    "decode": "feed the original file, decoded to RGB as the spec says",
    "crop": "crop as the spec says",
    "resize": "resize with the method and aspect of the spec",
    "pad": "pad as the spec says",
    "rotate": "turn the picture as the spec says",
    "color": "give the channels in the order of the spec",
    "normalize": "scale the numbers as the spec says",
    "cast": "give the tensor the type, layout and rounding of the spec",
    "select": "take the columns of the spec, in its order",
    "impute": "fill what is missing as the spec says",
    "clip": "limit the values as the spec says",
    "standardize": "subtract the mean and divide by the deviation of the spec",
}
_WHAT = {
    QUANTIZED: "the quantized model against its float twin",
    KERNELS: "this CPU's kernels against the recorded outputs",
    DELEGATE: "the delegate against this CPU",
    PREPROCESS: "this device's decoding and preprocessing against the recorded tensors",
    YOURS: "your preprocessing against the recorded tensors",
}


def first_step(cause: str) -> str:
    """What to do first about ``cause``; "" when nothing is known to help."""
    kind, _, step = cause.partition(":")
    return _STEPS.get(step, "") if kind == "preprocess" else _FIRST.get(kind, "")


def points_in_words(rung: Rung) -> str:
    """``−4.7 points (90 % interval −9.1 to −0.2)``, or that no label can say."""
    if rung.points is None or rung.points_low is None or rung.points_high is None:
        return "no labels to say what it costs"
    interval = f"90 % interval {_signed(rung.points_low)} to {_signed(rung.points_high)}"
    return f"{_signed(rung.points)} points of accuracy ({interval})"


def _signed(points: float) -> str:
    return f"{points:+.1f}".replace("-", "−")


def rung_sentence(rung: Rung, m: Measured) -> str:
    """One rung: what, how many points, what to do."""
    if m.against is None:
        which = "the float model's" if m.name == FLOAT else "the recorded"
        accuracy = "" if rung.accuracy is None else f", {rung.accuracy:.1%} right"
        return f"The first rung: {which} answers to {rung.inputs} inputs{accuracy}."
    told = _difference(rung, m)
    evidence = _findings(m)
    if m.against.flips or rung.verdict != "ok":
        evidence.insert(0, told)
        told = points_in_words(rung)
    seen = m.tensors.sentence.rstrip(".") if m.tensors is not None else ""
    text = f"{_WHAT[m.name]}: {'; '.join(part for part in (told, seen) if part)}."
    if rung.cause is not None and (advice := first_step(rung.cause)):
        text += f" Do first: {advice}."
    if evidence:
        text += f" Seen: {'; '.join(evidence)}."
    return text[0].upper() + text[1:]


def _difference(rung: Rung, m: Measured) -> str:
    assert m.against is not None
    a = m.against
    if not a.flips and not a.margin_flips and not _moved(a.error):
        return f"the same answers for {a.inputs + a.margin_inputs} inputs"
    margin = f" and {a.margin_flips} of the {a.margin_inputs} closest calls" if a.margin_inputs else ""
    return f"{a.flips} of {a.units} answers flip{margin}"


def _moved(error: OutputError | None) -> bool:
    return error is None or error.largest > 0


def _findings(m: Measured) -> list[str]:
    found = []
    if m.what:
        found.append(m.what)
    if m.wobbles is not None and m.wobbles > 0:
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


def ladder_sentence(rungs: tuple[Rung, ...], decided: Rung | None, alpha: float) -> str:
    """The whole check in one sentence or two."""
    if decided is not None:
        return decided.sentence
    labelled = max((rung.inputs for rung in rungs if rung.accuracy is not None), default=0)
    inputs = max((rung.inputs for rung in rungs), default=0)
    visible = smallest_visible_points(labelled, alpha) if labelled else None
    blind = (
        f" By accuracy alone a loss under {visible:.1f} points could not be seen; tensors and outputs "
        "were compared."
        if visible is not None
        else " Accuracy was not compared: too few labels; tensors and outputs were."
    )
    return f"This machine answers {inputs} golden inputs as recorded, within rounding.{blind}"
