"""The preparing rungs: the golden originals decoded and prepared here, or by a pipeline of others."""

from collections.abc import Callable
from dataclasses import dataclass

from agent.contracts import Array, Runner, TensorSpec
from agent.errors import FrameError
from agent.golden import GoldenInput
from agent.preprocess.compiled import compile_spec
from agent.preprocess.spec import PreprocessSpec
from calibration.outcomes import Answers
from calibration.rung import tensors as tensor_parity
from calibration.rung.climbing import Climb, run
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
        recognise=tensor_parity.recognise_by(climb.bundle.spec, climb.tensor),
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
        recognise=tensor_parity.recognise_by(climb.bundle.spec, climb.tensor),
    )
    return _measured(YOURS, climb, above, found, finding, what=foreign.name)


def _measured(
    name: str,
    climb: Climb,
    above: Above,
    found: tuple[Array | None, ...],
    finding: TensorFinding,
    what: str = "",
) -> tuple[Measured, Answers, tuple[Array | None, ...]]:
    # Equal tensors give equal answers: nothing need be run again.
    if finding.within == "exact" and all(tensor is not None for tensor in found):
        answers, latency_ms = above.answers, None
    else:
        ran = run(climb, above.runner, found, name)
        answers, latency_ms = ran.answers, ran.latency_ms
    labelled, right = scored(answers, climb.inputs)
    yardstick = above.kernels.yardstick
    measured = Measured(
        name=name,
        compared=above.name,
        inputs=len(climb.inputs.random),
        labelled=labelled,
        right=right,
        against=compare(above.answers, answers, climb.inputs),
        wobbles=yardstick.wobbles(above.answers, answers),
        excess_p=yardstick.excess_p(above.answers, answers),
        tensors=finding,
        latency_ms=latency_ms,
        what=what,
    )
    return measured, answers, found
