"""Why a device is less accurate, as far as its messages tell: one cause at most, and how strong it is.

Pure. The order is that of certainty: a preprocessing that is known to differ, then what the newest
check found on the device itself, then a drift that was tested and alarmed, then nothing. Only a check
can prove that accuracy was lost by its cause; the evidence says what was measured and what was not.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from agent.telemetry.messages import About, Accuracy, Alarm, Check


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """``cause`` in the words of the design (``preprocess:<step>``, ``data:<family>``), or None."""

    cause: str | None
    evidence: str
    fell: bool
    """Whether labels show accuracy below the reference by more than chance explains."""


def find_cause(
    *,
    differs: Sequence[str],
    about: About | None,
    alarms: Sequence[Alarm],
    accuracy: Accuracy | None,
    reference: float | None,
    check: Check | None = None,
    checked_at: str = "",
) -> Finding:
    """The first cause that has a sign. ``alarms`` come worst first; ``reference`` as in ``Accuracy``.
    ``check`` is the newest of the bundle that runs, ``checked_at`` when it was sent."""
    measured = describe(accuracy, reference)
    fell = has_fallen(accuracy, reference)
    if check is not None and check.verdict == "harmful" and check.cause:
        return Finding(cause=check.cause, evidence=f"{_checked(check, checked_at)}; {measured}", fell=fell)
    if differs:
        sign = f"forced override differs in {', '.join(differs)}"
        return Finding(cause=f"preprocess:{differs[0]}", evidence=f"{sign}; {measured}", fell=fell)
    if about is not None and about.reproduction == "differs" and about.reproduction_step:
        sign = f"this machine does not reproduce the bundle's vectors from step {about.reproduction_step} on"
        detail = f" ({about.reproduction_detail})" if about.reproduction_detail else ""
        cause = f"preprocess:{about.reproduction_step}"
        return Finding(cause=cause, evidence=f"{sign}{detail}; {measured}", fell=fell)
    if check is not None and (check.verdict == "harmful" or (check.verdict == "changed" and check.cause)):
        return Finding(cause=check.cause, evidence=f"{_checked(check, checked_at)}; {measured}", fell=fell)
    if alarms:
        first = alarms[0]
        features = f"; features {', '.join(first.top[:3])}" if first.top else ""
        sign = f"raised alarm {first.alarm} ({first.severity}): {first.summary}{features}"
        return Finding(cause=first.cause or None, evidence=f"{sign}; {measured}", fell=fell)
    if fell:
        sign = "unexplained: no preprocessing difference known, no alarm raised"
        return Finding(cause=None, evidence=f"{measured}; {sign}", fell=True)
    return Finding(cause=None, evidence=measured, fell=False)


def _checked(check: Check, at: str) -> str:
    """What the check said, in one clause."""
    when = f" of {at}" if at else ""
    said = check.sentence.strip().removesuffix(".")
    return f"check{when}: {check.verdict}" + (f": {said}" if said else "")


def has_fallen(accuracy: Accuracy | None, reference: float | None) -> bool:
    """Whether the reference lies outside the interval, on the better side."""
    if accuracy is None or reference is None or accuracy.n == 0:
        return False
    if accuracy.mse is not None:
        return accuracy.low is not None and accuracy.low > reference
    return accuracy.high is not None and accuracy.high < reference


def describe(accuracy: Accuracy | None, reference: float | None) -> str:
    """What labels say, in one clause."""
    if accuracy is None or accuracy.n == 0:
        return "no labels yet: accuracy is not measured"
    fell = has_fallen(accuracy, reference)
    if accuracy.mse is not None:
        against = f" against {reference:.4g} held out" if reference is not None else ""
        verdict = _verdict(fell, reference, worse="risen", same="as held out, within chance")
        spread = _interval(accuracy.low, accuracy.high, unit=1.0)
        return f"MSE {accuracy.mse:.4g}{against} (n = {accuracy.n}{spread}): {verdict}"
    if accuracy.accuracy is None:
        return f"{accuracy.n} labels, no accuracy"
    interval = _interval(accuracy.low, accuracy.high, unit=100.0)
    against = f" against {100 * reference:.1f} % held out" if reference is not None else ""
    verdict = _verdict(fell, reference, worse="fallen", same="as held out, within chance")
    return f"accuracy {100 * accuracy.accuracy:.1f} %{against} (n = {accuracy.n}{interval}): {verdict}"


def _interval(low: float | None, high: float | None, *, unit: float) -> str:
    if low is None or high is None:
        return ""
    return f", 90 % interval {unit * low:.1f}–{unit * high:.1f}"


def _verdict(fell: bool, reference: float | None, *, worse: str, same: str) -> str:
    if reference is None:
        return "no reference to compare with"
    return worse if fell else same
