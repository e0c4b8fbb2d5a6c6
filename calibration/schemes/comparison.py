"""Schemes of one model made, measured on the same inputs, and weighed against float32."""

from collections.abc import Callable, Iterable, Mapping, Sequence
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
from calibration.schemes.latency import compared, on_device
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
    _save(work, float32)
    baseline = _run(float32, evaluation)
    truth = _truth(baseline, evaluation)
    made, trials, missing = _make_all(work, evaluation, float32, baseline, progress)
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
        on_device=on_device(rows),
        warnings=device_warnings(rows, work.device_ms),
        environment=(("runtime", f"{evaluation.runtime.name} {evaluation.runtime.version}"),),
    )


def _make_all(
    work: Work, evaluation: Evaluation, float32: Made, baseline: Trial, progress: Progress
) -> tuple[list[Made], list[Trial], list[NotMade]]:
    made, trials, missing = [float32], [baseline], []
    others = tuple(scheme for scheme in work.schemes if scheme != FLOAT)
    for scheme in progress(others, len(others)):
        found = _make(work, scheme, float32.flatbuffer, evaluation.runtime)
        if isinstance(found, Made):
            _save(work, found)
            try:
                trials.append(_run(found, evaluation))
                made.append(found)
                continue
            except LitewatchError as error:
                found = NotMade(scheme=scheme, reason=f"made, but it cannot be run here: {error}")
        missing.append(found)
    return made, trials, missing


def _make(work: Work, scheme: Scheme, float32: bytes, runtime: Runtime) -> Made | NotMade:
    lacking = missing_needs(scheme, bool(work.representative), work.training is not None)
    if lacking:
        return NotMade(scheme=scheme, reason=lacking)
    if scheme.maker == "mixed":
        return mixed.make(float32, scheme, work.representative, worst=work.kept_float, runtime=runtime)
    if scheme.maker == "qat":
        assert work.training is not None
        return qat.make(work.model, scheme, work.training, work.representative)
    return converter.make(work.model, scheme, work.representative)


def missing_needs(scheme: Scheme, representative: bool, training: bool) -> str:
    """What has to be given before ``scheme`` can be made; empty when all is there."""
    options = {
        "representative": (representative, "inputs to calibrate on (--representative)"),
        "training": (training, "inputs to train on (--train)"),
    }
    lacking = [words for given, words in (options[need] for need in scheme.needs) if not given]
    return f"it needs {' and '.join(lacking)}" if lacking else ""


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
    path = _path(work, made)
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


def _path(work: Work, made: Made) -> Path:
    return work.folder / f"{work.model.name}-{made.scheme.name}.tflite"


def _save(work: Work, made: Made) -> None:
    """At once: what took minutes is there even if a later scheme fails."""
    try:
        save(_path(work, made), made.flatbuffer)
    except BundleError as error:
        raise BundleError(*(f"--output: {problem}" for problem in error.problems)) from None


def device_warnings(rows: Sequence[Measured], device_ms: Mapping[str, float]) -> tuple[str, ...]:
    """What is odd about the latencies given for devices, by the stem of a scheme's file."""
    if not device_ms:
        return ()
    stems = [Path(row.file).stem for row in rows]
    unknown = sorted(set(device_ms) - set(stems))
    found = []
    if unknown:
        found.append(f"--device: {', '.join(unknown)}: no scheme's file; expected {', '.join(stems)}")
    missing = [row.scheme.name for row in compared(rows) if row.device_latency_ms is None]
    if missing and len(missing) < len(compared(rows)):
        found.append(
            f"--device: no latency of {', '.join(missing)}: those of the device are shown only, and those "
            "measured here decide"
        )
    return tuple(found)
