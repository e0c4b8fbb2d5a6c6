"""What a device said, in the words of the report. Pure: values in, texts out.

An estimate is called one, always with its interval; a loss is in points of 100, positive where
accuracy was lost.
"""

from agent.telemetry.messages import Accuracy, Alarm, Commissioning, Estimate, RankedCause, Stream

AGREEMENT = "agreement with the undisturbed model"
"""How the method of an estimate begins that is of detections, which are no answers right or wrong."""


def of_chosen_frames(accuracy: Accuracy) -> bool:
    """Whether all labels are of frames kept for what they show: a figure of those, not of the model."""
    return (accuracy.method or "").endswith("of chosen frames only")


def has_fallen(accuracy: Accuracy | None, reference: float | None) -> bool:
    """Whether the reference lies outside the interval, on the better side; chosen frames cannot tell."""
    if accuracy is None or reference is None or accuracy.n == 0 or of_chosen_frames(accuracy):
        return False
    if accuracy.mse is not None:
        return accuracy.low is not None and accuracy.low > reference
    return accuracy.high is not None and accuracy.high < reference


def seems_fallen(estimate: Estimate | None) -> bool:
    """As ``has_fallen``, by an estimate: a sign, no proof."""
    if estimate is None or estimate.reference is None or estimate.low is None or estimate.high is None:
        return False
    if estimate.kind == "mse":
        return estimate.low > estimate.reference
    return estimate.high < estimate.reference


def describe(accuracy: Accuracy | None, reference: float | None) -> str:
    """What labels say, in one clause."""
    if accuracy is None or accuracy.n == 0:
        return "no labels yet: accuracy is not measured"
    fell = has_fallen(accuracy, reference)
    same = "as held out, within chance"
    if of_chosen_frames(accuracy):
        same = "chosen frames do not tell the model's"
    if accuracy.mse is not None:
        against = f" against {reference:.4g} held out" if reference is not None else ""
        verdict = _verdict(fell, reference, worse="risen", same=same)
        spread = _labelled_interval(accuracy, unit=1.0)
        return f"MSE {accuracy.mse:.4g}{against} (n = {accuracy.n}{spread}): {verdict}"
    if accuracy.accuracy is None:
        return f"{accuracy.n} labels, no accuracy"
    interval = _labelled_interval(accuracy, unit=100.0)
    against = f" against {100 * reference:.1f} % held out" if reference is not None else ""
    verdict = _verdict(fell, reference, worse="fallen", same=same)
    return f"accuracy {100 * accuracy.accuracy:.1f} %{against} (n = {accuracy.n}{interval}): {verdict}"


def describe_estimate(estimate: Estimate | None) -> str | None:
    """What is estimated without labels, in one clause; None where nothing is."""
    if estimate is None:
        return None
    if estimate.value is None:
        return f"without labels the estimate abstains: {estimate.abstained or 'it does not say why'}"
    figure, method = "MSE" if estimate.kind == "mse" else "accuracy", estimate.method
    if method.startswith(AGREEMENT):
        figure, method = AGREEMENT, method.removeprefix(AGREEMENT).removeprefix(", ")
    method = f" by {method}" if method else ""
    said = f"{figure} estimated without labels{method}: {estimate_figure(estimate)}"
    if estimate.reference is None:
        return f"{said}: no reference to compare with"
    undisturbed = "undisturbed" if figure == AGREEMENT else "held out"
    said += f" against {_figure(estimate, estimate.reference)} {undisturbed}"
    if seems_fallen(estimate):
        return f"{said}: it seems {'risen' if estimate.kind == 'mse' else 'fallen'}"
    within = (estimate.low or 0.0) <= estimate.reference <= (estimate.high or 0.0)
    return f"{said}, which lies within the interval" if within else said


def estimate_figure(estimate: Estimate) -> str:
    """``93.1 % (90.0 to 95.9)``, ``MSE 5.2 (4.1 to 6.8)`` or ``abstains``."""
    if estimate.value is None:
        return "abstains"
    text = _figure(estimate, estimate.value)
    if estimate.low is not None and estimate.high is not None:
        low, high = _figure(estimate, estimate.low), _figure(estimate, estimate.high)
        text += f" ({low.removesuffix(' %')} to {high.removesuffix(' %')})"
    return text


def loss_text(alarm: Alarm) -> str:
    """``loss about 12.1 points (4.0 to 20.3)``, or that nobody knows."""
    if alarm.loss_points is None:
        return "loss not known"
    text = f"loss about {alarm.loss_points:.1f} points"
    if alarm.loss_low is not None and alarm.loss_high is not None:
        text += f" ({alarm.loss_low:.1f} to {alarm.loss_high:.1f})"
    return text


def alarm_text(alarm: Alarm) -> str:
    """How bad an alarm is and who raised it against what."""
    said = [alarm.severity, loss_text(alarm)]
    said += [f"by {alarm.detector}"] if alarm.detector else []
    said += [f"against {alarm.against}"] if alarm.against else []
    said += ["provisional"] if alarm.provisional else []
    return ", ".join(said)


def cause_text(cause: RankedCause) -> str:
    """Evidence and the next thing to do; a match never without its strength."""
    untold = cause.match is not None and "match" not in cause.evidence
    match = f" (match {cause.match:.2f})" if untold else ""
    step = f". Next: {cause.next_step}" if cause.next_step else ""
    return f"{cause.cause}{match}: {cause.evidence.strip().removesuffix('.')}{step}"


def commissioning_text(commissioning: Commissioning) -> str:
    """How far the device's own baseline is."""
    if commissioning.ready:
        return f"commissioned: {commissioning.samples} samples over {commissioning.hours:.1f} h"
    return (
        f"commissioning: {commissioning.hours:.1f} of {commissioning.hours_wanted:g} h, "
        f"{commissioning.samples} of {commissioning.samples_wanted} samples; "
        "alarms are provisional until then"
    )


def stream_text(stream: Stream) -> str:
    """How much one frame says beyond the last."""
    dwell = "dwell not known yet"
    if stream.dwell_samples is not None:
        dwell = f"dwell {stream.dwell_samples:.3g} sampled frames"
    every = "every sampled frame counts as independent"
    if stream.thinning > 1:
        every = f"1 of {stream.thinning} sampled frames counts as independent"
    lag = f"; neighbours among them still correlate by {stream.lag_1:.2f}" if stream.lag_1 is not None else ""
    return f"{dwell}: {every}{lag}"


def _figure(estimate: Estimate, value: float) -> str:
    return f"{value:.4g}" if estimate.kind == "mse" else f"{100 * value:.1f} %"


def _labelled_interval(accuracy: Accuracy, *, unit: float) -> str:
    if accuracy.low is None or accuracy.high is None:
        return ""
    method = f" by {accuracy.method}" if accuracy.method else ""
    digits = ".1f" if unit > 1 or accuracy.low >= 1 else ".3g"
    return f", 95 % interval{method} {unit * accuracy.low:{digits}}–{unit * accuracy.high:{digits}}"


def _verdict(fell: bool, reference: float | None, *, worse: str, same: str) -> str:
    if reference is None:
        return "no reference to compare with"
    return worse if fell else same
