"""How far a quantized model's weights and biases are from its float twin's, and how coarse they are."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.plain_text import plain_text
from calibration.layer.alignment import Pair
from calibration.layer.graph import Graph, GraphTensor

COARSE_STEPS = 4
"""A channel whose largest weight is fewer steps than this has less than 3 bits left."""
_HALF = 2.0**-10
"""The relative spacing of float16 numbers: the step of weights that are stored as real numbers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WeightMeasure:
    """A constant of pair number ``position`` against the twin's.

    ``largest_steps``: the largest difference in steps of the stored number (rounding makes half a step).
    ``off``: share of numbers more than one step off. ``relative``: norm of the difference against the
    norm of the twin's. ``spread``: the widest channel's range against the tenth percentile's.
    ``coarse``: share of channels with fewer than ``COARSE_STEPS`` steps to their largest number;
    ``one_scale``: whether all channels share a scale.
    """

    position: int
    name: str
    bias: bool
    largest_steps: float
    off: float
    relative: float
    spread: float
    coarse: float
    one_scale: bool


def measure_weights(pairs: Sequence[Pair], quantized: Graph, float_twin: Graph) -> tuple[WeightMeasure, ...]:
    """Of every pair with constants on both sides, its weights, then its bias."""
    found = []
    for position, pair in enumerate(pairs):
        for constants, bias in ((pair.weights, False), (pair.bias, True)):
            if constants is None:
                continue
            own, other = quantized.tensors[constants[0]], float_twin.tensors[constants[1]]
            measured = _measure(position, own, other, bias, 0 if bias else pair.channel_axis)
            if measured is not None:
                found.append(measured)
    return tuple(found)


def _measure(
    position: int, own: GraphTensor, other: GraphTensor, bias: bool, axis: int
) -> WeightMeasure | None:
    here, twin = own.real, other.real
    if here is None or twin is None or here.size == 0 or axis >= here.ndim:
        return None
    difference, steps = np.abs(here - twin.reshape(here.shape)), _steps(own, twin.reshape(here.shape))
    in_steps = difference / steps
    norm = _norm(twin)
    widths = np.abs(np.moveaxis(twin.reshape(here.shape), axis, 0).reshape(here.shape[axis], -1)).max(1)
    narrow = float(np.quantile(widths, 0.1))
    one_scale = own.scales.size == 1 and own.quantized and widths.size > 1
    return WeightMeasure(
        position=position,
        name=plain_text(own.name, longest=200),
        bias=bias,
        largest_steps=float(in_steps.max()),
        off=float(np.mean(in_steps > 1)),
        relative=_norm(difference) / norm if norm else float(difference.any()),
        spread=float(widths.max()) / narrow if narrow else float(np.inf),
        coarse=float(np.mean(widths / own.scales[0] < COARSE_STEPS)) if one_scale else 0.0,
        one_scale=one_scale,
    )


def _steps(own: GraphTensor, twin: NDArray[np.float64]) -> NDArray[np.float64]:
    """One unit of each stored number, broadcast to the tensor's shape."""
    if own.scales.size:
        along = [1] * twin.ndim
        if own.scales.size > 1:
            along[own.axis] = own.scales.size
        return np.broadcast_to(np.maximum(own.scales, 1e-30).reshape(along), twin.shape)
    return np.asarray(np.abs(twin) * _HALF + 1e-7)


def _norm(values: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.square(values).sum()))
