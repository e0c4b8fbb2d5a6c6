"""One or more real values."""

from dataclasses import dataclass

import numpy as np

from agent.contracts import Array, Regression, TensorSpec
from agent.decode.outputs import beyond, not_finite
from agent.quantize import dequantize


@dataclass(frozen=True, kw_only=True, slots=True)
class RegressionDecoder:
    """``output`` is the tensor with the values, of any shape; ``unit`` is theirs, for display."""

    unit: str = ""
    output: int = 0

    def check(self, specs: tuple[TensorSpec, ...]) -> tuple[str, ...]:
        """What keeps this decoder from reading a model's outputs, each problem by its field."""
        return beyond(specs, output=self.output)

    def decode(self, outputs: tuple[Array, ...], specs: tuple[TensorSpec, ...]) -> Regression:
        """Raises FrameError when the model answers with NaN or infinity."""
        raw, spec = outputs[self.output].reshape(-1), specs[self.output]
        values = dequantize(raw, spec) if spec.quantized else raw
        if not np.isfinite(values).all():
            raise not_finite(spec)
        return Regression(values=values.astype(np.float64))
