"""The computing rungs: the recorded input tensors through this CPU's kernels, and this delegate."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from agent.contracts import Array, Runner
from agent.monitor import wobble
from calibration.check_result import KernelFamily, OutputError
from calibration.outcomes import Answers, distances, flips, output_error
from calibration.rung.climbing import Climb, run
from calibration.rung.machine import Kernels, recorded_alike
from calibration.rung.measured import DELEGATE, KERNELS, Measured, Yardstick, compare, scored

REFERENCE_INPUTS = 32
"""Inputs that the reference kernels repeat: they take ten to twenty times as long as production's."""
YARDSTICK_RANDOM, YARDSTICK_MARGIN = 48, 16
"""Inputs of either stratum that are run once more with noise."""
SMALLEST_DISTANCE = 1e-6
"""Of unquantized outputs: what compilers make of one sum is less."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Computed:
    """The rung, its answers, the yardstick, and the answers of every family that ran all inputs."""

    measured: Measured
    answers: Answers
    yardstick: Yardstick
    families: tuple[Answers, ...]


def measure_kernels(climb: Climb, recorded: Answers) -> Computed:
    """This CPU's kernels against the recorded outputs: production and built-in kernels on all inputs,
    reference kernels on ``REFERENCE_INPUTS`` of the random stratum."""
    production = run(climb, climb.production, climb.training, "kernels of production")
    builtin, _ = _family(climb, "builtin", climb.training)
    few = climb.inputs.random[:REFERENCE_INPUTS]
    reference, alike = _family(climb, "reference", [climb.training[i] for i in few])
    candidates = [("production", production.answers), ("builtin", builtin)]
    yardstick = _yardstick(climb, recorded, candidates)
    # Whichever family repeats the recording shows that the model in this memory is the recorded one.
    repeats = (reference, builtin.take(few), production.answers.take(few))
    nearest = min((float(distances(recorded.take(few), family).mean()) for family in repeats), default=0.0)
    scale = max(float(yardstick.distance.mean()), yardstick.floor)
    labelled, right = scored(production.answers, climb.inputs)
    info = climb.production.info
    measured = Measured(
        name=KERNELS,
        compared="quantized",
        inputs=len(climb.inputs.random),
        labelled=labelled,
        right=right,
        against=compare(recorded, production.answers, climb.inputs),
        wobbles=yardstick.wobbles(recorded, production.answers),
        excess_p=yardstick.excess_p(recorded, production.answers),
        exact_wobbles=nearest / scale,
        reference_inputs=len(few),
        exact_runtime=alike,
        families=(
            _compared("reference", recorded.take(few), reference),
            _compared("builtin", recorded, builtin),
            _compared(info.kernels, recorded, production.answers),
        ),
        latency_ms=production.latency_ms,
        what=f"{info.kernels} kernels",
    )
    return Computed(
        measured=measured,
        answers=production.answers,
        yardstick=yardstick,
        families=(recorded, builtin, production.answers),
    )


def measure_delegate(climb: Climb, runner: Runner, kernels: Computed) -> tuple[Measured, Answers]:
    """The configured delegate against this CPU's kernels. How far it is from a correct computation is
    measured from the nearest family of CPU kernels: two that round differently are both right."""
    ran = run(climb, runner, climb.training, f"delegate {runner.info.delegate}")
    labelled, right = scored(ran.answers, climb.inputs)
    measured = Measured(
        name=DELEGATE,
        compared=KERNELS,
        inputs=len(climb.inputs.random),
        labelled=labelled,
        right=right,
        against=compare(kernels.answers, ran.answers, climb.inputs),
        wobbles=min(kernels.yardstick.wobbles(family, ran.answers) for family in kernels.families),
        excess_p=max(kernels.yardstick.excess_p(family, ran.answers) for family in kernels.families),
        latency_ms=ran.latency_ms,
        what=f"{runner.info.ops_delegated} of {runner.info.ops_total} operators on {runner.info.delegate}",
    )
    return measured, ran.answers


def _family(climb: Climb, kernels: Kernels, tensors: Sequence[Array]) -> tuple[Answers, bool]:
    """Answers by one family, and whether it is the very runtime that recorded the outputs."""
    runner = climb.runners.cpu(kernels)
    try:
        alike = recorded_alike(climb.bundle, runner)
        return run(climb, runner, tensors, f"{kernels} kernels").answers, alike
    finally:
        runner.close()


def _compared(name: str, recorded: Answers, answers: Answers) -> KernelFamily:
    pairs = zip(recorded.predictions, answers.predictions, strict=True)
    return KernelFamily(
        name=name,
        inputs=len(answers.predictions),
        flips=sum(flips(a, b) > 0 for a, b in pairs),
        error=output_error(recorded, answers) or OutputError(largest=0.0, mean=0.0, snr_db=None),
    )


def _yardstick(climb: Climb, recorded: Answers, candidates: Sequence[tuple[str, Answers]]) -> Yardstick:
    """The noise is measured on the family nearest to the recorded outputs: one that computes wrongly
    must not set the measure for itself."""
    inputs = climb.inputs
    places = inputs.random[:YARDSTICK_RANDOM] + inputs.margin[:YARDSTICK_MARGIN]
    away = [float(distances(recorded, answers).mean()) for _, answers in candidates]
    name, clean = candidates[int(np.argmin(away))]
    size = wobble.level(climb.bundle.spec, climb.tensor, climb.training)
    moved = wobble.wobbled([climb.training[i] for i in places], size)
    runner = climb.production if name == "production" else climb.runners.cpu("builtin")
    try:
        noisy = run(climb, runner, moved, "input noise").answers
    finally:
        if runner is not climb.production:
            runner.close()
    pairs = zip(clean.take(places).predictions, noisy.predictions, strict=True)
    return Yardstick(
        places=places,
        distance=distances(clean.take(places), noisy),
        flipped=np.array([flips(a, b, inputs.truth.tolerance) > 0 for a, b in pairs], np.bool_),
        floor=max(SMALLEST_DISTANCE, *(spec.scale for spec in climb.production.outputs)),
        tolerance=inputs.truth.tolerance,
    )
