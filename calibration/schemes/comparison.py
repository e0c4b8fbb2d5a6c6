"""Schemes of one model made, measured on the same inputs, and weighed against float32."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from agent.contracts import Decoder, Payload, Regression
from agent.errors import BundleError, LitewatchError, MachineError
from agent.preprocess.spec import PreprocessSpec
from agent.runtime.choice import Runtime
from calibration.outcomes import Truth
from calibration.packing import save
from calibration.schemes import KINDS, converter, mixed, qat
from calibration.schemes.front import mark_front
from calibration.schemes.recommendation import recommend
from calibration.schemes.scheme import Comparison, Made, Measure, Measured, NotMade, Scheme, Training
from calibration.schemes.trained_model import TrainedModel
from calibration.schemes.trial import Trial, measure, quantizes, run, squared_errors, tolerance

FLOAT = KINDS["float32"]
NOTHING = "nothing was quantized (weights of fewer than 1,024 numbers are left alone)"
Progress: TypeAlias = Callable[[Iterable[Scheme], int], Iterable[Scheme]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """What schemes are measured on. ``payloads`` are held in memory; ``labels`` may hold None."""

    payloads: tuple[Payload, ...]
    labels: tuple[int | float | None, ...]
    spec: PreprocessSpec
    decoder: Decoder
    runtime: Runtime


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """``kept_float``: how many layers the mixed scheme leaves in float. ``device_ms``: latency on a
    device by scheme. ``folder``: where the files go."""

    model: TrainedModel
    schemes: tuple[Scheme, ...]
    representative: tuple[NDArray[np.float32], ...]
    training: Training | None
    kept_float: int
    device_ms: dict[str, float]
    folder: Path


def compare(work: Work, evaluation: Evaluation, *, progress: Progress) -> Comparison:
    """Make and measure every scheme of ``work``; float32 always, for everything is held against it.

    Raises MachineError when not even float32 can be made.
    """
    float32 = converter.make(work.model, FLOAT, ())
    if isinstance(float32, NotMade):
        raise MachineError(f"{work.model.path}: {float32.reason}")
    baseline = _run(float32, evaluation)
    truth = _truth(baseline, evaluation)
    made: list[Made] = [float32]
    trials = [baseline]
    missing: list[NotMade] = []
    others = tuple(scheme for scheme in work.schemes if scheme != FLOAT)
    for scheme in progress(others, len(others)):
        found = _make(work, scheme, float32.flatbuffer, evaluation.runtime)
        if isinstance(found, Made):
            try:
                trials.append(_run(found, evaluation))
                made.append(found)
                continue
            except LitewatchError as error:
                found = NotMade(scheme=scheme, reason=f"made, but it cannot be run here: {error}")
        missing.append(found)
    rows = [
        _measured(work, one, trial, baseline, truth, evaluation.runtime)
        for one, trial in zip(made, trials, strict=True)
    ]
    chosen = recommend(rows, trials, truth)
    measured: Measure = "accuracy" if truth.tolerance is None else "mse"
    return Comparison(
        model=work.model.name,
        measure=measured,
        rows=mark_front(rows, measured),
        missing=tuple(missing),
        recommended=chosen.scheme,
        why=chosen.why,
        environment=(("runtime", f"{evaluation.runtime.name} {evaluation.runtime.version}"),),
    )


def _make(work: Work, scheme: Scheme, float32: bytes, runtime: Runtime) -> Made | NotMade:
    for need, given in (("representative", work.representative), ("training", work.training)):
        if need in scheme.needs and not given:
            return NotMade(scheme=scheme, reason=f"it needs {_OPTIONS[need]}")
    if scheme.maker == "mixed":
        return mixed.make(float32, scheme, work.representative, worst=work.kept_float, runtime=runtime)
    if scheme.maker == "qat":
        assert work.training is not None
        return qat.make(work.model, scheme, work.training, work.representative)
    return converter.make(work.model, scheme, work.representative)


_OPTIONS = {
    "representative": "inputs to calibrate on (--representative)",
    "training": "inputs to train on (--train)",
}


def _run(made: Made, evaluation: Evaluation) -> Trial:
    return run(
        made.flatbuffer,
        made.scheme,
        evaluation.payloads,
        spec=evaluation.spec,
        decoder=evaluation.decoder,
        runtime=evaluation.runtime,
    )


def _truth(baseline: Trial, evaluation: Evaluation) -> Truth:
    first = baseline.answers.predictions[0]
    if not isinstance(first, Regression):
        return Truth(labels=evaluation.labels)
    values: Sequence[float] = [float(numbers[0]) for numbers in baseline.answers.numbers]
    errors = squared_errors(baseline.answers, Truth(labels=evaluation.labels))
    return Truth(labels=evaluation.labels, tolerance=tolerance(values, errors))


def _measured(
    work: Work, made: Made, trial: Trial, baseline: Trial, truth: Truth, runtime: Runtime
) -> Measured:
    path = work.folder / f"{work.model.name}-{made.scheme.name}.tflite"
    try:
        save(path, made.flatbuffer)
    except BundleError as error:
        raise BundleError(*(f"--output: {problem}" for problem in error.problems)) from None
    quantized = quantizes(made.flatbuffer, runtime)
    return measure(
        trial,
        baseline,
        truth,
        file=str(path),
        size=len(made.flatbuffer),
        quantized=quantized,
        note=made.note if quantized or made.scheme == FLOAT else NOTHING,
        device_ms=work.device_ms.get(path.stem),
    )
