"""What a golden set is to be made of, checked before anything is run."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from agent.contracts import Runner
from agent.errors import BundleError, InputError
from agent.runtime.choice import Runtime
from calibration import golden
from calibration.float_twin import FloatTwin
from calibration.labelled import Inputs
from calibration.recorded.training_tensors import TrainingTensors, input_list
from calibration.task import Task


@dataclass(frozen=True, kw_only=True, slots=True)
class GoldenRequest:
    """What the user asked for. Without ``inputs`` a few of the held-out inputs are recorded.

    ``count`` random inputs and ``margin`` undecided ones, their tensors at most ``max_bytes`` together,
    their originals ``max_originals_bytes``. ``tensors``: a folder of training's own tensors;
    ``accept_difference``: record it where they are not what the spec makes. ``float_model``: the float
    twin. ``tolerance``: the error of a regression that still counts as right, None for a default.
    """

    inputs: Path | None = None
    count: int = golden.COUNT_RANDOM
    margin: int = golden.COUNT_MARGIN
    max_bytes: int = golden.MAX_BYTES
    max_originals_bytes: int = golden.MAX_ORIGINALS_BYTES
    tensors: Path | None = None
    accept_difference: bool = False
    float_model: Path | None = None
    tolerance: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class GoldenPlan:
    """A request that was found good; counts and limits are those to record by."""

    inputs: Inputs
    count: int
    margin: int
    max_bytes: int
    max_originals_bytes: int
    accept_difference: bool
    tolerance: float | None
    tensors: TrainingTensors | None = field(repr=False)
    float_twin: FloatTwin | None = field(repr=False)


def prepare(
    request: GoldenRequest,
    *,
    held_out: Inputs,
    find: Callable[[Path], Inputs],
    task: Task,
    runner: Runner,
    runtime: Runtime,
    threads: int,
) -> GoldenPlan:
    """``find`` lists the inputs in a file or folder. Raises BundleError with every problem."""
    problems: list[str] = []
    inputs, tensors, twin = held_out, None, None
    try:
        inputs, tensors = _inputs(request, held_out, find)
    except InputError as error:
        problems += error.problems
    if request.tolerance is not None and task != "regression":
        problems.append(f"--tolerance is for regressions, this is a {task} model")
    try:
        if request.float_model is not None:
            twin = FloatTwin.open(
                request.float_model,
                like=runner,
                quantized_input=runner.input,
                runtime=runtime,
                threads=threads,
            )
    except InputError as error:
        problems += error.problems
    if problems:
        raise BundleError(*problems)
    asked = request.inputs is not None
    return GoldenPlan(
        inputs=inputs,
        count=request.count if asked else golden.COUNT,
        margin=request.margin if asked else 0,
        max_bytes=request.max_bytes,
        max_originals_bytes=request.max_originals_bytes,
        accept_difference=request.accept_difference,
        tolerance=request.tolerance,
        tensors=tensors,
        float_twin=twin,
    )


def _inputs(
    request: GoldenRequest, held_out: Inputs, find: Callable[[Path], Inputs]
) -> tuple[Inputs, TrainingTensors | None]:
    """The inputs, and training's own tensors of them where they are given; a recording has both."""
    listed = input_list(request.inputs) if request.inputs is not None else None
    inputs = held_out if listed is None else find(listed)
    folder = request.tensors or (request.inputs if listed != request.inputs else None)
    if folder is None:
        return inputs, None
    return inputs, TrainingTensors.open(folder, [given.name for given in inputs])
