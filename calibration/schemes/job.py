"""A request to compare schemes, checked: everything wrong with it is said before anything is converted."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from agent.contracts import Runner, TensorSpec
from agent.decode.classification import ClassificationDecoder
from agent.errors import BundleError, InputError
from agent.preprocess.spec import PreprocessSpec
from agent.runtime.choice import Runtime, choose
from agent.runtime.cpu import Cpu
from agent.runtime.interpreter import open_runner
from calibration.labelled import ReadLabel, class_label, number_label, read_label_file
from calibration.problems import Problems
from calibration.schemes import KINDS, converter
from calibration.schemes.comparison import Evaluation, Progress, Work, compare
from calibration.schemes.materials import Loaded, drawn, find, load, tensors
from calibration.schemes.request import (
    Request,
    check_needs,
    check_writable,
    make_folder,
    read_float_spec,
)
from calibration.schemes.scheme import Comparison, Head, NotMade, Training
from calibration.schemes.trained_model import TrainedModel, read
from calibration.task import Choice, Task, decoder_for, guess_task, guess_values, output_count

CALIBRATION_INPUTS = 200
"""As many representative inputs are used; more change the ranges little and cost minutes."""
_SKIPPED_SHOWN = 3
_GUESSED_FROM = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Job:
    """A request that was found good. ``notes``: what the user should know of its inputs."""

    work: Work
    evaluation: Evaluation
    notes: tuple[str, ...]

    def run(self, *, progress: Progress) -> Comparison:
        return compare(self.work, self.evaluation, progress=progress)


def _check(problems: Problems) -> None:
    if problems.found:
        raise InputError(*problems.found)


def prepare(request: Request, *, cache: Path | None) -> Job:
    """Raises InputError with every problem found, MachineError where TensorFlow or a runtime is missing."""
    problems = Problems()
    names = tuple(dict.fromkeys(request.names))
    problems.attempt(lambda: check_needs(names, request))
    spec = problems.attempt(lambda: read_float_spec(request.preprocess))
    model = problems.attempt(lambda: read(request.model))
    given = request.labels
    labels = (problems.attempt(lambda: read_label_file(given)) if given else None) or ()
    problems.attempt(lambda: make_folder(request.output))
    picture = request.picture
    if picture is not None:
        problems.attempt(lambda: check_writable(picture.parent, "--picture"))
    _check(problems)
    assert spec is not None and model is not None
    runtime = choose("auto", cache=cache)
    runner = _float_runner(model, runtime)
    head = _Head.of(runner, request.choice, labels)
    source = _Source(spec=spec, tensor=runner.input)
    loaded = problems.attempt(lambda: source.load(request.images, head.read_label))
    calibrating = problems.attempt(lambda: source.draw(request.representative, None, CALIBRATION_INPUTS))
    train = problems.attempt(lambda: source.draw(request.train, head.read_label, request.train_count))
    if problems.found and not labels and any(_UNRESOLVED in problem for problem in problems.found):
        problems.add("--labels: give the file with the class names, one line per output")
    _check(problems)
    assert loaded is not None
    evaluation = _evaluation(loaded, source, runner, runtime, head.task, request.choice)
    work = Work(
        model=model,
        schemes=tuple(KINDS[name] for name in names or KINDS),
        representative=tensors(calibrating, spec, runner.input) if calibrating else (),
        training=_training(train, source, request, _kind(evaluation, head)) if train else None,
        kept_float=request.float_layers,
        device_ms=request.device_ms or {},
        folder=request.output,
    )
    read_from = {"--images": loaded, "--representative": calibrating, "--train": train}
    return Job(work=work, evaluation=evaluation, notes=tuple(_notes(read_from, request)))


_UNRESOLVED = "neither an output index nor a line of the labels file"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Head:
    """What the model's outputs mean, and how a label of theirs is read."""

    task: Task
    read_label: ReadLabel | None

    @classmethod
    def of(cls, runner: Runner, choice: Choice, labels: tuple[str, ...]) -> "_Head":
        task = choice.task or guess_task(runner.outputs, None)[0]
        if task == "classification":
            return cls(task=task, read_label=class_label(labels, output_count(runner.outputs)))
        return cls(task=task, read_label=number_label if task == "regression" else None)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Source:
    """How files become inputs of the model."""

    spec: PreprocessSpec
    tensor: TensorSpec

    def load(self, where: Path, read_label: ReadLabel | None) -> Loaded:
        return load(find(where, self.spec, read_label), self.spec, self.tensor)

    def draw(self, where: Path | None, read_label: ReadLabel | None, most: int) -> Loaded | None:
        """``most`` inputs at random; with ``read_label`` of those that have a label."""
        if where is None:
            return None
        inputs = drawn(find(where, self.spec, read_label), labelled=read_label is not None)
        return load(inputs, self.spec, self.tensor, most)


def _notes(read_from: dict[str, Loaded | None], request: Request) -> list[str]:
    found = []
    for option, loaded in read_from.items():
        if loaded is not None and loaded.skipped:
            shown = "; ".join(loaded.skipped[:_SKIPPED_SHOWN])
            found.append(f"{option}: {len(loaded.skipped)} inputs were skipped: {shown}")
    train = read_from["--train"]
    if train is not None and len(train.payloads) == request.train_count:
        found.append(f"--train: {request.train_count:,} inputs drawn at random are used (--train-count)")
    return found


def _float_runner(model: TrainedModel, runtime: Runtime) -> Runner:
    made = converter.make(model, KINDS["float32"], ())
    if isinstance(made, NotMade):
        raise InputError(f"{model.path}: {made.reason}")
    try:
        return open_runner(Cpu(), made.flatbuffer, runtime=runtime, threads=1)
    except BundleError as error:
        raise InputError(*(f"{model.path}: {problem}" for problem in error.problems)) from None


def _training(loaded: Loaded, source: _Source, request: Request, head: Head) -> Training:
    if None in loaded.labels:
        raise InputError(
            f"{request.train}: labels of detections are not read, so there is nothing to train on"
        )
    return Training(
        inputs=np.concatenate(tensors(loaded, source.spec, source.tensor)),
        labels=np.array([float(label) for label in loaded.labels if label is not None]),
        epochs=request.epochs,
        learning_rate=request.learning_rate,
        head=head,
    )


def _evaluation(
    loaded: Loaded, source: _Source, runner: Runner, runtime: Runtime, task: Task, choice: Choice
) -> Evaluation:
    few = replace(loaded, payloads=loaded.payloads[:_GUESSED_FROM])
    some = [runner.run(tensor)[0] for tensor in tensors(few, source.spec, runner.input)]
    values, _ = guess_values(some, runner.outputs[0]) if task == "classification" else ("scores", "")
    return Evaluation(
        payloads=loaded.payloads,
        labels=loaded.labels,
        spec=source.spec,
        decoder=decoder_for(task, runner.outputs, None, choice, values),
        runtime=runtime,
    )


def _kind(evaluation: Evaluation, head: _Head) -> Head:
    if head.task == "classification" and isinstance(evaluation.decoder, ClassificationDecoder):
        return evaluation.decoder.values
    return "value"
