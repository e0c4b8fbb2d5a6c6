"""Why a device is less accurate, as far as its messages tell: one cause at most, and how strong it is.

Pure. The order is that of certainty: a preprocessing that is known to differ, then what the newest
check found on the device itself, then a drift that was tested and alarmed, under the name that the
device's own diagnosis gives it where that is sure of one, then nothing. Only a check can prove that
accuracy was lost by its cause; the evidence says what was measured, what was estimated and what was
neither.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from agent.telemetry.messages import About, Accuracy, Alarm, Check, Diagnosis, Estimate, RankedCause
from tools.collector.words import cause_text, describe, describe_estimate, has_fallen

CONVINCING = 0.5
"""A diagnosed cause of less weight is shown, but does not overrule what the alarm itself says."""


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
    estimate: Estimate | None = None,
    diagnosis: Diagnosis | None = None,
) -> Finding:
    """The first cause that has a sign. ``alarms`` come worst first; ``reference`` as in ``Accuracy``.
    ``check`` is the newest of the bundle that runs, ``checked_at`` when it was sent; ``diagnosis`` is the
    device's own, of an alarm that stands or asked for since."""
    measured = "; ".join(filter(None, (describe(accuracy, reference), describe_estimate(estimate))))
    fell = has_fallen(accuracy, reference)
    cause, sign = _signed(differs, about, alarms, check, checked_at, diagnosis)
    if sign:
        return Finding(cause=cause, evidence=f"{sign}; {measured}", fell=fell)
    if fell:
        sign = "unexplained: no preprocessing difference known, no alarm raised"
        return Finding(cause=None, evidence=f"{measured}; {sign}", fell=True)
    return Finding(cause=None, evidence=measured, fell=False)


def _signed(
    differs: Sequence[str],
    about: About | None,
    alarms: Sequence[Alarm],
    check: Check | None,
    checked_at: str,
    diagnosis: Diagnosis | None,
) -> tuple[str | None, str]:
    """The first sign and the cause it names, if it names one; an empty sign: there is none."""
    if check is not None and check.verdict == "harmful" and check.cause:
        return check.cause, _checked(check, checked_at)
    if differs:
        return f"preprocess:{differs[0]}", f"forced override differs in {', '.join(differs)}"
    if about is not None and about.reproduction == "differs" and about.reproduction_step:
        sign = f"this machine does not reproduce the bundle's vectors from step {about.reproduction_step} on"
        detail = f" ({about.reproduction_detail})" if about.reproduction_detail else ""
        return f"preprocess:{about.reproduction_step}", f"{sign}{detail}"
    if check is not None and (check.verdict == "harmful" or (check.verdict == "changed" and check.cause)):
        return check.cause, _checked(check, checked_at)
    return _alarmed(alarms, _diagnosed(diagnosis))


def _diagnosed(diagnosis: Diagnosis | None) -> RankedCause | None:
    """The cause the device itself is sure enough of."""
    first = diagnosis.causes[0] if diagnosis is not None and diagnosis.causes else None
    return first if first is not None and first.weight >= CONVINCING else None


def _alarmed(alarms: Sequence[Alarm], diagnosed: RankedCause | None) -> tuple[str | None, str]:
    """What the worst alarm says, and the diagnosis of it."""
    named = f"diagnosed as {cause_text(diagnosed)}" if diagnosed else ""
    if not alarms:
        return (diagnosed.cause if diagnosed else None), named
    first = alarms[0]
    provisional = ", provisional" if first.provisional else ""
    features = f"; features {', '.join(first.top[:3])}" if first.top else ""
    raised = f"raised alarm {first.alarm} ({first.severity}{provisional}): {first.summary}{features}"
    cause = diagnosed.cause if diagnosed else first.cause or None
    return cause, f"{raised}; {named}" if named else raised


def _checked(check: Check, at: str) -> str:
    """What the check said, in one clause."""
    when = f" of {at}" if at else ""
    said = check.sentence.strip().removesuffix(".")
    return f"check{when}: {check.verdict}" + (f": {said}" if said else "")
