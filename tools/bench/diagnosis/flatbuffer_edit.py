"""Edits a .tflite in place: weights, biases and quantization parameters, by ai-edge-litert's schema.

In place means that no byte moves: whatever lies behind the flatbuffer (associated files) stays.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from agent.contracts import Array
from agent.errors import MachineError

_DTYPES = {0: "float32", 2: "int32", 3: "uint8", 9: "int8"}
CONVOLUTION, DEPTHWISE, AVERAGE_POOL, SOFTMAX = "CONV_2D", "DEPTHWISE_CONV_2D", "AVERAGE_POOL_2D", "SOFTMAX"


@dataclass(frozen=True, slots=True)
class Operator:
    """``inputs`` and ``outputs``: numbers of tensors, -1 where one is left out."""

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


class Editable:
    """A model whose numbers can be written; ``bytes(self)`` is the edited file."""

    def __init__(self, flatbuffer: bytes) -> None:
        try:
            self._schema: Any = import_module("ai_edge_litert.schema_py_generated")
        except ImportError as error:
            raise MachineError("the fault bench edits models by the schema of ai-edge-litert") from error
        self._data = bytearray(flatbuffer)
        self._model = self._schema.Model.GetRootAs(self._data, 0)
        self._graph = self._model.Subgraphs(0)

    def __bytes__(self) -> bytes:
        return bytes(self._data)

    @property
    def operators(self) -> Iterator[Operator]:
        kinds = {
            number: name for name, number in vars(self._schema.BuiltinOperator).items() if name[0] != "_"
        }
        for at in range(self._graph.OperatorsLength()):
            found = self._graph.Operators(at)
            code = self._model.OperatorCodes(found.OpcodeIndex())
            kind = kinds[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
            yield Operator(
                kind, tuple(found.InputsAsNumpy().tolist()), tuple(found.OutputsAsNumpy().tolist())
            )

    def name(self, tensor: int) -> str:
        return str(self._graph.Tensors(tensor).Name().decode())

    def numbers(self, tensor: int) -> Array:
        """The stored numbers, flat, writable."""
        found = self._graph.Tensors(tensor)
        buffer = self._model.Buffers(found.Buffer())
        if buffer.DataLength():
            raw = np.asarray(buffer.DataAsNumpy())
        else:  # behind the flatbuffer, where newer converters put it
            raw = np.frombuffer(self._data, np.uint8, buffer.Size(), buffer.Offset())
        return raw.view(_DTYPES[found.Type()])

    def shape(self, tensor: int) -> tuple[int, ...]:
        return tuple(self._graph.Tensors(tensor).ShapeAsNumpy().tolist())

    def zero(self, tensor: int) -> Array:
        """The stored numbers that mean 0, one or one per channel; 0 for floats."""
        found = self._graph.Tensors(tensor).Quantization()
        return np.zeros(1, np.int64) if found is None or not found.ScaleLength() else found.ZeroPointAsNumpy()

    def scale(self, tensor: int) -> Array | None:
        """Writable; one scale or one per channel; None where nothing is quantized."""
        found = self._graph.Tensors(tensor).Quantization()
        return None if found is None or not found.ScaleLength() else found.ScaleAsNumpy()

    def convolutions(self) -> list[Operator]:
        return [found for found in self.operators if found.kind in (CONVOLUTION, DEPTHWISE)]
