"""What a ``window`` says of accuracy: from labels, and estimated without."""

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class Accuracy:
    """From labels, over the newest ``n`` labelled frames; ``low`` to ``high`` is a 95 % interval.

    For classification ``accuracy`` (its interval by ``method``), ``ece`` and ``confusion`` (rows:
    [true, predicted, count]); for regression ``mae`` and ``mse`` (its interval by the central
    limit theorem). ``reference`` is the same figure (accuracy, or MSE) on the held-out inputs of
    the bundle.
    """

    n: int
    accuracy: float | None = None
    low: float | None = None
    high: float | None = None
    ece: float | None = None
    mae: float | None = None
    mse: float | None = None
    reference: float | None = None
    confusion: tuple[tuple[int, int, int], ...] = ()
    method: str = ""
    """How the interval was made: ``Wilson``, ``PPI++``, ``central limit``; ``weighted`` where labels were
    drawn with unequal chances."""
    labels_effective: float | None = None
    """So many equally weighted labels alone would say as much."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Estimate:
    """Accuracy (0 … 1) or mean squared error estimated without labels; ``low`` to ``high`` is a 90 %
    interval. All three are None when it abstains, and ``abstained`` says why."""

    kind: Literal["accuracy", "mse"]
    n: int
    effective_n: float
    """So many independent frames would say as much."""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    method: str = ""
    """Which method spoke."""
    abstained: str = ""
    reference: float | None = None
    """The same figure on the held-out inputs of the bundle."""
    parts: dict[str, float] = field(default_factory=dict)
    """What each method said by itself."""
