"""What a diagnosis found: each differing factor with its share of the loss. Values only.

``DiagnosisResult`` is what ``litewatch diagnose`` computes, what its JSON holds and what the report
draws. Points are percentage points of accuracy; a positive number is accuracy lost.
"""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from calibration.check_result import LayerView

Measure: TypeAlias = Literal["accuracy", "agreement"]
"""What the points are of: answers that are the label's, or without labels answers that are those of
the healthy model (training's preprocessing)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FactorCost:
    """One factor that differs between training and what is deployed.

    ``step`` is the spec's step it belongs to, None for the model's own (``quantization``,
    ``kernels``). ``points`` is its Shapley value, its fair share of the loss; all add up to
    ``DiagnosisResult.loss_points``. ``low`` to ``high``: see ``DiagnosisResult.interval``. ``p`` tests that
    it costs nothing (corrected over the factors; None without labels), ``proven`` that it does cost: never
    without labels, where points are only answers that change. ``repaired_points`` is what repairing this
    one alone would give back, None where that was not run. ``trained`` and
    ``deployed`` say what differs, in the spec's words.
    """

    name: str
    step: str | None
    points: float
    low: float
    high: float
    p: float | None
    proven: bool
    repaired_points: float | None
    trained: str
    deployed: str


@dataclass(frozen=True, kw_only=True, slots=True)
class DiagnosisResult:
    """``trained`` and ``deployed`` are the two ends' accuracies (0 … 1) by ``measure`` over ``inputs``
    inputs; ``loss_points`` their difference, with its interval. ``factors`` come costliest first.

    ``first``: the factor to repair first, None where nothing is proven to cost. ``interval`` says in
    words what low and high mean. ``exact``: every mix of factors was run; otherwise costs were
    estimated from ``mixes`` of them. ``layers``: where quantization costs most. ``notes``: what was
    not done or cannot be said, one sentence each.
    """

    bundle: str
    task: str
    measure: Measure
    inputs: int
    trained: float
    deployed: float
    loss_points: float
    loss_low: float
    loss_high: float
    factors: tuple[FactorCost, ...]
    first: str | None
    sentence: str
    interval: str
    exact: bool
    mixes: int
    environment: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    layers: LayerView | None = None
