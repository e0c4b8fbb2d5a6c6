"""How a result's names and numbers are said in a report."""

import math
import re

from calibration.check_result import CheckResult, OutputError, Rung
from calibration.paired import ALPHA

_NARROW, _MINUS = "\N{NARROW NO-BREAK SPACE}", "\N{MINUS SIGN}"
_UNMEASURABLE = 1e30
_LONGEST_TITLE, _LONGEST_NAME = 150, 48
_PLAIN_TITLES = {
    "ok": "This device computes what was recorded.",
    "changed": "This device answers differently from what was recorded.",
    "harmful": "This device answers worse than what was recorded.",
}
_QUANTIZED_TITLES = {
    "changed": "The quantized model answers differently from its float twin.",
    "harmful": "The quantized model answers worse than its float twin.",
}
"""When the recorded models are all that differs: then nothing is said of the device."""

_RUNGS = {
    "float": "Float model",
    "quantized": "Quantized model",
    "kernels": "This CPU’s kernels",
    "delegate": "This delegate",
    "preprocess": "This device’s preprocessing",
    "your preprocessing": "Your preprocessing",
}
_RUNGS_SHORT = {
    "float": "Float model",
    "quantized": "Quantized model",
    "kernels": "CPU kernels",
    "delegate": "Delegate",
    "preprocess": "Preprocessing",
    "your preprocessing": "Your preprocessing",
}
_RUNGS_EXPLAINED = {
    "float": "recorded when the bundle was packed",
    "quantized": "recorded when the bundle was packed, reference kernels",
    "kernels": "recorded input tensors, run here",
    "delegate": "recorded input tensors, run here on the delegate",
    "preprocess": "golden originals decoded and prepared here",
    "your preprocessing": "golden originals prepared by your code",
}
_CAUSES = {
    "quantization": "Quantization",
    "kernels": "The CPU’s kernels",
    "delegate": "The delegate",
    "hardware": "The hardware",
    "source": "The source of the frames",
    "float": "The model itself",
}
_EVIDENCE = {
    "accuracy": "an exact test on right and wrong answers",
    "flips": "answers that changed",
    "margins": "close calls that changed",
    "outputs": "the output numbers",
    "tensors": "the input tensors",
}
_FLIPS = {
    "classification": "Answers changed",
    "detection": "Boxes without a match",
    "regression": "Values beyond tolerance",
}
VERDICTS = {"ok": "OK", "changed": "Changed", "harmful": "Harmful"}


def rung_title(name: str) -> str:
    return _RUNGS.get(name, name)


def rung_short(name: str) -> str:
    """For a row of a picture, where two texts must stand beside each other on a phone."""
    return _RUNGS_SHORT.get(name, name)


def rung_explained(name: str) -> str:
    return _RUNGS_EXPLAINED.get(name, "")


def cause_title(cause: str) -> str:
    """``preprocess:resize`` → ``Preprocessing: resize``."""
    kind, _, rest = cause.partition(":")
    if rest:
        return f"{ {'preprocess': 'Preprocessing', 'data': 'The data'}.get(kind, kind) }: {rest}"
    return _CAUSES.get(cause, cause)


def evidence(rung: Rung) -> str:
    return ", ".join(_EVIDENCE[each] for each in rung.spoke)


def flips_title(task: str) -> str:
    return _FLIPS.get(task, "Answers changed")


def flips_text(rung: Rung, task: str) -> str:
    """``7 of 128 (5.5 %)``, ``5 of 61 boxes (8.2 %)``; boxes are more than one an input, so that without
    their number they are no share."""
    if task != "detection":
        return share_text(rung.flips, rung.inputs)
    if rung.units is None:
        return f"{rung.flips} in {rung.inputs} inputs"
    return share_text(rung.flips, rung.units, " boxes")


def share_text(count: int, total: int, what: str = "") -> str:
    return f"{count} of {total}{what}" + (f" ({percent(count / total)})" if total else "")


def accuracy_text(rung: Rung) -> str:
    """``75.0 % of 4 labelled``; a dash without labels."""
    if rung.accuracy is None:
        return "–"
    return percent(rung.accuracy) + (f" of {rung.labelled} labelled" if rung.labelled else "")


def not_proven(rung: Rung) -> bool:
    """Whether the points are a loss that the exact test does not show."""
    return rung.points is not None and rung.points < 0 and rung.p is not None and rung.p > ALPHA


def percent(share: float) -> str:
    """0.8481 → ``84.8 %``."""
    return f"{share * 100:.1f}{_NARROW}%"


def percent_interval(low: float, high: float) -> str:
    return f"{low * 100:.1f} to {high * 100:.1f}{_NARROW}%"


def signed(points: float) -> str:
    """−4.7, +0.3, 0.0."""
    text = f"{abs(points):.1f}"
    return text if float(text) == 0 else (_MINUS if points < 0 else "+") + text


def points_text(points: float) -> str:
    return f"{signed(points)} {'point' if abs(round(points, 1)) == 1 else 'points'}"


def points_with_interval(points: float, low: float | None, high: float | None) -> str:
    inside = "" if low is None or high is None else f" ({signed(low)} to {signed(high)})"
    return points_text(points) + inside


def number(value: float) -> str:
    """Four significant digits, without exponents where they can be avoided."""
    if not math.isfinite(value) or abs(value) > _UNMEASURABLE:
        return "not a number"
    if value == 0 or 1e-3 <= abs(value) < 1e6:
        text = f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
    else:
        mantissa, _, exponent = f"{value:.2e}".partition("e")
        text = f"{float(mantissa):g}e{int(exponent)}"
    return text.replace("-", _MINUS)


def decibels(snr_db: float | None) -> str:
    return "equal" if snr_db is None else f"{number(round(snr_db, 1))} dB"


def output_error(error: OutputError) -> tuple[str, str]:
    """The signal-to-noise ratio, and the numbers behind it."""
    if error.snr_db is None and error.largest == 0:
        return "none", "equal bit for bit"
    return f"SNR {decibels(error.snr_db)}", f"largest {number(error.largest)}, mean {number(error.mean)}"


def headline(sentence: str) -> tuple[str, str]:
    """The first sentence, which is a report's title, and what follows it."""
    end = re.search(r"(?<=[^.\s]{2})[.!?]\s+(?=\S)", sentence)
    return (sentence, "") if end is None else (sentence[: end.start() + 1], sentence[end.end() :])


def check_headline(result: CheckResult) -> tuple[str, str]:
    """A check's sentence as title and text; a first sentence too long for a title gets a short one."""
    first, rest = headline(result.sentence)
    if 0 < len(first) <= _LONGEST_TITLE:
        return first, rest
    return _short_title(result), result.sentence


def _short_title(result: CheckResult) -> str:
    """Who costs how much: “Your preprocessing costs 12.5 points: look at its step resize first.”

    The points are the whole rung's: more than one step may differ, the cause names the first.
    """
    blamed = blamed_rung(result)
    if blamed is None or result.cause is None:
        return _plain_title(result, blamed)
    kind, _, step = result.cause.partition(":")
    who = rung_title(blamed.name) if kind == "preprocess" else cause_title(result.cause)
    plural = kind == "kernels"
    first = f": look at its step {step} first" if kind == "preprocess" and step else ""
    if result.verdict == "harmful" and blamed.points is not None and blamed.points < 0:
        how = "an estimated " if not_proven(blamed) else ""
        return f"{who} {'cost' if plural else 'costs'} {how}{points_text(-blamed.points).lstrip('+')}{first}."
    return f"{who} {'change' if plural else 'changes'} what the model answers{first}."


def _plain_title(result: CheckResult, decided: Rung | None) -> str:
    """Where no cause is named: what differs from what, by the rung that decided."""
    if decided is None or result.verdict == "ok" or decided.name != "quantized":
        return _PLAIN_TITLES[result.verdict]
    if decided.points is not None and decided.points < 0 and "accuracy" in decided.spoke:
        how = "an estimated loss, not proven" if not_proven(decided) else "a loss"
        lost = points_text(-decided.points).lstrip("+")
        return f"The quantized model is {lost} below its float twin: {how}."
    return _QUANTIZED_TITLES[result.verdict]


def blamed_rung(result: CheckResult) -> Rung | None:
    """The rung that decided: the one whose sentence is the result's, else the one whose cause is the
    result's, of several the worst; None when all is ok or nothing says which."""
    if result.verdict == "ok":
        return None
    spoken = [rung for rung in result.rungs if rung.verdict == result.verdict and rung.cause == result.cause]
    said = [rung for rung in spoken if rung.sentence and rung.sentence == result.sentence]
    if said:
        return said[0]
    named = [rung for rung in result.rungs if result.cause is not None and rung.cause == result.cause]
    return max(named, key=lambda rung: tuple(VERDICTS).index(rung.verdict), default=None)


def short_name(name: str) -> str:
    """A golden input's name; of a long path the last two parts."""
    parts = name.replace("\\", "/").split("/")
    return name if len(name) <= _LONGEST_NAME or len(parts) < 3 else "…/" + "/".join(parts[-2:])


def probability(p: float) -> str:
    return "p < 0.0001" if p < 1e-4 else f"p = {p:.4f}" if p < 0.01 else f"p = {p:.2f}"


def golden_size(result: CheckResult) -> str:
    """``128 drawn blindly, 64 close calls``."""
    inputs = max((rung.inputs for rung in result.rungs), default=0)
    margin = max((rung.margin_inputs for rung in result.rungs), default=0)
    return f"{inputs} drawn blindly" + (f", {margin} close calls" if margin else "")


ORIGINS = {
    "recorded": "The golden tensors come from the training code itself. An OK on the preprocessing rung "
    "means: this device feeds the model what training fed it.",
    "self-made": "The golden tensors are self-made: they were computed from the bundle’s preprocessing "
    "spec when it was packed, not by the training code. They prove that this device agrees with the "
    "spec. They cannot prove that the spec agrees with training. To close that gap, pack with tensors "
    "recorded in training.",
    "unknown": "This bundle does not say who made its golden tensors, so agreement with training is not "
    "proven. Pack it again to record that.",
}
ORIGIN_TITLES = {
    "recorded": "Recorded by training code",
    "self-made": "Self-made from the spec",
    "unknown": "Not stated",
}
