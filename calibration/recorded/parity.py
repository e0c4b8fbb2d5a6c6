"""Does the spec make what training's own code made? Asked before anything is recorded.

Every golden input's training tensor is held against the one that the spec makes of the same original;
where they differ by more than the steps' stated tolerances explain, ``divergence`` says how and at
which step first.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np

from agent.contracts import TensorSpec
from agent.errors import FrameError
from agent.preprocess.compiled import run_steps
from agent.preprocess.spec import PreprocessSpec
from agent.preprocess.trace import FLOAT_TOLERANCE, trace
from calibration.divergence import Sample, recognise
from calibration.labelled import Input
from calibration.recorded.training_tensors import TrainingTensors

SAMPLES: Final = 16
"""Differing inputs that are looked at to say what differs."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Parity:
    """``exact`` and ``within`` tolerance are numbers of the ``compared`` inputs; the rest differ, and
    then ``step`` is the first that does and ``sentence`` says how."""

    compared: int
    exact: int
    within: int
    step: str | None = None
    sentence: str = ""

    @property
    def differs(self) -> bool:
        return self.exact + self.within < self.compared

    @property
    def said(self) -> str:
        """One sentence: how many are the same, or how many differ, at which step first, and how."""
        if not self.differs:
            tolerated = f", {self.within} within tolerance" if self.within else ""
            return (
                f"{self.exact} of {self.compared} training tensors are exactly what the spec makes{tolerated}"
            )
        differing = self.compared - self.exact - self.within
        share = f"{differing} of {self.compared} training tensors are not what the spec makes"
        if self.step is None:
            return f"{share}: {self.sentence}"
        how = self.sentence.removeprefix(f"{self.step}: ").removesuffix(".")
        return f"{share}; first differing step: {self.step} ({how})"


def compare(
    inputs: Iterable[Input], *, tensors: TrainingTensors, spec: PreprocessSpec, tensor: TensorSpec
) -> Parity:
    """Raises BundleError when a training tensor cannot be this model's input at all."""
    compared = exact = within = 0
    differing: list[Sample] = []
    for given in inputs:
        found = tensors.tensor(given.name, spec, tensor)
        try:
            payload = given.payload()
            made = run_steps(spec, tensor, payload).tensor
            tolerance = trace(spec, tensor, payload)[-1].tolerance
        except FrameError:
            continue
        compared += 1
        if np.array_equal(made, found):
            exact += 1
            continue
        rounding = FLOAT_TOLERANCE * float(np.ptp(made)) if made.dtype.kind == "f" else 0.0
        if np.abs(made.astype(np.float64) - found).max() <= max(tolerance, rounding):
            within += 1
        elif len(differing) < SAMPLES:
            differing.append(Sample(payload=payload, found=found, expected=None))
    if not differing:
        return Parity(compared=compared, exact=exact, within=within)
    seen = recognise(differing, spec, tensor)
    if seen.within != "no":
        # Single values beyond a step's tolerance, as other decoders make at sharp edges.
        within = compared - exact
    return Parity(compared=compared, exact=exact, within=within, step=seen.step, sentence=seen.sentence)
