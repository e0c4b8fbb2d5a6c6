"""A request to compare schemes, checked: everything wrong with it is said before anything is converted."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from agent.contracts import Runner, TensorSpec
from agent.errors import BundleError, InputError, MachineError, SpecError
from agent.preprocess.spec import PreprocessSpec
from agent.preprocess.spec import parse as parse_spec
from agent.runtime.choice import Runtime, choose
from agent.runtime.cpu import Cpu
from agent.runtime.interpreter import open_runner
from calibration.labelled import ReadLabel, class_label, number_label
from calibration.schemes import KINDS, converter
from calibration.schemes.comparison import Evaluation, Progress, Work, compare
from calibration.schemes.materials import Loaded, find, load, tensors
from calibration.schemes.scheme import Comparison, NotMade, Training
from calibration.schemes.trained_model import TrainedModel, read
from calibration.task import Choice, decoder_for, guess_task, guess_values, output_count

T = TypeVar("T")
CALIBRATION_INPUTS = 200
"""As many representative inputs are used; more change the ranges little and cost minutes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What the user asked for; see the command's options. ``device_ms``: by the stem of a scheme's file."""

    model: Path
    preprocess: Path
    images: Path
    output: Path
    representative: Path | None = None
    train: Path | None = None
    labels: Path | None = None
    epochs: int = 3
    learning_rate: float = 1e-4
    names: tuple[str, ...] = ()
    float_layers: int = 5
    device_ms: dict[str, float] | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A request that was found good."""

    work: Work
    evaluation: Evaluation
    skipped: tuple[str, ...]

    def run(self, *, progress: Progress) -> Comparison:
        return compare(self.work, self.evaluation, progress=progress)


class _Problems:
    def __init__(self) -> None:
        self.found: list[str] = []

    def attempt(self, call: Callable[[], T]) -> T | None:
        try:
            return call()
        except InputError as error:
            self.found += error.problems
        return None

    def check(self) -> None:
        if self.found:
            raise InputError(*dict.fromkeys(self.found))


def prepare(request: Request, *, cache: Path | None) -> Job:
    """Raises InputError with every problem found, MachineError where TensorFlow or a runtime is missing."""
    problems = _Problems()
    spec = problems.attempt(lambda: _spec(request.preprocess))
    model = problems.attempt(lambda: read(request.model))
    labels = problems.attempt(lambda: _label_lines(request.labels)) or ()
    problems.attempt(lambda: _folder(request.output))
    problems.check()
    assert spec is not None and model is not None
    runtime = choose("auto", cache=cache)
    runner = _float_runner(model, runtime)
    read_label = _label_reader(runner, labels)
    loaded = problems.attempt(lambda: load(find(request.images, spec, read_label), spec, runner.input))
    representative = _optional(problems, request.representative, spec, None, runner.input)
    train = _optional(problems, request.train, spec, read_label, runner.input)
    problems.check()
    assert loaded is not None
    used = representative and Loaded(
        payloads=representative.payloads[:CALIBRATION_INPUTS], labels=(), skipped=()
    )
    work = Work(
        model=model,
        schemes=tuple(KINDS[name] for name in request.names or KINDS),
        representative=tensors(used, spec, runner.input) if used else (),
        training=_training(train, spec, runner.input, request) if train else None,
        kept_float=request.float_layers,
        device_ms=request.device_ms or {},
        folder=request.output,
    )
    return Job(work=work, evaluation=_evaluation(loaded, spec, runner, runtime), skipped=loaded.skipped)


def _spec(path: Path) -> PreprocessSpec:
    try:
        return parse_spec(path.read_text(encoding="utf-8-sig"), where=str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"{path}: cannot be read: {getattr(error, 'strerror', 'not UTF-8')}") from None


def _label_lines(path: Path | None) -> tuple[str, ...]:
    from agent.bundle import read_labels

    if path is None:
        return ()
    try:
        return read_labels(path.read_bytes(), where=str(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None


def _folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BundleError(f"--output: {path} cannot be made: {error.strerror}") from None


def _float_runner(model: TrainedModel, runtime: Runtime) -> Runner:
    made = converter.make(model, KINDS["float32"], ())
    if isinstance(made, NotMade):
        raise MachineError(f"{model.path}: {made.reason}")
    return open_runner(Cpu(), made.flatbuffer, runtime=runtime, threads=1)


def _label_reader(runner: Runner, labels: tuple[str, ...]) -> ReadLabel | None:
    task, _ = guess_task(runner.outputs, None)
    if task == "classification":
        return class_label(labels, output_count(runner.outputs))
    return number_label if task == "regression" else None


def _optional(
    problems: _Problems,
    where: Path | None,
    spec: PreprocessSpec,
    read_label: ReadLabel | None,
    tensor: TensorSpec,
) -> Loaded | None:
    if where is None:
        return None
    return problems.attempt(lambda: load(find(where, spec, read_label), spec, tensor))


def _training(loaded: Loaded, spec: PreprocessSpec, tensor: TensorSpec, request: Request) -> Training:
    known = [i for i, label in enumerate(loaded.labels) if label is not None]
    if not known:
        raise InputError(f"{request.train}: no input has a label to train on")
    inputs = tensors(loaded, spec, tensor)
    return Training(
        inputs=np.concatenate([inputs[i] for i in known]),
        labels=np.array([float(loaded.labels[i] or 0.0) for i in known]),
        epochs=request.epochs,
        learning_rate=request.learning_rate,
    )


def _evaluation(loaded: Loaded, spec: PreprocessSpec, runner: Runner, runtime: Runtime) -> Evaluation:
    some = [runner.run(tensor)[0] for tensor in tensors(_first(loaded), spec, runner.input)]
    task, _ = guess_task(runner.outputs, None)
    values, _ = guess_values(some, runner.outputs[0]) if task == "classification" else ("scores", "")
    return Evaluation(
        payloads=loaded.payloads,
        labels=loaded.labels,
        spec=spec,
        decoder=decoder_for(task, runner.outputs, None, Choice(), values),
        runtime=runtime,
    )


def _first(loaded: Loaded) -> Loaded:
    return Loaded(payloads=loaded.payloads[:16], labels=loaded.labels[:16], skipped=())
