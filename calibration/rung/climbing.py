"""What all rungs of one climb share, and how tensors are run on it."""

import math
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from agent.bundle import Bundle
from agent.contracts import Array, Runner, TensorSpec
from agent.golden import GoldenInput
from calibration.outcomes import Answers, read_answers
from calibration.rung.machine import Runners
from calibration.rung.measured import Inputs

Progress: TypeAlias = Callable[[Iterable[Any], int, str], Iterable[Any]]
"""Wraps items, their number and a label, to show how far the climb is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Climb:
    """``golden`` are the inputs in use, ``inputs`` what is known of them, ``training`` their
    training-side tensors; ``production`` runs the kernels of production on the CPU."""

    bundle: Bundle
    runners: Runners
    production: Runner
    golden: tuple[GoldenInput, ...]
    inputs: Inputs
    training: tuple[Array, ...]
    progress: Progress

    @property
    def tensor(self) -> TensorSpec:
        return self.production.input


@dataclass(frozen=True, kw_only=True, slots=True)
class Ran:
    """Answers, the places of tensors that could not be fed, and the median time of running the model
    once (None: nothing could be run)."""

    answers: Answers
    latency_ms: float | None
    unfed: tuple[int, ...] = ()


def run(climb: Climb, runner: Runner, tensors: Sequence[Array | None], label: str) -> Ran:
    """Every tensor once; None, and what cannot be fed, is not answered. DelegateError when the runner
    fails."""
    raw: list[tuple[Array, ...] | None] = []
    times_ms: list[float] = []
    unfed: list[int] = []
    for tensor in climb.progress(tensors, len(tensors), label):
        fed = None if tensor is None else feedable(tensor, runner.input)
        if fed is None:
            unfed.append(len(raw))
            raw.append(None)
            continue
        begin_ns = time.perf_counter_ns()
        raw.append(runner.run(fed))
        times_ms.append((time.perf_counter_ns() - begin_ns) / 1e6)
    return Ran(
        answers=read_answers(raw, runner.outputs, climb.bundle.decoder),
        latency_ms=round(statistics.median(times_ms), 3) if times_ms else None,
        unfed=tuple(unfed),
    )


def feedable(found: Array, tensor: TensorSpec) -> Array | None:
    """``found`` as the bytes that would reach the input tensor, or None where nothing fits.

    As a program in C would do it: numbers in another shape are taken in their order, integers of the
    same width by their bits; floats of another width, and integers for a float input, are converted. Floats
    for an integer input, integers of another width and another count of numbers fit nowhere.
    """
    if found.size != math.prod(tensor.shape):
        return None
    wanted = np.dtype(tensor.dtype)
    flat = np.ascontiguousarray(found).reshape(tensor.shape)
    if flat.dtype == wanted:
        return flat
    if flat.dtype.kind in "iu" and wanted.kind in "iu" and flat.dtype.itemsize == wanted.itemsize:
        return flat.view(wanted)
    if wanted.kind == "f" and flat.dtype.kind in "fiub":
        with np.errstate(over="ignore"):  # beyond float32 is infinite: the model's answer shows it
            return flat.astype(wanted)
    return None


def unfed_in_words(found: Array | None, tensor: TensorSpec) -> str:
    """Why ``found`` cannot be fed: ``float32 for a uint8 input``."""
    if found is None:
        return "the original cannot be read"
    if found.size != math.prod(tensor.shape):
        shown = "x".join(map(str, found.shape)) or "a single number"
        return f"{shown} for an input of {'x'.join(map(str, tensor.shape))}"
    return f"{found.dtype} for {'an' if tensor.dtype.startswith('i') else 'a'} {tensor.dtype} input"
