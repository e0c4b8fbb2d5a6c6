"""A request to pack, checked: everything wrong with it is said at once, before anything is run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from agent import bundle
from agent.contracts import Runner
from agent.errors import BundleError, LabelError, SpecError
from agent.monitor.features import FeatureSet, feature_set
from agent.preprocess.compiled import Compiled, compile_spec
from agent.preprocess.spec import PreprocessSpec, is_image
from agent.preprocess.spec import parse as parse_spec
from agent.preprocess.vectors import Select
from agent.runtime.choice import Runtime
from agent.runtime.cpu import Cpu
from agent.runtime.interpreter import open_runner
from calibration import tflite_metadata
from calibration.labelled import (
    Inputs,
    class_label,
    find_images,
    find_vectors,
    number_label,
    read_label_file,
)
from calibration.problems import Problems
from calibration.recorded import plan as golden_plan
from calibration.recorded.plan import GoldenPlan, GoldenRequest
from calibration.spec_file import read_spec_text
from calibration.task import Choice, Task, decoder_for, guess_task, output_count
from calibration.tflite_metadata import ModelFile


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What the user asked for. ``created`` is RFC 3339. Faults are replayed on at most ``replay_inputs`` of
    the labelled held-out inputs; 0: not at all."""

    model: Path
    preprocess: Path
    held_out: Path
    created: str
    labels: Path | None = None
    choice: Choice = field(default_factory=Choice)
    edgetpu: Path | None = None
    training_run: str | None = None
    threads: int = 1
    replay_inputs: int = 0
    golden: GoldenRequest = field(default_factory=GoldenRequest)


@dataclass(frozen=True, kw_only=True, slots=True)
class Model:
    """The model as it lies in its file: the flatbuffer and the files it already carries."""

    flatbuffer: bytes = field(repr=False)
    associated: Mapping[str, bytes] = field(repr=False)
    file: ModelFile


@dataclass(frozen=True, kw_only=True, slots=True)
class Files:
    """What the request's files hold. ``labels_from``: the file the labels were found in, or ""."""

    model: Model
    spec: PreprocessSpec
    spec_text: str
    labels: tuple[str, ...]
    labels_from: str
    edgetpu: bytes | None = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """A request that was found good. ``task_reason`` says why the task was guessed so."""

    request: Request
    files: Files
    runner: Runner
    runtime: Runtime
    compiled: Compiled
    task: Task
    task_reason: str
    features: FeatureSet
    inputs: Inputs
    golden: GoldenPlan


def read_model(path: Path) -> Model:
    """Raises BundleError when ``path`` is no usable .tflite."""
    data = bundle.read_file(path)
    flatbuffer, associated = bundle.split(data, name=path.name)
    file = tflite_metadata.read(flatbuffer, where=path.name)
    return Model(flatbuffer=flatbuffer, associated=associated, file=file)


def prepare(request: Request, runtime: Runtime) -> Plan:
    """Check the whole request. Raises BundleError with every problem found."""
    problems = Problems()
    files = _read_files(request, problems)
    runner = problems.attempt(lambda: open_kernels(files.model.flatbuffer, runtime, request.threads, "auto"))
    if runner is None:
        raise BundleError(*problems.found)
    compiled = problems.attempt(lambda: _compile(files.spec, runner, request))
    task, reason = problems.attempt(lambda: _task(request.choice, runner, files.model.file)) or (None, "")
    problems.attempt(lambda: _check_labels(files, task, runner))
    inputs = problems.attempt(lambda: _inputs(request.held_out, request, files, task, runner))
    if task is None or inputs is None or compiled is None:
        raise BundleError(*problems.found)
    features = problems.attempt(lambda: _features(files.spec, inputs, task, runner))
    golden = problems.attempt(
        lambda: golden_plan.prepare(
            request.golden,
            held_out=inputs,
            find=lambda where: _inputs(where, request, files, task, runner),
            task=task,
            runner=runner,
            runtime=runtime,
            threads=request.threads,
        )
    )
    if features is None or golden is None or problems.found:
        raise BundleError(*problems.found)
    return Plan(
        request=request,
        files=files,
        runner=runner,
        runtime=runtime,
        compiled=compiled,
        task=task,
        task_reason=reason,
        features=features,
        inputs=inputs,
        golden=golden,
    )


def open_kernels(flatbuffer: bytes, runtime: Runtime, threads: int, kernels: str) -> Runner:
    """The model on the CPU by ``kernels``: "auto", or "reference"."""
    delegate = Cpu(kernels="reference") if kernels == "reference" else Cpu()
    return open_runner(delegate, flatbuffer, runtime=runtime, threads=threads)


def _read_files(request: Request, problems: Problems) -> Files:
    """Raises BundleError with every problem of the files, which nothing further can be said without."""
    model = problems.attempt(lambda: _packable(request.model))
    text = problems.attempt(lambda: read_spec_text(request.preprocess)) or ""
    spec = problems.attempt(lambda: parse_spec(text, where=str(request.preprocess))) if text else None
    labels, labels_from = problems.attempt(lambda: find_labels(request, model)) or ((), "")
    edgetpu = problems.attempt(lambda: _edgetpu(request, model)) if model else None
    problems.attempt(lambda: _check_time(request.created))
    if model is None or spec is None or problems.found:
        raise BundleError(*problems.found)
    return Files(
        model=model, spec=spec, spec_text=text, labels=labels, labels_from=labels_from, edgetpu=edgetpu
    )


def _packable(path: Path) -> Model:
    model = read_model(path)
    if model.file.edgetpu:
        raise BundleError(
            f"{path}: compiled for the Edge TPU: pack the .tflite it was compiled from, and give this one "
            "as --edgetpu"
        )
    return model


def _check_time(created: str) -> None:
    try:
        made = datetime.fromisoformat(created)
    except ValueError:
        made = None
    if made is None or made.tzinfo is None or "T" not in created:
        raise BundleError(f"created: expected RFC 3339, such as 2026-01-31T12:00:00Z, got {created!r}")


def find_labels(request: Request, model: Model | None) -> tuple[tuple[str, ...], str]:
    """The labels and where they come from: a file, or those the model carries."""
    if request.labels is not None:
        labels = read_label_file(request.labels)
        if not labels:
            raise LabelError(f"{request.labels}: is empty")
        return labels, str(request.labels)
    return carried_labels(model, request.model.name) if model else ((), "")


def carried_labels(model: Model, name: str) -> tuple[tuple[str, ...], str]:
    """The label lines a model of that file name carries, and where they stand in it; none: ((), "")."""
    metadata = model.file.metadata
    for file in (metadata.labels_file if metadata else None, bundle.LABELS):
        if file and file in model.associated:
            where = f"{name}: {file}"
            return bundle.read_labels(model.associated[file], where=where), where
    return (), ""


def _edgetpu(request: Request, model: Model) -> bytes | None:
    """The model's twin for the Edge TPU, which must take and give the same tensors."""
    if request.edgetpu is None:
        return None
    twin = read_model(request.edgetpu)
    if not twin.file.edgetpu:
        raise BundleError(f"{request.edgetpu}: not compiled for the Edge TPU (no edgetpu-custom-op in it)")
    for what, ours, theirs in (
        ("input", model.file.inputs, twin.file.inputs),
        ("output", model.file.outputs, twin.file.outputs),
    ):
        if [(t.shape, t.dtype) for t in ours] != [(t.shape, t.dtype) for t in theirs]:
            raise BundleError(f"{request.edgetpu}: its {what} tensors are not those of {request.model.name}")
    return twin.flatbuffer


def _compile(spec: PreprocessSpec, runner: Runner, request: Request) -> Compiled:
    try:
        return compile_spec(spec, runner.input)
    except SpecError as error:
        raise SpecError(*(f"{request.preprocess}: {problem}" for problem in error.problems)) from None


def _task(choice: Choice, runner: Runner, file: ModelFile) -> tuple[Task, str]:
    """The task and its ground; the outputs must suit it."""
    if choice.task is not None:
        task, reason = choice.task, "as given"
    else:
        task, reason = guess_task(runner.outputs, file.detection_outputs)
    decoder_for(task, runner.outputs, file.detection_outputs, choice)
    return task, reason


def _check_labels(files: Files, task: Task | None, runner: Runner) -> None:
    """Detection models count their label maps in their own ways; nothing can be said of those."""
    if not files.labels or task in (None, "detection"):
        return
    source, lines = files.labels_from, len(files.labels)
    if task == "regression":
        raise LabelError(f"{source}: a regression has no labels file (or say --task classification)")
    outputs = output_count(runner.outputs)
    if lines != outputs:
        hint = " (is the background class missing from the labels?)" if outputs - lines == 1 else ""
        raise LabelError(f"{source}: {lines} lines, the model has {outputs} outputs{hint}")


def _inputs(where: Path, request: Request, files: Files, task: Task | None, runner: Runner) -> Inputs:
    if not where.exists():
        raise LabelError(f"{where}: no such file or folder")
    read_label = None
    if task == "classification":
        read_label = class_label(files.labels, output_count(runner.outputs))
    elif task == "regression" and output_count(runner.outputs) == 1:
        read_label = number_label
    if is_image(files.spec):
        return find_images(where, read_label)
    if where.is_dir():
        raise LabelError(f"{where}: a folder, but {request.preprocess} prepares vectors: give a CSV")
    return find_vectors(where, read_label)


def _features(spec: PreprocessSpec, inputs: Inputs, task: Task, runner: Runner) -> FeatureSet:
    return feature_set(
        image=is_image(spec),
        prediction=task,
        vector=_element_names(spec, inputs),
        outputs=output_count(runner.outputs),
    )


def _element_names(spec: PreprocessSpec, inputs: Inputs) -> tuple[str, ...]:
    """What the vector's elements are called after the spec's selections."""
    names = inputs.columns
    for step in spec.steps:
        if not isinstance(step, Select):
            continue
        if step.columns and step.columns != names:
            raise SpecError(
                f"{inputs.where}: its columns are not those of select.columns ({', '.join(names)})"
            )
        if max(step.positions) >= len(names):
            raise SpecError(f"{inputs.where}: select wants element {max(step.positions)} of {len(names)}")
        names = tuple(names[position] for position in step.positions)
    return names
