"""A rung measured against the one above it, before anything is judged. Pure."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from agent.contracts import Detections
from agent.monitor.accuracy import wilson
from calibration.check_result import KernelFamily, OutputError
from calibration.outcomes import (
    Answers,
    Truth,
    distances,
    flips,
    labelled,
    output_error,
    right,
    units,
)

FLOAT, QUANTIZED, KERNELS, DELEGATE = "float", "quantized", "kernels", "delegate"
PREPROCESS, YOURS = "preprocess", "your preprocessing"


@dataclass(frozen=True, kw_only=True, slots=True)
class Inputs:
    """The golden inputs of a check: what is known of them, and their places by stratum."""

    truth: Truth
    random: tuple[int, ...]
    margin: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Paired:
    """Two rungs over the random stratum. ``units`` could have flipped and ``flips`` did; of ``labelled``
    inputs ``right`` are right here, ``lost`` were right above and are wrong here, ``gained`` the other
    way round. ``distance`` is the mean of ``outcomes.distances``; ``unit`` says what flips."""

    inputs: int
    units: int
    flips: int
    labelled: int
    right: int
    lost: int
    gained: int
    margin_inputs: int
    margin_flips: int
    distance: float
    error: OutputError | None
    unit: str = "answers"

    @property
    def share(self) -> float:
        """Flips among what could have flipped."""
        return self.flips / self.units if self.units else 0.0

    @property
    def share_low(self) -> float:
        """The low end of ``share``'s 90 % interval."""
        return wilson(self.flips, self.units)[0] if self.units else 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorFinding:
    """This rung's input tensors against the training-side ones. ``step`` is the first that differs,
    None when none does; ``sentence`` says how. ``who`` differs from the bundle's spec: what prepared them
    here, or training's own pipeline while these tensors are the spec's; ``accepted``: that training does
    was known and accepted when packing. ``advice``: what to do first, "" for the usual of ``step``."""

    within: Literal["exact", "tolerance", "no"]
    step: str | None
    sentence: str
    who: Literal["here", "training"] = "here"
    accepted: bool = False
    advice: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """A rung as it was measured.

    ``against`` is None for the first rung. ``wobbles`` is how far its answers lie from those above, in
    units of what one level of input noise does (None: not known); ``excess_p`` the p of "it flips no
    more inputs than that noise". ``exact_wobbles``: the same distance of the recorded outputs from the
    nearest family of kernels here (usually the reference kernels, which recorded them) over
    ``reference_inputs``, and ``exact_runtime`` whether one must be equal to the last bit. ``tensors``
    stands on rungs that prepare inputs. ``unanswered`` inputs of both strata were not run at all, because of
    ``unfed``: then there is nothing to measure answers by, and ``wobbles`` is None, ``labelled`` 0.
    """

    name: str
    compared: str | None
    inputs: int
    labelled: int
    right: int
    against: Paired | None
    wobbles: float | None = None
    excess_p: float = 1.0
    exact_wobbles: float | None = None
    reference_inputs: int = 0
    exact_runtime: bool = False
    tensors: TensorFinding | None = None
    families: tuple[KernelFamily, ...] = ()
    latency_ms: float | None = None
    unanswered: int = 0
    unfed: str = ""
    what: str = ""
    """What runs here, for the sentence: "XNNPACK kernels", "delegate edgetpu"."""


def scored(answers: Answers, inputs: Inputs) -> tuple[int, int]:
    """How many inputs of the random stratum have a label, and how many of those are right."""
    taken, truth = answers.take(inputs.random), inputs.truth.take(inputs.random)
    known = labelled(taken, truth)
    return int(known.sum()), int((right(taken, truth) & known).sum())


def compare(above: Answers, here: Answers, inputs: Inputs) -> Paired:
    """``here`` against ``above`` over the random stratum; of the margin stratum only flips."""
    a, b = above.take(inputs.random), here.take(inputs.random)
    truth = inputs.truth.take(inputs.random)
    known = labelled(a, truth) & labelled(b, truth)
    was, now = right(a, truth) & known, right(b, truth) & known
    apart = distances(a, b)
    margin = zip(above.take(inputs.margin).predictions, here.take(inputs.margin).predictions, strict=True)
    pairs = list(zip(a.predictions, b.predictions, strict=True))
    return Paired(
        inputs=len(inputs.random),
        units=sum(units(x, y) for x, y in pairs),
        flips=sum(flips(x, y, truth.tolerance) for x, y in pairs),
        labelled=int(known.sum()),
        right=int(now.sum()),
        lost=int((was & ~now).sum()),
        gained=int((now & ~was).sum()),
        margin_inputs=len(inputs.margin),
        margin_flips=sum(flips(x, y, truth.tolerance) > 0 for x, y in margin),
        distance=float(apart.mean()) if apart.size else 0.0,
        error=output_error(a, b),
        unit="boxes" if any(isinstance(x, Detections) for pair in pairs for x in pair) else "answers",
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Yardstick:
    """What one level of input noise does (``wobble``): its distance for each of the inputs at
    ``places``, and whether it flipped them. ``floor`` is the smallest distance that means anything."""

    places: tuple[int, ...]
    distance: NDArray[np.float64]
    flipped: NDArray[np.bool_]
    floor: float
    tolerance: float | None = None

    def wobbles(self, above: Answers, here: Answers) -> float:
        """How many times the noise's the mean distance of ``above`` and ``here`` is, same inputs."""
        apart = distances(above.take(self.places), here.take(self.places))
        return float(apart.mean()) / max(float(self.distance.mean()), self.floor)

    def excess_p(self, above: Answers, here: Answers) -> float:
        """p of "``here`` flips no more of these inputs than the noise": the exact one-sided test on the
        inputs that only one of the two flips."""
        pairs = zip(above.take(self.places).predictions, here.take(self.places).predictions, strict=True)
        flipped = np.array([flips(x, y, self.tolerance) > 0 for x, y in pairs], np.bool_)
        more, fewer = int((flipped & ~self.flipped).sum()), int((~flipped & self.flipped).sum())
        n = more + fewer
        return float(sum(math.comb(n, k) for k in range(more, n + 1)) / 2**n)
