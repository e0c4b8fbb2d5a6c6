"""The demo's other device: a linear model of a quantity that is not quite linear.

The truth is ``y = x²``. The model is the line fitted where the machine ran while training,
x ~ N(5, 2²); deployed, it runs at N(6, 2²). Nothing in the model changes, and its error grows:
with ``x = mean + std·z`` the residual of a line is the polynomial ``p z² + q z + c`` of a standard
normal z, whose expected square is ``3p² + q² + c² + 2pc``.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, slots=True)
class Operation:
    """Where a machine runs: x is normal with this mean and standard deviation."""

    mean: float
    std: float

    def draw(self, count: int, rng: np.random.Generator) -> NDArray[np.float64]:
        """Readings of shape (count,)."""
        return rng.normal(self.mean, self.std, count)


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """y = slope · x + intercept."""

    slope: float
    intercept: float


TRAINED = Operation(mean=5.0, std=2.0)
DEPLOYED = Operation(mean=6.0, std=2.0)


def truth(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """What the sensor's quantity really is, elementwise."""
    return x * x


def fit(x: NDArray[np.float64]) -> Line:
    """The line of least squares through the truth at ``x`` (n,)."""
    slope, intercept = np.polyfit(x, truth(x), 1)
    return Line(slope=float(slope), intercept=float(intercept))


def expected_mse(line: Line, operation: Operation) -> float:
    """The mean squared error of ``line`` over all of ``operation``.

    The best line for N(μ, σ²) has 2σ⁴ there; where the mean moved by δ it has 2σ⁴ + 4σ²δ² + δ⁴:
    32 and 49 for the two operations here.
    """
    square = operation.std**2
    linear = (2 * operation.mean - line.slope) * operation.std
    constant = operation.mean**2 - line.slope * operation.mean - line.intercept
    return 3 * square**2 + linear**2 + constant**2 + 2 * square * constant
