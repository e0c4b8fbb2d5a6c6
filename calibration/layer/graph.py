"""A .tflite's main graph: its tensors with their scales and constants, its operators in the order of
execution. Read straight from the flatbuffer, so it needs no schema package and no runtime.

Field numbers, operator codes and type codes are those of TensorFlow Lite's ``schema.fbs`` (version 3).
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from agent.contracts import Array
from agent.errors import BundleError
from calibration.flatbuffer import FlatbufferError, Table

_DTYPES = {
    0: "float32",
    1: "float16",
    2: "int32",
    3: "uint8",
    4: "int64",
    6: "bool",
    7: "int16",
    9: "int8",
    10: "float64",
}
_NAMES = """
ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE EMBEDDING_LOOKUP
FLOOR FULLY_CONNECTED HASHTABLE_LOOKUP L2_NORMALIZATION L2_POOL_2D LOCAL_RESPONSE_NORMALIZATION LOGISTIC
LSH_PROJECTION LSTM MAX_POOL_2D MUL RELU RELU_N1_TO_1 RELU6 RESHAPE RESIZE_BILINEAR RNN SOFTMAX
SPACE_TO_DEPTH SVDF TANH CONCAT_EMBEDDINGS SKIP_GRAM CALL CUSTOM EMBEDDING_LOOKUP_SPARSE PAD
UNIDIRECTIONAL_SEQUENCE_RNN GATHER BATCH_TO_SPACE_ND SPACE_TO_BATCH_ND TRANSPOSE MEAN SUB DIV SQUEEZE
UNIDIRECTIONAL_SEQUENCE_LSTM STRIDED_SLICE BIDIRECTIONAL_SEQUENCE_RNN EXP TOPK_V2 SPLIT LOG_SOFTMAX
DELEGATE BIDIRECTIONAL_SEQUENCE_LSTM CAST PRELU MAXIMUM ARG_MAX MINIMUM LESS NEG PADV2 GREATER
GREATER_EQUAL LESS_EQUAL SELECT SLICE SIN TRANSPOSE_CONV SPARSE_TO_DENSE TILE EXPAND_DIMS EQUAL NOT_EQUAL
LOG SUM SQRT RSQRT SHAPE POW ARG_MIN FAKE_QUANT REDUCE_PROD REDUCE_MAX PACK LOGICAL_OR ONE_HOT LOGICAL_AND
LOGICAL_NOT UNPACK REDUCE_MIN FLOOR_DIV REDUCE_ANY SQUARE ZEROS_LIKE FILL FLOOR_MOD RANGE
RESIZE_NEAREST_NEIGHBOR LEAKY_RELU SQUARED_DIFFERENCE MIRROR_PAD ABS SPLIT_V UNIQUE CEIL REVERSE_V2 ADD_N
GATHER_ND COS WHERE RANK ELU REVERSE_SEQUENCE MATRIX_DIAG QUANTIZE MATRIX_SET_DIAG ROUND HARD_SWISH IF
WHILE NON_MAX_SUPPRESSION_V4 NON_MAX_SUPPRESSION_V5 SCATTER_ND SELECT_V2 DENSIFY SEGMENT_SUM BATCH_MATMUL
PLACEHOLDER CUMSUM CALL_ONCE BROADCAST_TO RFFT2D CONV_3D IMAG REAL COMPLEX_ABS HASHTABLE HASHTABLE_FIND
HASHTABLE_IMPORT HASHTABLE_SIZE REDUCE_ALL CONV_3D_TRANSPOSE VAR_HANDLE READ_VARIABLE ASSIGN_VARIABLE
BROADCAST_ARGS RANDOM_STANDARD_NORMAL BUCKETIZE RANDOM_UNIFORM MULTINOMIAL GELU DYNAMIC_UPDATE_SLICE
RELU_0_TO_1
"""
_OPERATORS = tuple(_NAMES.split())
_CUSTOM = _OPERATORS.index("CUSTOM")


@dataclass(frozen=True, kw_only=True)
class GraphTensor:
    """``scales`` and ``zero_points`` are float64 and int64 (c,): one for the tensor, one per channel
    along ``axis``, or none where it stores real numbers. ``dtype`` "" is a type not read here (text,
    int4, resources)."""

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    scales: NDArray[np.float64]
    zero_points: NDArray[np.int64]
    axis: int
    content: bytes

    @property
    def quantized(self) -> bool:
        """Whether it stores integers of 8 or 16 bits with scales (a bias of 32 bits is not meant)."""
        return self.scales.size > 0 and self.dtype in ("int8", "uint8", "int16")

    @property
    def plain_shape(self) -> tuple[int, ...]:
        """Without axes of length 1, which SQUEEZE, RESHAPE and converters add and drop at will."""
        return tuple(size for size in self.shape if size != 1)

    @property
    def stored_range(self) -> tuple[int, int] | None:
        """The smallest and the largest number it can store; None for real numbers."""
        if not self.quantized:
            return None
        limits = np.iinfo(self.dtype)
        return int(limits.min), int(limits.max)

    @property
    def real_range(self) -> tuple[float, float] | None:
        """The real numbers that its one scale can hold; None without exactly one scale."""
        stored = self.stored_range
        if stored is None or self.scales.size != 1:
            return None
        scale, zero_point = float(self.scales[0]), int(self.zero_points[0])
        return scale * (stored[0] - zero_point), scale * (stored[1] - zero_point)

    @property
    def constant(self) -> bool:
        return bool(self.content)

    @cached_property
    def stored(self) -> Array | None:
        """A constant's numbers as the file has them; None for what is no constant or not readable."""
        if not self.content or not self.dtype:
            return None
        dtype = np.dtype(self.dtype).newbyteorder("<")
        if len(self.content) != math.prod(self.shape) * dtype.itemsize:
            return None
        return np.frombuffer(self.content, dtype).reshape(self.shape)

    @cached_property
    def real(self) -> NDArray[np.float64] | None:
        """A constant's real numbers, by its scales."""
        return None if self.stored is None else self.dequantized(self.stored)

    def dequantized(self, stored: Array) -> NDArray[np.float64]:
        """``stored`` (this tensor's shape or any without per-channel scales) as real numbers."""
        if not self.scales.size:
            return stored.astype(np.float64)
        along = [1] * max(stored.ndim, 1)
        if self.scales.size > 1:
            along[self.axis] = self.scales.size
        zero_points = self.zero_points.reshape(along)
        return np.asarray((stored.astype(np.float64) - zero_points) * self.scales.reshape(along))


@dataclass(frozen=True, kw_only=True, slots=True)
class GraphOperator:
    """``inputs`` and ``outputs`` are tensor indices; -1 is an input that is left out."""

    number: int
    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Graph:
    tensors: tuple[GraphTensor, ...]
    operators: tuple[GraphOperator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def read_graph(model: bytes, *, where: str) -> Graph:
    """Read the main graph of a .tflite (an archive behind it does not disturb). Raises BundleError
    that names ``where`` for bytes that are damaged or no model."""
    try:
        return _graph(Table.root(model))
    except FlatbufferError as error:
        raise BundleError(f"{where}: the model is damaged: {error}") from None


def _graph(root: Table) -> Graph:
    graphs = root.tables(2)
    if not graphs:
        raise FlatbufferError("it has no graph")
    main, buffers = graphs[0], root.tables(4)
    kinds = [_kind(code) for code in root.tables(1)]
    tensors = tuple(_tensor(index, table, buffers) for index, table in enumerate(main.tables(0)))
    operators = tuple(_operator(number, table, kinds) for number, table in enumerate(main.tables(3)))
    inputs, outputs = main.integers(1, "i"), main.integers(2, "i")
    named = [*inputs, *outputs, *(tensor for one in operators for tensor in (*one.inputs, *one.outputs))]
    if any(not -1 <= index < len(tensors) for index in named):
        raise FlatbufferError("an index lies outside its list")
    return Graph(tensors=tensors, operators=operators, inputs=inputs, outputs=outputs)


def _kind(code: Table) -> str:
    # Old files have only the first field, one byte; new ones repeat in it what fits.
    number = max(code.integer(0, "b"), code.integer(3, "i"))
    if number == _CUSTOM:
        return code.text(1) or "CUSTOM"
    return _OPERATORS[number] if 0 <= number < len(_OPERATORS) else f"OPERATOR_{number}"


def _operator(number: int, table: Table, kinds: list[str]) -> GraphOperator:
    code = table.integer(0, "I")
    if code >= len(kinds):
        raise FlatbufferError("an index lies outside its list")
    return GraphOperator(
        number=number, kind=kinds[code], inputs=table.integers(1, "i"), outputs=table.integers(2, "i")
    )


def _tensor(index: int, table: Table, buffers: tuple[Table, ...]) -> GraphTensor:
    quantization, buffer = table.table(4), table.integer(2, "I")
    if buffer >= len(buffers):
        raise FlatbufferError("an index lies outside its list")
    scales = np.asarray(quantization.numbers(2, "f") if quantization else (), np.float64)
    zero_points = np.asarray(quantization.integers(3, "q") if quantization else (), np.int64)
    shape, axis = table.integers(0, "i"), quantization.integer(6, "i") if quantization else 0
    if scales.size > 1 and (not 0 <= axis < len(shape) or shape[axis] != scales.size):
        raise FlatbufferError("a tensor has another number of scales than channels")
    if zero_points.size != scales.size:
        zero_points = np.full(scales.size, zero_points[0] if zero_points.size else 0)
    return GraphTensor(
        index=index,
        name=table.text(3),
        shape=tuple(max(size, 1) for size in shape),  # a free axis runs as 1
        dtype=_DTYPES.get(table.integer(1, "b"), ""),
        scales=scales,
        zero_points=zero_points,
        axis=axis,
        content=_content(buffers[buffer]),
    )


def _content(buffer: Table) -> bytes:
    """A buffer's bytes; those of some files lie behind the flatbuffer, at an offset of the file."""
    inside = buffer.blob(0)
    offset, size = buffer.integer(1, "Q"), buffer.integer(2, "Q")
    return inside or (buffer.data[offset : offset + size] if offset > 1 else b"")
