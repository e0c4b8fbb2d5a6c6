"""How far each tensor of a quantized model is from its float twin, summed over inputs."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from agent.contracts import Array
from agent.plain_text import plain_text
from calibration.layer.alignment import Pair
from calibration.layer.graph import GraphTensor

_Sums = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Measure:
    """One aligned pair over all inputs.

    ``signal``, ``noise`` and ``energy`` are sums of squares of the float twin's numbers, of the
    difference and of the quantized model's; ``product`` is the sum of the products of both.
    ``clip_noise``: the part of the difference that no number inside ``calibrated`` could avoid, because
    the float twin's number lies outside. ``below`` and ``above``: shares of the float twin's numbers
    further outside than one step. ``at_low`` and ``at_high``: shares of stored numbers at the two
    ends of the stored range. The ``channel_*`` arrays are (channels,), along the last axis: smallest
    and largest number. ``step``: one unit of the stored number, 0 for real numbers. ``ties``: inputs
    whose largest stored number occurs more than once where the twin's occurs once.
    """

    pair: Pair
    name: str
    numbers: int
    inputs: int
    signal: float
    noise: float
    energy: float
    product: float
    clip_noise: float
    below: float
    above: float
    at_low: float
    at_high: float
    step: float
    ties: int
    calibrated: tuple[float, float] | None
    channel_low: _Sums
    channel_high: _Sums
    channel_low_here: _Sums
    channel_high_here: _Sums

    @property
    def seen(self) -> tuple[float, float]:
        """The float twin's range."""
        return float(self.channel_low.min()), float(self.channel_high.max())

    @property
    def snr_db(self) -> float | None:
        """Signal to noise; None when nothing differs. A twin of zeros only has no signal: -200."""
        if self.noise == 0:
            return None
        return max(10 * math.log10(self.signal / self.noise), -200.0) if self.signal > 0 else -200.0

    @property
    def error(self) -> float:
        """Noise against signal as a share, at most 1: beyond that there is no signal left to lose."""
        return min(self.noise / self.signal, 1.0) if self.signal > 0 else float(self.noise > 0)

    @property
    def cosine(self) -> float:
        norm = math.sqrt(self.signal * self.energy)
        if norm == 0:
            return 1.0 if self.noise == 0 else 0.0
        return max(-1.0, min(1.0, self.product / norm))

    @cached_property
    def saturated(self) -> float:
        """Share of the numbers that the tensor's range cuts off. For the model's input, whose twin gets
        the same numbers, the share of stored numbers at either end."""
        if self.pair.op == "input":
            return max(self.at_low + self.at_high, self.below + self.above)
        return self.below + self.above


class Summing:
    """Adds up one pair's differences; ``measure`` gives the result."""

    def __init__(self, pair: Pair, tensor: GraphTensor) -> None:
        self._pair, self._tensor = pair, tensor
        self._range = tensor.real_range
        self._stored = tensor.stored_range if self._range is not None else None
        self._step = float(tensor.scales[0]) if self._range is not None else 0.0
        self._numbers = self._inputs = self._ties = 0
        self._sums = np.zeros(9)
        self._channels: _Sums | None = None

    def add(self, twin: Array, stored: Array) -> None:
        """``twin``: the float twin's tensor; ``stored``: this model's, as it stores it; as many numbers
        in the same order. Numbers that are not finite in either are left out."""
        real = self._tensor.dequantized(stored).reshape(-1, stored.shape[-1] if stored.ndim else 1)
        wanted = twin.astype(np.float64).reshape(real.shape)
        finite = np.isfinite(wanted) & np.isfinite(real)
        if not finite.all():
            real, wanted = np.where(finite, real, 0.0), np.where(finite, wanted, 0.0)
        difference = wanted - real
        self._sums[:4] += (_squares(wanted), _squares(difference), _squares(real), _product(wanted, real))
        if self._range is not None and self._stored is not None:
            self._sums[4:] += self._ends(wanted, stored)
        self._numbers += real.size
        self._inputs += 1
        self._ties += _tops(stored) > 1 and _tops(wanted) == 1
        extremes = np.stack([wanted.min(0), -wanted.max(0), real.min(0), -real.max(0)])
        self._channels = extremes if self._channels is None else np.minimum(self._channels, extremes)

    def _ends(self, wanted: _Sums, stored: Array) -> tuple[float, ...]:
        assert self._range is not None and self._stored is not None
        low, high = self._range
        outside = wanted - np.clip(wanted, low, high)
        step = self._step * 1.001  # a softmax of 1 is one step above its range by construction
        return (
            _squares(outside),
            float(np.count_nonzero(outside < -step)),
            float(np.count_nonzero(outside > step)),
            float(np.count_nonzero(stored == self._stored[0])),
            float(np.count_nonzero(stored == self._stored[1])),
        )

    def measure(self) -> Measure:
        """Raises ValueError when nothing was added."""
        if self._channels is None:
            raise ValueError("no input was measured")
        signal, noise, energy, product, clip_noise, *counts = map(float, self._sums)
        below, above, at_low, at_high = (count / max(self._numbers, 1) for count in counts)
        return Measure(
            pair=self._pair,
            name=plain_text(self._tensor.name, longest=200),
            numbers=self._numbers,
            inputs=self._inputs,
            signal=signal,
            noise=noise,
            energy=energy,
            product=product,
            clip_noise=clip_noise,
            below=below,
            above=above,
            at_low=at_low,
            at_high=at_high,
            step=self._step,
            ties=self._ties,
            calibrated=self._range,
            channel_low=self._channels[0],
            channel_high=-self._channels[1],
            channel_low_here=self._channels[2],
            channel_high_here=-self._channels[3],
        )


def _tops(values: Array) -> int:
    return int(np.count_nonzero(values == values.max())) if values.size else 0


def _squares(values: _Sums) -> float:
    return _product(values, values)


def _product(one: _Sums, other: _Sums) -> float:
    # Not a BLAS product: its threads wait for each other, ten times longer on a machine with other work.
    return float(np.einsum("ij,ij->", one, other))
