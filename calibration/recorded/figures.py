"""What a golden set says of the model while it is packed: how right it is, with and without quantization."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from agent.contracts import Array, Classification, Decoder, Regression, TensorSpec
from agent.golden import GoldenInput, GoldenSet
from agent.quantize import dequantize
from calibration.float_twin import float_specs

RMSE_FACTOR: Final = 2.0
"""About 95 % of normal errors lie within twice their root mean square."""
RANGE_SHARE: Final = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class Figures:
    """Of the random stratum alone. ``accuracy`` and ``float_accuracy`` are shares of the ``labelled``
    inputs (a regression's: errors within ``tolerance``), None without labels or for detections.
    ``tolerance_reason``: where the tolerance comes from."""

    labelled: int
    accuracy: float | None
    float_accuracy: float | None
    tolerance: float | None
    tolerance_reason: str


def figures(
    golden: GoldenSet,
    *,
    decoder: Decoder,
    outputs: tuple[TensorSpec, ...],
    tolerance: float | None,
    mse: float | None,
) -> Figures:
    """``tolerance`` as given; ``mse`` is that of the labelled held-out inputs."""
    chosen = golden.stratum("random")
    reason = ""
    if chosen and isinstance(decoder.decode(chosen[0].outputs, outputs), Regression):
        tolerance, reason = _tolerance(chosen, outputs, tolerance, mse)
    labelled = [given for given in chosen if given.label is not None]
    twins = [given.float_outputs for given in labelled if given.float_outputs is not None]
    return Figures(
        labelled=len(labelled),
        accuracy=_accuracy([given.outputs for given in labelled], labelled, decoder, outputs, tolerance),
        float_accuracy=_accuracy(twins, labelled, decoder, float_specs(outputs), tolerance),
        tolerance=tolerance,
        tolerance_reason=reason,
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
    right = []
    for outputs, given in zip(made, labelled, strict=True):
        prediction = decoder.decode(outputs, specs)
        if isinstance(prediction, Classification):
            right.append(prediction.top == given.label)
        elif isinstance(prediction, Regression) and given.label is not None and tolerance is not None:
            right.append(bool(np.abs(prediction.values - given.label).max() <= tolerance))
        else:
            return None
    return float(np.mean(right))


def _tolerance(
    chosen: Sequence[GoldenInput],
    outputs: tuple[TensorSpec, ...],
    given: float | None,
    mse: float | None,
) -> tuple[float, str]:
    if given is not None:
        return given, "as given"
    if mse:
        return RMSE_FACTOR * float(np.sqrt(mse)), f"{RMSE_FACTOR:g} x the held-out RMSE"
    values = [dequantize(one.outputs[0], outputs[0]) for one in chosen]
    return RANGE_SHARE * float(np.ptp(values)), "a tenth of the range of the golden outputs"
