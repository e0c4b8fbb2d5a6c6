"""What replaying gives: the model's behaviour on the same inputs under one fault after another."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

HEALTHY = "none"
"""Family of the inputs as they are."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Condition:
    """One fault in one implementation and strength, over N inputs.

    ``family`` is what the fault is called in a diagnosis (``preprocess:color``, ``data:blur`` …; two
    joined by ``+`` for a mix); ``name`` tells implementation and strength. rows float32 (N, F) in the
    order of the reference's features, classes int64 (N,) the predicted class (-1 without), all
    finite. ``loss`` float64 (N,): of a classification 0 for a right and 1 for a wrong answer, of a
    regression the squared error; None where the inputs have no labels.
    """

    family: str
    name: str
    rows: NDArray[np.float32]
    classes: NDArray[np.int64]
    loss: NDArray[np.float64] | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Replay:
    """``conditions[0]`` is HEALTHY; every condition is over the same N inputs in the same order.

    ``held_out`` is HEALTHY too, over inputs the conditions do not use: what calibrated confidence is
    fitted on. ``kind`` tells what ``loss`` is: "mse" of a regression, else "accuracy", as in a published
    estimate.
    """

    kind: str
    features: tuple[str, ...]
    conditions: tuple[Condition, ...]
    held_out: Condition
