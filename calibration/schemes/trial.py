"""Runs one scheme's file over the evaluation inputs, as a device would."""

import math
import statistics
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.contracts import Array, Decoder, Payload, Runner
from agent.monitor.accuracy import wilson
from agent.preprocess.compiled import compile_spec
from agent.preprocess.spec import PreprocessSpec
from agent.runtime.choice import Runtime
from agent.runtime.cpu import Cpu
from agent.runtime.interpreter import open_runner
from calibration.outcomes import Answers, Truth, flips, labelled, read_answers, right
from calibration.schemes.scheme import Measured, Scheme

Z_90 = 1.645
WARM_UP = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class Trial:
    """One scheme's answers to the evaluation inputs; ``latency_ms`` is the median of one run."""

    scheme: Scheme
    answers: Answers
    latency_ms: float


def run(
    flatbuffer: bytes,
    scheme: Scheme,
    payloads: Iterable[Payload],
    *,
    spec: PreprocessSpec,
    decoder: Decoder,
    runtime: Runtime,
) -> Trial:
    """Raises BundleError or SpecError when the file cannot be run or fed."""
    runner: Runner = open_runner(Cpu(), flatbuffer, runtime=runtime, threads=1)
    prepare = compile_spec(spec, runner.input)
    raw: list[tuple[Array, ...]] = []
    took: list[float] = []
    for payload in payloads:
        tensor = prepare(payload).tensor
        for _ in range(WARM_UP if not raw else 0):
            runner.run(tensor)
        began = time.perf_counter()
        raw.append(runner.run(tensor))
        took.append(1e3 * (time.perf_counter() - began))
    answers = read_answers(raw, runner.outputs, decoder)
    runner.close()
    return Trial(scheme=scheme, answers=answers, latency_ms=statistics.median(took))


def quantizes(flatbuffer: bytes, runtime: Runtime) -> bool:
    """Whether any tensor of the file is smaller than float32's."""
    interpreter: Any = import_module(runtime.module).Interpreter(model_content=flatbuffer)
    return any(
        np.dtype(tensor["dtype"]).name in ("int8", "uint8", "int16", "float16")
        for tensor in interpreter.get_tensor_details()
    )


def measure(
    trial: Trial,
    baseline: Trial,
    truth: Truth,
    *,
    file: str,
    size: int,
    quantized: bool,
    note: str,
    device_ms: float | None,
) -> Measured:
    """``baseline``: float32's trial on the same inputs. ``truth.tolerance`` None: accuracy, else the mean
    squared error of a regression."""
    known = np.array([label is not None for label in truth.labels])
    quality, low, high = (
        _accuracy(trial.answers, truth) if truth.tolerance is None else _mse(trial.answers, truth)
    )
    pairs = zip(baseline.answers.predictions, trial.answers.predictions, strict=True)
    return Measured(
        scheme=trial.scheme,
        file=file,
        bytes=size,
        inputs=len(known),
        labelled=int(known.sum()),
        quality=quality,
        low=low,
        high=high,
        flips=sum(flips(a, b, truth.tolerance) for a, b in pairs),
        latency_ms=trial.latency_ms,
        device_latency_ms=device_ms,
        quantized=quantized,
        note=note,
    )


def squared_errors(answers: Answers, truth: Truth) -> NDArray[np.float64]:
    """Of the labelled inputs of a regression, in their order."""
    pairs = zip(answers.numbers, truth.labels, strict=True)
    return np.array([(float(given[0]) - label) ** 2 for given, label in pairs if label is not None])


def _accuracy(answers: Answers, truth: Truth) -> tuple[float | None, float | None, float | None]:
    known = labelled(answers, truth)
    if not known.any():
        return None, None, None
    correct, n = int(right(answers, truth)[known].sum()), int(known.sum())
    low, high = wilson(correct, n)
    return correct / n, low, high


def _mse(answers: Answers, truth: Truth) -> tuple[float | None, float | None, float | None]:
    """With its interval by the central limit theorem, which one error alone has not."""
    errors = squared_errors(answers, truth)
    if not errors.size:
        return None, None, None
    mean = float(errors.mean())
    if errors.size == 1:
        return mean, None, None
    half = Z_90 * float(errors.std(ddof=1)) / math.sqrt(errors.size)
    return mean, max(0.0, mean - half), mean + half


def tolerance(baseline: Sequence[float], errors: NDArray[np.float64]) -> float:
    """What counts as another answer of a regression: a tenth of float32's own root mean square error,
    or without labels a hundredth of the spread of its values; nothing smaller could matter."""
    if errors.size:
        return 0.1 * math.sqrt(float(errors.mean()))
    return 0.01 * float(np.std(np.asarray(baseline, np.float64)))
