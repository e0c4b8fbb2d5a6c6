"""One score per class, as most image classifiers give it."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from agent.contracts import Array, Classification, TensorSpec
from agent.decode.outputs import beyond, not_finite
from agent.quantize import dequantize


@dataclass(frozen=True, kw_only=True, slots=True)
class ClassificationDecoder:
    """``output`` is the tensor with one number per class, of shape (C,), (1, C), (1, 1, 1, C) ….

    ``values`` says what the numbers are: "scores" are published as they are, "logits" go through
    softmax. A background class is an output index like any other.
    """

    values: Literal["scores", "logits"]
    output: int = 0

    def check(self, specs: tuple[TensorSpec, ...]) -> tuple[str, ...]:
        """What keeps this decoder from reading a model's outputs, each problem by its field."""
        if missing := beyond(specs, output=self.output):
            return missing
        spec = specs[self.output]
        if sum(size != 1 for size in spec.shape) > 1:
            return (f"output: expected one number per class, '{spec.name}' has shape {spec.shape}",)
        return ()

    def decode(self, outputs: tuple[Array, ...], specs: tuple[TensorSpec, ...]) -> Classification:
        """The winner is taken from the raw numbers, so rounding can never move it.

        Raises FrameError when the model gives no number (NaN or infinity) for it.
        """
        raw = outputs[self.output].reshape(-1)
        top = int(raw.argmax())
        scores = dequantize(raw, specs[self.output])
        if self.values == "logits":
            scores = softmax(scores)
        score = float(scores[top])
        if not math.isfinite(score):
            raise not_finite(specs[self.output])
        return Classification(scores=scores, top=top, score=score)


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scores that sum to 1, in float32; the largest logit is taken off first, so none overflows."""
    # Infinite logits give NaN here, which the decoder reports; numpy need not warn as well.
    with np.errstate(invalid="ignore"):
        powers: NDArray[np.float32] = np.exp(logits - logits.max())
        scores: NDArray[np.float32] = powers / powers.sum()
    return scores
