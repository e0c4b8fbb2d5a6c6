"""The preparing rungs: the golden originals decoded and prepared here, or by a pipeline of others."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from agent.contracts import Array, Runner, TensorSpec
from agent.errors import FrameError
from agent.golden import GoldenInput
from agent.preprocess.compiled import compile_spec
from agent.preprocess.spec import PreprocessSpec
from calibration.outcomes import Answers
from calibration.rung import tensors as tensor_parity
from calibration.rung.climbing import Climb, Ran, run, unfed_in_words
from calibration.rung.kernels import Computed
from calibration.rung.measured import PREPROCESS, YOURS, Measured, TensorFinding, compare, scored


@dataclass(frozen=True, kw_only=True, slots=True)
class Foreign:
    """A pipeline that is not the bundle's. ``prepare`` gives the array it would feed to the model, with
    or without a batch axis, or None where it has none for that input; ``name`` is what to call it."""

    name: str
    prepare: Callable[[GoldenInput], Array | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Above:
    """What a preparing rung stands on: the same model fed with the training-side tensors."""

    name: str
    answers: Answers
    runner: Runner
    kernels: Computed


def by_spec(spec: PreprocessSpec, name: str, tensor: TensorSpec) -> Foreign:
    """Another preprocessing spec as a pipeline. Raises SpecError when it cannot make ``tensor``."""
    compiled = compile_spec(spec, tensor)

    def prepare(golden: GoldenInput) -> Array | None:
        try:
            return compiled(golden.payload).tensor
        except FrameError:
            return None

    return Foreign(name=name, prepare=prepare)


def measure_own(climb: Climb, above: Above) -> tuple[Measured, Answers, tuple[Array | None, ...]]:
    """The bundle's own spec on this machine."""
    own = by_spec(climb.bundle.spec, "", climb.tensor)
    found = tuple(own.prepare(given) for given in climb.progress(climb.golden, len(climb.golden), PREPROCESS))
    made = [i for i, tensor in enumerate(found) if tensor is not None]
    finding = tensor_parity.own_tensors(
        [climb.golden[i] for i in made],
        [tensor for tensor in found if tensor is not None],
        [climb.training[i] for i in made],
        spec=climb.bundle.spec,
        tensor=climb.tensor,
        recognise=tensor_parity.recognise_by(climb.bundle.spec, climb.tensor, _accepted(climb)),
    )
    if len(made) < len(found):
        said = f"{len(found) - len(made)} of {len(found)} originals cannot be read here; {finding.sentence}"
        finding = TensorFinding(within="no", step="decode", sentence=said)
    return _measured(PREPROCESS, climb, above, found, finding)


def measure_foreign(
    climb: Climb, above: Above, foreign: Foreign
) -> tuple[Measured, Answers, tuple[Array | None, ...]]:
    """``foreign`` on the same originals, against the same training-side tensors. Inputs for which it has
    nothing are left out; ``climb.golden`` must not hold any."""
    found = tuple(foreign.prepare(given) for given in climb.progress(climb.golden, len(climb.golden), YOURS))
    made = [i for i, tensor in enumerate(found) if tensor is not None]
    finding = tensor_parity.foreign_tensors(
        [climb.golden[i] for i in made],
        [tensor for tensor in found if tensor is not None],
        [climb.training[i] for i in made],
        recognise=tensor_parity.recognise_by(climb.bundle.spec, climb.tensor, _accepted(climb)),
    )
    return _measured(YOURS, climb, above, found, finding, what=foreign.name)


def _accepted(climb: Climb) -> str:
    recording = climb.bundle.golden.recording
    return recording.difference if recording else ""


def _measured(
    name: str,
    climb: Climb,
    above: Above,
    found: tuple[Array | None, ...],
    finding: TensorFinding,
    what: str = "",
) -> tuple[Measured, Answers, tuple[Array | None, ...]]:
    # Equal tensors give equal answers: nothing need be run again. Equal numbers of another type do not.
    alike = all(tensor is not None and tensor.dtype == np.dtype(climb.tensor.dtype) for tensor in found)
    if finding.within == "exact" and alike:
        ran = Ran(answers=above.answers, latency_ms=None)
    else:
        ran = run(climb, above.runner, found, name)
    unfed = ""
    if ran.unfed:
        unfed = unfed_in_words(found[ran.unfed[0]], climb.tensor)
        finding = _cannot_be_fed(finding)
    labelled, right = scored(ran.answers, climb.inputs)
    yardstick, against = above.kernels.yardstick, compare(above.answers, ran.answers, climb.inputs)
    measured = Measured(
        name=name,
        compared=above.name,
        inputs=len(climb.inputs.random),
        labelled=0 if ran.unfed else labelled,
        right=0 if ran.unfed else right,
        against=replace(against, labelled=0, right=0, lost=0, gained=0, error=None) if ran.unfed else against,
        wobbles=None if ran.unfed else yardstick.wobbles(above.answers, ran.answers),
        excess_p=1.0 if ran.unfed else yardstick.excess_p(above.answers, ran.answers),
        tensors=finding,
        latency_ms=ran.latency_ms,
        unanswered=len(ran.unfed),
        unfed=unfed,
        what=what,
    )
    return measured, ran.answers, found


def _cannot_be_fed(finding: TensorFinding) -> TensorFinding:
    """Numbers may agree and yet be no input of this model."""
    if finding.within == "no" and finding.who == "here":
        return finding
    return TensorFinding(within="no", step="cast", sentence="the numbers agree, their type does not")
