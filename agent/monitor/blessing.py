"""How a device's own first answers become what it must repeat. Pure.

A faulty device must not bless itself. So its first answers to all golden tensors are blessed together,
and only when

- each repeated itself twice, the other tensors run in between, and
- they lie no further from the recorded reference outputs than the ladder allows a correct computer:
  less than ``NAMED`` times what one 8-bit level of noise at the input does (``wobble``). The noise is
  run on the same device, which could so widen its own measure: ``WIDEST`` bounds it.
"""

import math
from collections.abc import Sequence

import numpy as np

from agent.contracts import Array, Decoder, Prediction, Regression, TensorSpec
from agent.errors import FrameError
from agent.monitor.answer_distance import distance
from agent.monitor.canary import CanaryInput, difference
from agent.monitor.wobble import NAMED, SEED, wobbled
from agent.plain_text import plain_text

REPEATS = 2
NOISES = 3
"""Draws of noise for every input: eight inputs with one draw each are too few to measure by."""
WIDEST = 0.15
"""Most that noise counts, as a distance of answers; over eight photographs it was .008 to .09 on five
quantized classifiers. For values: as a share of the recorded answers' range."""
_SMALLEST = 1e-5
"""Least that noise counts: what compilers make of one sum is less."""
_LONGEST_NAME = 100


class Reference:
    """The recorded answers to the golden tensors, and how far others lie from them.

    Raises FrameError when a recorded output cannot be decoded.
    """

    def __init__(
        self, golden: Sequence[CanaryInput], specs: tuple[TensorSpec, ...], decoder: Decoder
    ) -> None:
        self._specs = specs
        self._decoder = decoder
        self._recorded = [decoder.decode(given.outputs, specs) for given in golden]
        self._unit = _range(self._recorded)
        self._floor = max([_SMALLEST, *(spec.scale / self._unit for spec in specs)])

    def read(self, outputs: tuple[Array, ...]) -> Prediction | None:
        """None where the device gave no number."""
        try:
            return self._decoder.decode(outputs, self._specs)
        except FrameError:
            return None

    def away(self, answers: Sequence[tuple[Array, ...]]) -> float:
        """The mean distance of the answers to all golden tensors from the recorded ones."""
        return self._mean(self._recorded, [self.read(outputs) for outputs in answers])

    def moved(self, clean: Sequence[tuple[Array, ...]], noisy: Sequence[tuple[Array, ...]]) -> float:
        """What noise did, between ``floor`` and ``WIDEST``."""
        before = [self.read(outputs) for outputs in clean]
        after = [self.read(outputs) for outputs in noisy]
        return max(self._floor, min(self._mean(before * NOISES, after), WIDEST))

    def _mean(self, these: Sequence[Prediction | None], those: Sequence[Prediction | None]) -> float:
        apart = [distance(a, b) for a, b in zip(these, those, strict=True)]
        return float(np.mean(apart)) / self._unit


class Candidate:
    """One way of computing on its way to a blessing: what to run next, and what came of it.

    Feed the outputs of ``tensor`` to ``take`` until ``done``; then ``refused`` says why its ``answers``
    are not blessed ("" when they are).
    """

    def __init__(
        self, golden: Sequence[CanaryInput], specs: tuple[TensorSpec, ...], reference: Reference
    ) -> None:
        self._golden = golden
        self._specs = specs
        self._reference = reference
        self._step = 0
        self._noisy: list[tuple[Array, ...]] = []
        self.answers: list[tuple[Array, ...]] = []
        self.refused = ""
        self.wobbles: float | None = None
        """How far the answers lie from the recorded ones, in what noise does; None before it is known."""

    @property
    def done(self) -> bool:
        return bool(self.refused) or self.wobbles is not None

    @property
    def tensor(self) -> Array:
        """The golden tensors, all again for each repeat, then all with each draw of noise."""
        rounds, place = divmod(self._step, len(self._golden))
        given = self._golden[place]
        if rounds <= REPEATS:
            return given.tensor
        return wobbled([given.tensor], given.level, seed=SEED + self._step)[0]

    def take(self, outputs: tuple[Array, ...]) -> None:
        rounds, place = divmod(self._step, len(self._golden))
        if rounds == 0:
            self.answers.append(outputs)
        elif rounds <= REPEATS:
            found = difference(self.answers[place], outputs, self._specs)
            if found is not None:
                name = plain_text(self._golden[place].name, longest=_LONGEST_NAME)
                self.refused = f"golden input '{name}' was not answered alike twice: {found}"
                return
        else:
            self._noisy.append(outputs)
        self._step += 1
        if self._step == len(self._golden) * (1 + REPEATS + NOISES):
            self._judge()

    def _judge(self) -> None:
        away = self._reference.away(self.answers)
        self.wobbles = away / self._reference.moved(self.answers, self._noisy)
        if not self.wobbles < NAMED:
            self.refused = (
                f"the answers lie {self.wobbles:.2g} times as far from the recorded ones as input noise "
                f"moves them, {NAMED:g} is allowed"
            )


def plainly_wrong(away: float) -> bool:
    """Whether answers so far from the recorded ones (``Reference.away``) are beyond any tolerance,
    however much noise may move them."""
    return not away < NAMED * WIDEST


def _range(recorded: Sequence[Prediction]) -> float:
    """The unit of distances: 1 for scores, the range of the recorded numbers for values."""
    values = [found.values for found in recorded if isinstance(found, Regression)]
    if not values:
        return 1.0
    joined = np.stack(values)
    span = float(np.ptp(joined, axis=0).max(initial=0.0)) or float(np.abs(joined).max(initial=0.0))
    return span if math.isfinite(span) and span > 0 else 1.0
