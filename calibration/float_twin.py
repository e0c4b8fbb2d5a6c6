"""The float model that a quantized one was made of, run on the quantized model's own input tensors."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from agent import bundle
from agent.contracts import Array, Runner, TensorSpec
from agent.errors import BundleError, DelegateError
from agent.plain_text import plain_text
from agent.quantize import dequantize
from agent.runtime.choice import Runtime
from agent.runtime.cpu import Cpu
from agent.runtime.interpreter import open_runner
from calibration.layer.graph import Graph, read_graph

_STORED = ("int8", "uint8", "int16", "")
"""Types of quantized weights; those of fewer bits have no name in ``graph``."""


class FloatTwin:
    """Gives float outputs in the order of the quantized model's; make it with ``open``.

    ``sha256`` is that of the float ``flatbuffer``, ``outputs`` are its output tensors in that order.
    """

    __slots__ = ("_input", "_order", "_runner", "flatbuffer", "outputs", "sha256")

    def __init__(
        self, runner: Runner, order: Sequence[int], quantized_input: TensorSpec, flatbuffer: bytes
    ) -> None:
        self._runner = runner
        self._order = tuple(order)
        self._input = quantized_input
        self.outputs = tuple(runner.outputs[place] for place in order)
        self.flatbuffer = flatbuffer
        self.sha256 = hashlib.sha256(flatbuffer).hexdigest()

    @classmethod
    def open(
        cls, path: Path, *, like: Runner, quantized_input: TensorSpec, runtime: Runtime, threads: int
    ) -> "FloatTwin":
        """The model in ``path``, which must take and give what ``like`` does, as float32, and must not
        be quantized itself, weights alone included (float16 is none in this sense).

        Raises BundleError when it cannot be read or does not fit.
        """
        flatbuffer, _ = bundle.split(bundle.read_file(path), name=path.name)
        graph = read_graph(flatbuffer, where=path.name)
        try:
            runner = open_runner(Cpu(), flatbuffer, runtime=runtime, threads=threads)
        except (BundleError, DelegateError) as error:
            said = error.problems if isinstance(error, BundleError) else (str(error),)
            raise BundleError(*(f"{path}: {problem}" for problem in said)) from None
        problems = _input_problems(runner.input, quantized_input)
        order = match_outputs(like.outputs, runner.outputs)
        if order is None:
            problems.append(_output_problem(runner.outputs, like.outputs))
        if not problems:
            problems = _weight_problems(graph)
        if problems or order is None:
            runner.close()
            raise BundleError(*(f"{path}: is not the float twin: {problem}" for problem in problems))
        return cls(runner, order, quantized_input, flatbuffer)

    def run(self, tensor: Array) -> tuple[Array, ...]:
        """Float outputs for a tensor of the *quantized* model, whose scale and zero point turn it into
        the real numbers the float model takes."""
        raw = self._runner.run(dequantize(tensor, self._input))
        return tuple(raw[place] for place in self._order)

    def close(self) -> None:
        self._runner.close()


def float_specs(outputs: Sequence[TensorSpec]) -> tuple[TensorSpec, ...]:
    """The output tensors as a decoder sees float numbers: the same, without a scale."""
    return tuple(replace(spec, dtype="float32", scale=0.0, zero_point=0) for spec in outputs)


def match_outputs(wanted: Sequence[TensorSpec], given: Sequence[TensorSpec]) -> tuple[int, ...] | None:
    """For each wanted output the place of its counterpart among ``given``: the one of the same shape;
    of several, that of the same name, else the first that is left. None when they do not match."""
    free = list(range(len(given)))
    order = []
    for spec in wanted:
        alike = [place for place in free if _plain(given[place].shape) == _plain(spec.shape)]
        alike = [place for place in alike if np.dtype(given[place].dtype).kind == "f"]
        if not alike:
            return None
        named = [place for place in alike if given[place].name == spec.name]
        order.append((named or alike)[0])
        free.remove(order[-1])
    return tuple(order) if not free else None


def _input_problems(given: TensorSpec, wanted: TensorSpec) -> list[str]:
    problems = []
    if np.dtype(given.dtype) != np.float32:
        problems.append(f"its input is {given.dtype}, expected float32")
    if given.shape != wanted.shape:
        problems.append(f"its input is {given.shape}, that of the quantized model {wanted.shape}")
    return problems


def _plain(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Exporters keep or drop axes of length 1."""
    return tuple(size for size in shape if size != 1)


def _output_problem(given: Sequence[TensorSpec], wanted: Sequence[TensorSpec]) -> str:
    if any(np.dtype(spec.dtype).kind != "f" for spec in given):
        return f"its outputs are {', '.join(spec.dtype for spec in given)}, expected float32"
    return f"its outputs are {_shapes(given)}, those of the quantized model {_shapes(wanted)}"


def _weight_problems(graph: Graph) -> list[str]:
    """Of a model that takes and gives real numbers but computes with quantized ones between."""
    stored = [one for one in graph.tensors if one.constant and one.scales.size and one.dtype in _STORED]
    if not stored:
        return []
    shown = plain_text(stored[0].name)
    return [f"{len(stored)} of its weights are quantized ({shown}: {stored[0].dtype or 'int4'})"]


def _shapes(specs: Sequence[TensorSpec]) -> str:
    return ", ".join(f"{spec.shape}" for spec in specs)
