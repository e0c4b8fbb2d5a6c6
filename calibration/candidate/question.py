"""A question for the search, checked: the model, its images and labels, everything wrong said at once."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from agent.contracts import Payload, Runner
from agent.decode.classification import ClassificationDecoder
from agent.errors import BundleError, FrameError, InputError, LabelError
from agent.plain_text import plain_text
from agent.preprocess.compiled import compile_spec
from agent.preprocess.decoding import Decode
from agent.runtime.choice import Runtime
from calibration.candidate.space import Space
from calibration.evaluation import Decoded, Evaluation
from calibration.labelled import Input, Inputs, class_label, find_images, read_label_file
from calibration.plan import Model, carried_labels, open_kernels, read_model
from calibration.search import LEAST_INPUTS
from calibration.task import Values, guess_task, guess_values, output_count

_SEED: Final = 20260101
_GUESS_INPUTS: Final = 16
_MANY_SKIPPED: Final = 0.1


@dataclass(frozen=True, kw_only=True, slots=True)
class Question:
    """What the user asked: this model, these images, at most ``count`` of them taken at random."""

    model: Path
    images: Path
    labels: Path | None = None
    count: int = 200
    values: Values | None = None
    threads: int = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """A question that can be answered: ``evaluation`` holds the model and the images drawn."""

    name: str
    evaluation: Evaluation
    values: Values
    warnings: tuple[str, ...]


def prepare(question: Question, runtime: Runtime) -> Finding:
    """Open the model, read and draw the images. Raises InputError with what is wrong: no classifier of
    images, images or labels that cannot be read, fewer than ``LEAST_INPUTS`` of them."""
    model = read_model(question.model)
    if model.file.edgetpu:
        raise BundleError(
            f"{question.model}: compiled for the Edge TPU: give the .tflite it was compiled from"
        )
    runner = open_kernels(model.flatbuffer, runtime, question.threads, "auto")
    _check_classifier(question.model, model, runner)
    inputs = find_images(question.images, class_label(_labels(question, model), output_count(runner.outputs)))
    drawn, warnings = _draw(inputs, question.count)
    payloads, kept, skipped = _payloads(drawn)
    if skipped:
        warnings.append(f"{len(skipped)} of {len(drawn)} images cannot be used, the first: {skipped[0]}")
    if len(kept) < LEAST_INPUTS or len(skipped) > _MANY_SKIPPED * len(drawn):
        problem = f"{question.images}: {len(kept)} of {len(drawn)} images can be used"
        raise LabelError(f"{problem}, expected at least {LEAST_INPUTS} and nine in ten", *skipped[:5])
    decoded = Decoded(payloads)
    values = question.values or _values(decoded, runner)
    labels = [one.label for one in kept]
    evaluation = Evaluation(
        runner, ClassificationDecoder(values=values), decoded, labels, keep_scores=labels[0] is None
    )
    return Finding(name=question.model.name, evaluation=evaluation, values=values, warnings=tuple(warnings))


def _check_classifier(path: Path, model: Model, runner: Runner) -> None:
    task, reason = guess_task(runner.outputs, model.file.detection_outputs)
    if task != "classification":
        raise BundleError(f"{path}: a {task} model ({reason}): only classifiers of images are searched")
    problems = ClassificationDecoder(values="scores").check(runner.outputs)
    if problems:
        raise BundleError(*(f"{path}: {problem}" for problem in problems))
    try:
        Space(runner.input)
    except InputError as error:
        raise BundleError(*(f"{path}: {problem}" for problem in error.problems)) from None


def _labels(question: Question, model: Model) -> tuple[str, ...]:
    """The lines that a label may be one of: a file's, or those the model carries."""
    if question.labels is not None:
        return read_label_file(question.labels)
    return carried_labels(model, question.model.name)[0]


def _draw(inputs: Inputs, count: int) -> tuple[list[Input], list[str]]:
    """At most ``count`` images in random order (the same for the same names), labelled ones alone where
    there are any."""
    labelled = [one for one in inputs if one.label is not None]
    warnings = []
    if labelled and len(labelled) < len(inputs):
        warnings.append(f"{len(inputs) - len(labelled)} images without a label are left out")
    if not labelled:
        warnings.append(
            "the images have no labels: confidence and agreement decide, which is weaker; both can be high "
            "where every answer is wrong"
        )
    usable = sorted(labelled or inputs, key=lambda one: one.name)
    order = np.random.default_rng(_SEED).permutation(len(usable))[:count]
    return [usable[at] for at in order], warnings


def _payloads(drawn: Sequence[Input]) -> tuple[list[Payload], list[Input], list[str]]:
    """The files that decode, whose they are, and why the others do not."""
    decode = Decode(exif="ignore")
    payloads: list[Payload] = []
    kept: list[Input] = []
    skipped: list[str] = []
    for one in drawn:
        try:
            payload = one.payload()
            decode.apply(payload)
        except FrameError as error:
            skipped.append(plain_text(f"{one.name}: {error}"))
            continue
        payloads.append(payload)
        kept.append(one)
    return payloads, kept, skipped


def _values(decoded: Decoded, runner: Runner) -> Values:
    """Scores or logits, from the answers to some images under the plainest candidate."""
    space = Space(runner.input)
    spec = space.spec(space.coarse()[0])
    compiled, decode = compile_spec(spec, runner.input), Decode(exif="ignore")
    inputs = range(min(_GUESS_INPUTS, len(decoded)))
    outputs = [runner.run(compiled(decoded.get(at, decode)).tensor)[0] for at in inputs]
    return guess_values(outputs, runner.outputs[0])[0]
