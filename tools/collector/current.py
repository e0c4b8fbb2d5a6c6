"""How accurate a device is now: from labels where there are any, else as estimated without. Pure."""

from dataclasses import dataclass
from typing import Literal

from agent.telemetry.messages import About, Accuracy, Estimate
from tools.collector.words import AGREEMENT, of_chosen_frames


@dataclass(frozen=True, kw_only=True, slots=True)
class Current:
    """Accuracy now: from labels where there are any, else estimated. ``loss_points`` is the reference
    minus ``accuracy``, in points of 100. None: not known that way, as for a regression or
    detections."""

    origin: Literal["labels", "estimate"] | None
    accuracy: float | None = None
    low: float | None = None
    high: float | None = None
    loss_points: float | None = None


def reference_of(accuracy: Accuracy | None, about: About | None) -> float | None:
    """The figure on the bundle's held-out inputs, as the newest to speak of it has it."""
    if accuracy is not None and accuracy.reference is not None:
        return accuracy.reference
    return about.reference_accuracy if about else None


def current_accuracy(
    accuracy: Accuracy | None, reference: float | None, estimate: Estimate | None
) -> Current:
    """What labels say; without labels what is estimated, unless that abstains. Labels of chosen frames only
    speak where nothing is estimated, and tell no loss."""
    estimated = estimate is not None and estimate.value is not None
    if accuracy is not None and accuracy.n and not (estimated and of_chosen_frames(accuracy)):
        loss = None
        if accuracy.accuracy is not None and reference is not None and not of_chosen_frames(accuracy):
            loss = 100 * (reference - accuracy.accuracy)
        low, high = (accuracy.low, accuracy.high) if accuracy.accuracy is not None else (None, None)
        return Current(origin="labels", accuracy=accuracy.accuracy, low=low, high=high, loss_points=loss)
    if estimate is None or estimate.value is None:
        return Current(origin=None)
    if estimate.kind == "mse" or estimate.method.startswith(AGREEMENT):
        return Current(origin="estimate")
    expected = estimate.reference if estimate.reference is not None else reference
    loss = 100 * (expected - estimate.value) if expected is not None else None
    return Current(
        origin="estimate", accuracy=estimate.value, low=estimate.low, high=estimate.high, loss_points=loss
    )
