"""What a golden set says of the model while it is packed: how right it is, with and without quantization."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agent.contracts import Array, Decoder, Regression, TensorSpec
from agent.golden import GoldenInput, GoldenSet
from calibration.float_twin import float_specs
from calibration.outcomes import Truth, read_answers, right
from calibration.outcomes import labelled as can_say

RMSE_FACTOR: Final = 2.0
"""About 95 % of normal errors lie within twice their root mean square."""
RANGE_SHARE: Final = 0.1
ENOUGH_LABELS: Final = 8
"""Labelled golden inputs from which the float model's error on them is an error to go by."""
ENOUGH_TO_JUDGE: Final = 20
"""Labelled held-out inputs from which a model can be called no better than guessing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """Of the random stratum alone. ``accuracy`` and ``float_accuracy`` are shares of the ``labelled``
    inputs (a regression's: errors within ``tolerance``), None without labels or for detections.
    ``tolerance_reason``: where the tolerance comes from. ``notes``: what is to be said of all this."""

    labelled: int
    accuracy: float | None
    float_accuracy: float | None
    tolerance: float | None
    tolerance_reason: str
    notes: tuple[str, ...] = ()


def figures(
    golden: GoldenSet,
    *,
    decoder: Decoder,
    outputs: tuple[TensorSpec, ...],
    tolerance: float | None,
    mse: float | None,
    labels: Sequence[float] = (),
) -> Figures:
    """``tolerance`` as given; ``labels`` are those of the held-out inputs, ``mse`` the error on them."""
    chosen = golden.stratum("random")
    labelled = [given for given in chosen if given.label is not None]
    twins = [given.float_outputs for given in labelled if given.float_outputs is not None]
    reason, notes = "", tuple[str, ...]()
    if chosen and isinstance(decoder.decode(chosen[0].outputs, outputs), Regression):
        made = [_values(given.outputs, decoder, outputs) for given in chosen]
        twin = [_values(given, decoder, float_specs(outputs)) for given in twins]
        truths = [float(given.label) for given in labelled if given.label is not None]
        held_out = _HeldOut(rmse=mse**0.5 if mse else None, labels=np.array(labels, np.float64))
        tolerance, reason = _tolerance(tolerance, made, _rmse(twin, truths), held_out)
        notes = held_out.notes()
    return Figures(
        labelled=len(labelled),
        accuracy=_accuracy([given.outputs for given in labelled], labelled, decoder, outputs, tolerance),
        float_accuracy=_accuracy(twins, labelled, decoder, float_specs(outputs), tolerance),
        tolerance=tolerance,
        tolerance_reason=reason,
        notes=notes,
    )


def with_tolerance(golden: GoldenSet, found: Figures) -> GoldenSet:
    if golden.recording is None:
        return golden
    return replace(golden, recording=replace(golden.recording, tolerance=found.tolerance))


def _accuracy(
    made: Sequence[tuple[Array, ...]],
    labelled: Sequence[GoldenInput],
    decoder: Decoder,
    specs: tuple[TensorSpec, ...],
    tolerance: float | None,
) -> float | None:
    if not made or len(made) != len(labelled):
        return None
    answers = read_answers(made, specs, decoder)
    truth = Truth(labels=tuple(given.label for given in labelled), tolerance=tolerance)
    return float(np.mean(right(answers, truth))) if can_say(answers, truth).all() else None


@dataclass(frozen=True, kw_only=True, slots=True)
class _HeldOut:
    """The error of the model that is packed (None: not known, or none at all) and the labels it is of."""

    rmse: float | None
    labels: NDArray[np.float64]

    @property
    def span(self) -> float:
        """From the 5th to the 95th percentile of the labels, which a few outliers do not widen."""
        return float(np.ptp(np.percentile(self.labels, (5, 95)))) if self.labels.size else 0.0

    def notes(self) -> tuple[str, ...]:
        if self.rmse is None or self.labels.size < ENOUGH_TO_JUDGE or self.rmse < self.labels.std():
            return ()
        return (
            f"the held-out RMSE of {self.rmse:.4g} is no smaller than the standard deviation of the labels, "
            f"{self.labels.std():.4g}: the mean of the labels predicts as well as this model does",
        )


def _tolerance(
    given: float | None, made: Sequence[Array], twin_rmse: float | None, held_out: _HeldOut
) -> tuple[float, str]:
    """The error that counts as right, and where it is taken from. Not from the model under test where
    there is a choice: the worse that is, the more would be right."""
    if given is not None:
        return given, "as given"
    if twin_rmse:
        return RMSE_FACTOR * twin_rmse, f"{RMSE_FACTOR:g} x the float model's RMSE on the golden inputs"
    if held_out.rmse:
        found, most = RMSE_FACTOR * held_out.rmse, RANGE_SHARE * held_out.span
        if 0 < most < found:
            return most, f"a tenth of the labels' range, less than {RMSE_FACTOR:g} x the held-out RMSE"
        return found, f"{RMSE_FACTOR:g} x the held-out RMSE"
    return RANGE_SHARE * float(np.ptp(np.concatenate(made))), "a tenth of the range of the golden outputs"


def _values(made: tuple[Array, ...], decoder: Decoder, specs: tuple[TensorSpec, ...]) -> Array:
    prediction = decoder.decode(made, specs)
    assert isinstance(prediction, Regression)
    return prediction.values.reshape(-1)


def _rmse(values: Sequence[Array], truths: Sequence[float]) -> float | None:
    """None unless enough labelled inputs have values."""
    if len(values) != len(truths) or len(truths) < ENOUGH_LABELS:
        return None
    errors = np.concatenate([value - truth for value, truth in zip(values, truths, strict=True)])
    return float(np.sqrt(np.mean(errors * errors)))
