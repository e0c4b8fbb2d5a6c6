"""The accuracy ladder: the same golden inputs, rung by rung, from the float model to this device.

``climb`` runs what has to be run here (``kernels``, ``preparing``), leaves the comparison to ``rungs``
and the verdicts to ``judgement``. Accuracies, points and flips come from the random stratum; the margin
stratum, the inputs that flip first, is run as well and only noticed.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from agent import golden_tensor
from agent.bundle import Bundle
from agent.contracts import Array, TensorSpec
from agent.errors import BundleError, FrameError
from agent.golden import GoldenInput
from agent.preprocess.compiled import Compiled, compile_spec
from agent.preprocess.spec import PreprocessSpec
from calibration.check_result import CheckResult, Picture
from calibration.outcomes import Answers, Truth, read_answers
from calibration.paired import ALPHA, ENOUGH_LABELS
from calibration.rung import judgement
from calibration.rung.climbing import Climb, Progress
from calibration.rung.flipped import Shown, flipped_pictures
from calibration.rung.kernels import measure_delegate, measure_kernels
from calibration.rung.machine import Runners, environment, recorded_environment
from calibration.rung.measured import (
    DELEGATE,
    FLOAT,
    KERNELS,
    QUANTIZED,
    Inputs,
    Measured,
    Yardstick,
    compare,
    scored,
)
from calibration.rung.preparing import Above, Foreign, by_spec, measure_foreign, measure_own
from calibration.rung.sentences import ladder_sentence


def silent(items: Iterable[Any], total: int, label: str) -> Iterable[Any]:
    """The progress that nobody sees."""
    return items


def climb(
    bundle: Bundle,
    *,
    runners: Runners,
    inputs: int | None = None,
    foreign: Foreign | PreprocessSpec | None = None,
    progress: Progress = silent,
    pictures: int = 4,
) -> CheckResult:
    """Climb the ladder of ``bundle`` on this machine.

    ``inputs`` limits the random stratum, and the margin stratum to half as many. ``foreign`` (a pipeline,
    or another spec) adds the rung "your preprocessing"; inputs for which it has no tensor are left out of
    the whole climb. At most ``pictures`` flipped inputs are drawn.

    Raises BundleError without golden inputs or when the spec does not fit the model, MachineError when
    a runner fails, and what ``foreign`` raises.
    """
    chosen = _chosen(bundle, inputs)
    production = runners.cpu(runners.production)
    try:
        compiled = compile_spec(bundle.spec, production.input)
        if isinstance(foreign, PreprocessSpec):
            foreign = by_spec(foreign, "the deployed spec", production.input)
        notes = list(_notes(bundle, chosen))
        kept, foreign = _with_foreign(chosen, foreign, notes)
        shared = Climb(
            bundle=bundle,
            runners=runners,
            production=production,
            golden=kept,
            inputs=_inputs(bundle, kept),
            training=tuple(_training(given, compiled, production.input) for given in kept),
            progress=progress,
        )
        return _climb(shared, foreign, notes, pictures)
    finally:
        production.close()


def _climb(shared: Climb, foreign: Foreign | None, notes: list[str], pictures: int) -> CheckResult:
    recorded = _recorded(shared, QUANTIZED)
    kernels = measure_kernels(shared, recorded)
    measured = [*_recorded_rungs(shared, recorded, kernels.yardstick), kernels.measured]
    shown: list[Shown] = []
    runner = shared.runners.delegate() if shared.runners.delegate else shared.production
    try:
        above = Above(name=KERNELS, answers=kernels.answers, runner=runner, kernels=kernels)
        if runner is not shared.production:
            _fits(runner.input, shared.tensor)
            delegate, answers = measure_delegate(shared, runner, kernels)
            measured.append(delegate)
            above = Above(name=DELEGATE, answers=answers, runner=runner, kernels=kernels)
        prepared = [measure_own(shared, above)]
        if foreign is not None:
            prepared.append(measure_foreign(shared, above, foreign))
        for rung, answers, tensors in prepared:
            measured.append(rung)
            shown.append(Shown(rung=rung.name, above=above.answers, here=answers, tensors=tensors))
        here = environment(runner)
    finally:
        if runner is not shared.production:
            runner.close()
    shown.append(Shown(rung=KERNELS, above=recorded, here=kernels.answers, tensors=shared.training))
    drawn = flipped_pictures(shared, shown, most=pictures) if pictures else ()
    return _result(shared, measured, here, tuple(notes), drawn)


def _result(
    shared: Climb,
    measured: Sequence[Measured],
    here: tuple[tuple[str, str], ...],
    notes: tuple[str, ...],
    pictures: tuple[Picture, ...],
) -> CheckResult:
    rungs = judgement.judge(measured)
    verdict, cause, decided = judgement.overall(rungs)
    recording = shared.bundle.golden.recording
    known = any(m.tensors is not None and m.tensors.accepted for m in measured)
    accepted = recording.difference if recording is not None and known else ""
    return CheckResult(
        bundle=shared.bundle.name,
        task=shared.bundle.manifest.task,
        verdict=verdict,
        cause=cause,
        sentence=ladder_sentence(rungs, decided, ALPHA, accepted=accepted),
        rungs=rungs,
        origin=recording.origin if recording else "unknown",
        environment=here,
        recorded=recorded_environment(shared.bundle),
        notes=notes,
        pictures=pictures,
    )


def _chosen(bundle: Bundle, most: int | None) -> tuple[GoldenInput, ...]:
    usable = [given for given in bundle.golden.inputs if given.outputs]
    random = [given for given in usable if given.stratum == "random"]
    margin = [given for given in usable if given.stratum == "margin"]
    if not random:
        raise BundleError(
            f"{bundle.name}: no golden inputs with recorded outputs: pack it again with --golden"
        )
    if most is not None:
        random, margin = random[:most], margin[: most // 2]
    return (*random, *margin)


def _with_foreign(
    chosen: tuple[GoldenInput, ...], foreign: Foreign | None, notes: list[str]
) -> tuple[tuple[GoldenInput, ...], Foreign | None]:
    """The inputs the foreign pipeline has a tensor for; each is prepared once and remembered."""
    if foreign is None:
        return chosen, None
    made = {given.name: tensor for given in chosen if (tensor := foreign.prepare(given)) is not None}
    kept = tuple(given for given in chosen if given.name in made)
    if not any(given.stratum == "random" for given in kept):
        raise BundleError(f"{foreign.name}: no tensor for any golden input")
    if len(kept) < len(chosen):
        notes.append(
            f"{len(chosen) - len(kept)} of {len(chosen)} golden inputs left out: {foreign.name} has none"
        )
    return kept, Foreign(name=foreign.name, prepare=lambda given: made[given.name])


def _inputs(bundle: Bundle, golden: Sequence[GoldenInput]) -> Inputs:
    recording = bundle.golden.recording
    return Inputs(
        truth=Truth(
            labels=tuple(given.label for given in golden),
            tolerance=recording.tolerance if recording else None,
        ),
        random=tuple(i for i, given in enumerate(golden) if given.stratum == "random"),
        margin=tuple(i for i, given in enumerate(golden) if given.stratum == "margin"),
    )


def _training(golden: GoldenInput, compiled: Compiled, tensor: TensorSpec) -> Array:
    """The training-side tensor; in bundles that recorded none, what the spec makes of the original."""
    try:
        if golden.tensor is not None:
            return golden_tensor.restore(golden.tensor, compiled, tensor)
        return compiled(golden.payload).tensor
    except (FrameError, ValueError) as error:
        raise BundleError(f"golden input {golden.name}: its tensor cannot be restored: {error}") from None


def _recorded(shared: Climb, rung: str) -> Answers:
    specs = shared.production.outputs
    if rung == QUANTIZED:
        return read_answers([given.outputs for given in shared.golden], specs, shared.bundle.decoder)
    floats = tuple(TensorSpec(name=spec.name, shape=spec.shape, dtype="float32") for spec in specs)
    return read_answers([given.float_outputs for given in shared.golden], floats, shared.bundle.decoder)


def _recorded_rungs(shared: Climb, quantized: Answers, yardstick: Yardstick) -> list[Measured]:
    """The rungs that were climbed when packing."""
    count = len(shared.inputs.random)
    labelled, right = scored(quantized, shared.inputs)
    bare = Measured(name=QUANTIZED, compared=None, inputs=count, labelled=labelled, right=right, against=None)
    if any(given.float_outputs is None for given in shared.golden):
        return [bare]
    floats = _recorded(shared, FLOAT)
    float_labelled, float_right = scored(floats, shared.inputs)
    first = Measured(
        name=FLOAT, compared=None, inputs=count, labelled=float_labelled, right=float_right, against=None
    )
    second = Measured(
        name=QUANTIZED,
        compared=FLOAT,
        inputs=count,
        labelled=labelled,
        right=right,
        against=compare(floats, quantized, shared.inputs),
        wobbles=yardstick.wobbles(floats, quantized),
        excess_p=yardstick.excess_p(floats, quantized),
    )
    return [first, second]


def _fits(delegate: TensorSpec, cpu: TensorSpec) -> None:
    if (delegate.shape, delegate.dtype) != (cpu.shape, cpu.dtype):
        raise BundleError(
            f"the delegate's model takes {delegate.dtype} {delegate.shape}, "
            f"the bundle's {cpu.dtype} {cpu.shape}"
        )


def _notes(bundle: Bundle, golden: Sequence[GoldenInput]) -> Iterable[str]:
    recording = bundle.golden.recording
    if recording is None:
        yield "the bundle is of an earlier version: without recorded tensors the spec's own stand for them"
    elif recording.origin == "self-made":
        yield (
            "the golden tensors are self-made: they prove that devices agree with the spec, not that the "
            "spec agrees with training"
        )
    if recording is not None and recording.difference:
        yield (
            f"accepted when packing: {recording.difference.rstrip('.')}; tensors that are the spec's are no "
            "fault of this device, and a loss against training's counts when it is proven"
        )
    if any(given.float_outputs is None for given in golden):
        yield "no float outputs were recorded: the ladder starts at the quantized model"
    if sum(given.label is not None for given in golden) < ENOUGH_LABELS:
        yield "too few golden inputs have labels to speak of accuracy"
