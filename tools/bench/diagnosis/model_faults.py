"""Mistakes in the model or in what computes it.

``hardware`` and ``quantization`` run the altered file wherever the model runs; ``kernels`` and
``delegate`` are *fakes*: one place computes an operator wrongly, shown by running a file whose one
operator has other numbers, while everything else runs the right file.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from tools.bench.diagnosis.flatbuffer_edit import DEPTHWISE, Editable, Operator

Place: TypeAlias = Literal["hardware", "kernels", "delegate", "quantization"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFault:
    """``place``: where the wrong numbers arise, and so the cause to be named."""

    name: str
    by: str
    place: Place
    alter: Callable[[bytes], bytes]

    @property
    def key(self) -> str:
        return f"{self.name} ({self.by})"

    @property
    def causes(self) -> tuple[str, ...]:
        return (self.place,)


def block_lost(flatbuffer: bytes) -> bytes:
    """A third of one weight tensor reads as zero bytes."""
    model = Editable(flatbuffer)
    weights = model.numbers(_middle(model).inputs[1])
    weights[: weights.size // 3] = 0
    return bytes(model)


def bits_flipped(flatbuffer: bytes) -> bytes:
    """The highest bit (the sign) of one number in twenty of one weight tensor."""
    model = Editable(flatbuffer)
    chosen = model.convolutions()[1]
    weights = model.numbers(chosen.inputs[1])
    at = np.random.default_rng(5).choice(weights.size, max(weights.size // 20, 1), replace=False)
    if weights.dtype == np.float32:
        weights[at] = -weights[at]
    else:
        weights.view(np.uint8)[at] ^= 0x80
    return bytes(model)


def shrunk(flatbuffer: bytes) -> bytes:
    """One depthwise convolution with weights of 0.7 their size."""
    model = Editable(flatbuffer)
    tensor = _middle(model).inputs[1]
    _scale_numbers(model, tensor, 0.7)
    return bytes(model)


def bias_ignored(flatbuffer: bytes) -> bytes:
    """One depthwise convolution that leaves its bias out."""
    model = Editable(flatbuffer)
    model.numbers(_middle(model).inputs[2])[:] = 0
    return bytes(model)


def noisy(flatbuffer: bytes) -> bytes:
    """The first convolution with weights that are off by a normal 8 % of their spread."""
    model = Editable(flatbuffer)
    weights = model.numbers(model.convolutions()[0].inputs[1])
    noise = np.random.default_rng(7).normal(0, 0.08 * float(np.std(weights)), weights.size)
    if weights.dtype == np.float32:
        weights += noise.astype(np.float32)
    else:
        limits = np.iinfo(weights.dtype)
        weights[:] = np.clip(np.rint(weights + noise), limits.min, limits.max)
    return bytes(model)


def _middle(model: Editable) -> Operator:
    depthwise = [found for found in model.operators if found.kind == DEPTHWISE]
    return depthwise[len(depthwise) // 2]


def _scale_numbers(model: Editable, tensor: int, factor: float) -> None:
    weights = model.numbers(tensor)
    if weights.dtype == np.float32:
        weights *= np.float32(factor)
        return
    zero = int(model.zero(tensor)[0])  # symmetric per channel, or one for the whole tensor
    weights[:] = np.rint((weights.astype(np.float64) - zero) * factor) + zero


ALTERED: tuple[ModelFault, ...] = (
    ModelFault(name="corrupted weights", by="block lost", place="hardware", alter=block_lost),
    ModelFault(name="corrupted weights", by="bits flipped", place="hardware", alter=bits_flipped),
    ModelFault(name="wrong delegate", by="one op shrunk", place="delegate", alter=shrunk),
    ModelFault(name="wrong delegate", by="bias ignored", place="delegate", alter=bias_ignored),
    ModelFault(name="wrong delegate", by="first op imprecise", place="delegate", alter=noisy),
    ModelFault(name="wrong kernels", by="bias ignored", place="kernels", alter=bias_ignored),
)
CORRUPTED_BEFORE = (
    ModelFault(
        name="weights corrupted before packing", by="block lost", place="quantization", alter=block_lost
    ),
)
