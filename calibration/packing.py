"""Makes a bundle of a checked plan: runs the model over the held-out inputs, records, writes."""

import contextlib
import os
import platform
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

import agent
from agent import bundle
from agent.bundle import Bundle, GoldenSet, Parts
from agent.contracts import Array, Decoder
from agent.errors import BundleError, FrameError
from agent.manifest import Environment
from agent.monitor.reference import Reference
from agent.plain_text import plain_text
from agent.preprocess.spec import fingerprint
from agent.runtime.choice import Runtime
from calibration import golden, reference_builder
from calibration.golden import Made, Progress
from calibration.plan import Plan, open_kernels
from calibration.recorded.doubts import answer_doubts, weight_doubts
from calibration.recorded.figures import Figures, figures, with_tolerance
from calibration.recorded.parity import Parity
from calibration.reference_builder import Built, Subject
from calibration.replay import learning
from calibration.replay.learning import Learnt
from calibration.task import decoder_for, guess_values

_GUESS_INPUTS = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Packed:
    """The bundle's bytes, and the same read back and verified. ``decoder_reason``: why its numbers
    are decoded as they are. ``figures`` is what the golden set says, ``notes`` what is to be said of it,
    ``parity`` how training's own tensors compare with the spec (None without), ``learnt`` what replayed
    faults taught."""

    data: bytes = field(repr=False)
    bundle: Bundle = field(repr=False)
    built: Built = field(repr=False)
    decoder_reason: str
    figures: Figures
    notes: tuple[str, ...]
    parity: Parity | None
    learnt: Learnt


def pack(
    plan: Plan,
    *,
    key: str | None,
    progress: Progress,
    golden_progress: Progress = lambda inputs, _: inputs,
    replay_progress: Progress = lambda inputs, _: inputs,
) -> Packed:
    """Run the model over the held-out inputs, record the golden set, and write the bundle; ``key``
    signs it. ``golden_progress`` is asked for each pass over golden inputs, ``replay_progress`` for the
    one over the inputs faults are replayed on.

    Raises BundleError when too many inputs cannot be used, or training's own tensors are not those of
    the spec.
    """
    decoder, reason = _decoder(plan)
    # First, because training's tensors that are not the spec's are a reason to stop.
    recorded = _golden(plan, decoder, golden_progress)
    subject = Subject(preprocess=plan.compiled, runner=plan.runner, decoder=decoder, features=plan.features)
    built = reference_builder.build(
        progress(plan.inputs, len(plan.inputs)),
        total=len(plan.inputs),
        subject=subject,
        labels=plan.files.labels,
        fingerprint=fingerprint(plan.files.spec),
    )
    found = figures(
        recorded.golden,
        decoder=decoder,
        outputs=plan.runner.outputs,
        tolerance=plan.golden.tolerance,
        mse=built.reference.mse,
        labels=[given.label for given in plan.inputs if given.label is not None],
    )
    learnt = _learnt(plan, subject, built.reference, replay_progress)
    parts = _parts(plan, decoder, built, with_tolerance(recorded.golden, found), learnt)
    data = bundle.write(plan.files.model.flatbuffer, parts, key=key)
    # What was written is read as the device will read it: a bundle that cannot be never leaves.
    made = bundle.read(data, name=plan.request.model.name)
    return Packed(
        data=data,
        bundle=made,
        built=built,
        decoder_reason=reason,
        figures=found,
        notes=(*recorded.notes, *_doubts(plan, recorded.golden, decoder), *found.notes),
        parity=recorded.parity,
        learnt=learnt,
    )


def _parts(plan: Plan, decoder: Decoder, built: Built, golden_set: GoldenSet, learnt: Learnt) -> Parts:
    return Parts(
        name=plain_text(plan.request.model.stem),
        created=plan.request.created,
        preprocess=plan.files.spec_text,
        decoder=decoder,
        reference=built.reference,
        environment=_environment(plan.runtime),
        golden=golden_set,
        labels=plan.files.labels,
        training_run=plan.request.training_run,
        edgetpu=plan.files.edgetpu,
        estimator=learnt.estimator,
        signatures=learnt.signatures,
        associated=plan.files.model.associated,
    )


def _learnt(plan: Plan, subject: Subject, reference: Reference, progress: Progress) -> Learnt:
    return learning.learn(
        plan.inputs,
        kind=plan.task,
        spec=plan.files.spec,
        subject=subject,
        reference=reference,
        most=plan.request.replay_inputs,
        progress=progress,
    )


def _golden(plan: Plan, decoder: Decoder, progress: Progress) -> Made:
    wanted, request = plan.golden, plan.request
    reference = open_kernels(plan.files.model.flatbuffer, plan.runtime, request.threads, "reference")
    try:
        return golden.build(
            wanted.inputs,
            spec=plan.files.spec,
            runner_reference=reference,
            runner_fast=plan.runner,
            decoder=decoder,
            float_twin=wanted.float_twin,
            tensors=wanted.tensors,
            count_random=wanted.count,
            count_margin=wanted.margin,
            max_bytes=wanted.max_bytes,
            max_originals_bytes=wanted.max_originals_bytes,
            accept_difference=wanted.accept_difference,
            progress=progress,
        )
    finally:
        reference.close()


def _doubts(plan: Plan, golden_set: GoldenSet, decoder: Decoder) -> tuple[str, ...]:
    """What speaks against the float model being this one's twin."""
    twin = plan.golden.float_twin
    weights = weight_doubts(plan.files.model.flatbuffer, twin.flatbuffer) if twin is not None else ()
    return weights + answer_doubts(golden_set, decoder, plan.runner.outputs)


def check_writable(path: Path) -> None:
    """Before a long run: that ``path`` can be written at its end. Raises BundleError."""
    if path.is_dir():
        raise BundleError(f"{path}: cannot be written: it is a folder")
    try:
        tempfile.TemporaryFile(dir=path.parent, prefix=f".{path.name}.").close()
    except OSError as error:
        raise BundleError(f"{path}: cannot be written: {error.strerror}") from None


def save(path: Path, data: bytes) -> None:
    """Write ``path`` as a whole or not at all. Raises BundleError."""
    try:
        file = tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False)  # noqa: SIM115 -- renamed, not deleted
    except OSError as error:
        raise BundleError(f"{path}: cannot be written: {error.strerror}") from None
    try:
        with file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(file.name).chmod(0o644)
        Path(file.name).replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            Path(file.name).unlink()
        raise BundleError(f"{path}: cannot be written: {error.strerror}") from None


def _decoder(plan: Plan) -> tuple[Decoder, str]:
    choice, outputs = plan.request.choice, plan.runner.outputs
    found = plan.files.model.file.detection_outputs
    if plan.task != "classification" or choice.values is not None:
        return decoder_for(plan.task, outputs, found, choice), plan.task_reason
    values, reason = guess_values(_some_outputs(plan), outputs[0])
    return decoder_for(plan.task, outputs, found, choice, values), f"{plan.task_reason}; {values}: {reason}"


def _some_outputs(plan: Plan) -> list[Array]:
    outputs: list[Array] = []
    reasons: list[str] = []
    for given in golden.choose(plan.inputs)[: 4 * _GUESS_INPUTS]:
        try:
            outputs.append(plan.runner.run(plan.compiled(given.payload()).tensor)[0])
        except FrameError as error:
            reasons.append(plain_text(f"{given.name}: {error}"))
        if len(outputs) == _GUESS_INPUTS:
            break
    if not outputs:
        raise BundleError(f"{plan.inputs.where}: no input can be used", *reasons[:5])
    return outputs


def _environment(runtime: Runtime) -> Environment:
    return Environment(
        litewatch=agent.__version__,
        runtime=runtime.name,
        runtime_version=runtime.version,
        numpy=np.__version__,
        opencv=cv2.__version__,
        machine=platform.machine(),
    )
