"""Which tensor of a quantized model is which tensor of its float twin.

Both graphs are first brought to the same words. QUANTIZE and DEQUANTIZE change no value, so their
outputs are another copy of what they read. An activation, or arithmetic with a constant (a bias, a
folded batch normalisation), that follows the only use of an operator belongs to it: one converter fuses
it, another leaves it apart. What is left is a sequence of *stages*, and two sequences are aligned as
wholes: the pairing in order with the highest score (Needleman & Wunsch 1970), where equal names count
most, then the kind of operator, and unequal shapes never pair. So names decide where they were kept,
the position in the graph where they were not; and a name cannot pair a sum before its activation with
a value after it.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from agent.errors import BundleError
from calibration.layer.graph import Graph, GraphOperator

_COPIES = ("QUANTIZE", "DEQUANTIZE", "FAKE_QUANT")
_ACTIVATIONS = ("RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1")
_ARITHMETIC = ("ADD", "SUB", "MUL", "DIV")
_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "CONV_3D", "BATCH_MATMUL")
_FUSES_ACTIVATION = (
    *_WEIGHTED,
    *_ARITHMETIC,
    "CONCATENATION",
    "AVERAGE_POOL_2D",
    "MAX_POOL_2D",
    "L2_NORMALIZATION",
)
_SAME_WORK = {
    "SQUEEZE": "RESHAPE",
    "EXPAND_DIMS": "RESHAPE",
    "AVERAGE_POOL_2D": "MEAN",
    "FULLY_CONNECTED": "CONV_2D",
    "BATCH_MATMUL": "CONV_2D",
    "PADV2": "PAD",
    "SPLIT_V": "SPLIT",
}
_SUFFIXES = ("_quantized", "_dequantized", "_dequant", "_requantized", "_requant", "_quant", "_int8")
_NAME, _KIND, _INSIDE = 5, 3, 1
_LARGEST = 4_000_000
"""Most cells of an alignment: two thousand operators against as many take some seconds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """Tensor ``quantized`` of one model is tensor ``float`` of the other.

    ``op`` is the quantized model's operator that makes it ("input" for the model's input), ``after``
    the positions of the pairs it is made from, ``weights`` and ``bias`` the tensor indices of constants
    in use there and in the twin (quantized, float), ``channel_axis`` of the weights. ``named``: found by
    its name, else by its place.
    """

    float: int
    quantized: int
    op: str
    named: bool
    after: tuple[int, ...]
    weights: tuple[int, int] | None = None
    bias: tuple[int, int] | None = None
    channel_axis: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Alignment:
    """``pairs`` in the quantized model's order of execution, the input first. ``unpaired``: names of
    its operators' results that have no counterpart."""

    pairs: tuple[Pair, ...]
    unpaired: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Result:
    """One output of an operator. ``core`` is the operator whose stage it belongs to, ``last`` says
    whether it is what the stage hands on."""

    tensor: int
    operator: GraphOperator
    core: GraphOperator
    last: bool


def align(quantized: Graph, float_twin: Graph) -> Alignment:
    """Pair the results of two graphs. Raises BundleError when they are not twins: inputs or outputs
    of other shapes, or nothing in between that corresponds."""
    ours, theirs = _Words(quantized), _Words(float_twin)
    _check_ends(quantized, float_twin)
    matched = _best(ours, theirs)
    found = {ours.results[i].tensor: theirs.results[j] for i, j in matched}
    if not found:
        raise BundleError("float model: no operator of it corresponds to one of the quantized model")
    return _assemble(ours, theirs, found)


class _Words:
    """A graph as a sequence of results, with copies looked through."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.copy_of = {one.outputs[0]: one.inputs[0] for one in graph.operators if one.kind in _COPIES}
        self.maker = {tensor: one for one in graph.operators for tensor in one.outputs}
        self._uses = Counter(
            self.source(tensor)
            for one in graph.operators
            if one.kind not in _COPIES
            for tensor in one.inputs
            if tensor >= 0
        )
        self._uses.update(self.source(tensor) for tensor in graph.outputs)
        self.core: dict[int, GraphOperator] = {}
        self.inner: set[int] = set()
        for one in graph.operators:
            if one.kind not in _COPIES:
                self._place(one)
        self.results = tuple(
            _Result(
                tensor=tensor, operator=one, core=self.core[one.number], last=one.number not in self.inner
            )
            for one in graph.operators
            if one.kind not in _COPIES
            for tensor in one.outputs
            if not graph.tensors[tensor].constant
        )

    def source(self, tensor: int) -> int:
        """The tensor whose value ``tensor`` has."""
        for _ in range(len(self.copy_of)):
            if tensor not in self.copy_of:
                break
            tensor = self.copy_of[tensor]
        return tensor

    def variable(self, operator: GraphOperator) -> list[int]:
        """What an operator reads that depends on the model's input."""
        sources = [self.source(tensor) for tensor in operator.inputs if tensor >= 0]
        return [tensor for tensor in sources if not self.graph.tensors[tensor].constant]

    def _place(self, operator: GraphOperator) -> None:
        """Into the stage of the operator before it, or a stage of its own."""
        read = self.variable(operator)
        before = self.maker.get(read[0]) if len(read) == 1 else None
        core = self.core.get(before.number) if before is not None else None
        if before is None or core is None or self._uses[read[0]] != 1 or not _joins(operator, core):
            self.core[operator.number] = operator
            return
        self.core[operator.number] = core
        self.inner.add(before.number)


def _joins(operator: GraphOperator, core: GraphOperator) -> bool:
    if operator.kind in _ACTIVATIONS:
        return core.kind in _FUSES_ACTIVATION
    return operator.kind in _ARITHMETIC and core.kind in _WEIGHTED


def _check_ends(quantized: Graph, float_twin: Graph) -> None:
    problems = []
    for what, ours, theirs in (
        ("input", quantized.inputs, float_twin.inputs),
        ("output", quantized.outputs, float_twin.outputs),
    ):
        shapes = [[quantized.tensors[i].plain_shape for i in ours], []]
        shapes[1] = [float_twin.tensors[i].plain_shape for i in theirs]
        if sorted(shapes[0]) != sorted(shapes[1]) or not ours:
            seen = [", ".join(str(shape) for shape in side) or "none" for side in shapes]
            problems.append(
                f"float model: its {what} shapes {seen[1]} are not the quantized model's {seen[0]}: "
                "is it the model that was quantized?"
            )
    if problems:
        raise BundleError(*problems)


def _best(ours: _Words, theirs: _Words) -> list[tuple[int, int]]:
    """Positions of paired results: the alignment in order with the highest total score."""
    rows, columns = len(ours.results), len(theirs.results)
    if rows * columns > _LARGEST:
        raise BundleError(f"float model: {columns} operators against {rows}: too many to align")
    scores = _scores(ours, theirs)
    best = [[0] * (columns + 1) for _ in range(rows + 1)]
    for i in range(rows - 1, -1, -1):
        row, below = best[i], best[i + 1]
        for j in range(columns - 1, -1, -1):
            row[j] = max(below[j], row[j + 1], scores.get((i, j), -1) + below[j + 1])
    return _trace_back(best, scores)


def _trace_back(best: list[list[int]], scores: dict[tuple[int, int], int]) -> list[tuple[int, int]]:
    matched, i, j = [], 0, 0
    while i < len(best) - 1 and j < len(best[0]) - 1:
        score = scores.get((i, j))
        if score is not None and best[i][j] == score + best[i + 1][j + 1]:
            matched.append((i, j))
            i, j = i + 1, j + 1
        elif best[i][j] == best[i + 1][j]:
            i += 1
        else:
            j += 1
    return matched


def _scores(ours: _Words, theirs: _Words) -> dict[tuple[int, int], int]:
    """Of every pair that may be: same shape, and both hand on their stage or both do not."""
    places: dict[tuple[object, ...], list[int]] = {}
    for j, result in enumerate(theirs.results):
        places.setdefault(_key(theirs, result), []).append(j)
    names = [_names(theirs, result.tensor) for result in theirs.results]
    found = {}
    for i, result in enumerate(ours.results):
        own = _names(ours, result.tensor)
        for j in places.get(_key(ours, result), ()):
            other = theirs.results[j]
            score = _NAME * bool(own and own == names[j])
            if _work(result) == _work(other):
                score += _KIND if result.last else _INSIDE
            if score:
                found[i, j] = score
    return found


def _key(words: _Words, result: _Result) -> tuple[object, ...]:
    return words.graph.tensors[result.tensor].plain_shape, result.last


def _work(result: _Result) -> str:
    kind = result.core.kind if result.last else result.operator.kind
    return _SAME_WORK.get(kind, kind)


def _names(words: _Words, tensor: int) -> frozenset[str]:
    """The names a converter joined into a tensor's, without what quantizers append."""
    return frozenset(_plain(part) for part in words.graph.tensors[tensor].name.split(";") if part)


def _plain(name: str) -> str:
    for suffix in _SUFFIXES:
        name = name.removesuffix(suffix)
    return name


def _assemble(ours: _Words, theirs: _Words, found: dict[int, _Result]) -> Alignment:
    """Pairs in order, with copies that have a scale of their own beside what they copy."""
    graph = ours.graph
    pairs: list[Pair] = []
    place: dict[int, int] = {}
    unpaired: list[str] = []
    inputs = dict(
        zip(_by_shape(graph, graph.inputs), _by_shape(theirs.graph, theirs.graph.inputs), strict=True)
    )
    for tensor in graph.inputs:
        place[tensor] = len(pairs)
        pairs.append(Pair(float=inputs[tensor], quantized=tensor, op="input", named=True, after=()))
    results = {result.tensor: result for result in ours.results}
    for one in graph.operators:
        for tensor in one.outputs:
            source = ours.source(tensor)
            if one.kind in _COPIES and source in place and graph.tensors[tensor].quantized:
                origin = pairs[place[source]]
                pairs.append(Pair(
                    float=origin.float, quantized=tensor, op=one.kind, named=origin.named,
                    after=(place[source],),
                ))  # fmt: skip
                place[tensor] = len(pairs) - 1
            elif tensor in found:
                place[tensor] = len(pairs)
                pairs.append(
                    _pair(ours, theirs, results[tensor], found[tensor], _before(ours, tensor, place))
                )
            elif tensor in results:
                unpaired.append(graph.tensors[tensor].name)
    return Alignment(pairs=tuple(pairs), unpaired=tuple(unpaired))


def _by_shape(graph: Graph, tensors: Sequence[int]) -> list[int]:
    return sorted(tensors, key=lambda index: graph.tensors[index].plain_shape)


def _before(words: _Words, tensor: int, place: dict[int, int]) -> tuple[int, ...]:
    """The nearest paired tensors that ``tensor`` is computed from."""
    found: set[int] = set()
    seen: set[int] = set()
    todo = list(words.maker[tensor].inputs)
    while todo:
        one = todo.pop()
        if one < 0 or one in seen:
            continue
        seen.add(one)
        if one in place:
            found.add(place[one])
        elif one in words.maker:
            todo += words.maker[one].inputs
    return tuple(sorted(found))


def _pair(ours: _Words, theirs: _Words, own: _Result, other: _Result, after: tuple[int, ...]) -> Pair:
    constants = [_constants(words, result) for words, result in ((ours, own), (theirs, other))]
    weights, bias = (_same_shape(ours, theirs, constants[0][k], constants[1][k]) for k in (0, 1))
    return Pair(
        float=other.tensor,
        quantized=own.tensor,
        op=own.core.kind if own.last else own.operator.kind,
        named=_names(ours, own.tensor) == _names(theirs, other.tensor),
        after=after,
        weights=weights,
        bias=bias,
        channel_axis=3 if own.core.kind == "DEPTHWISE_CONV_2D" else 0,
    )


def _constants(words: _Words, result: _Result) -> tuple[int, int]:
    """Weights and bias of a stage's own operator, -1 where it has none."""
    if result.core.kind not in _WEIGHTED or not result.last:
        return -1, -1
    read = [words.source(tensor) if tensor >= 0 else -1 for tensor in result.core.inputs]
    constant = [index if index >= 0 and words.graph.tensors[index].constant else -1 for index in read]
    return (constant[1] if len(read) > 1 else -1), (constant[2] if len(read) > 2 else -1)


def _same_shape(ours: _Words, theirs: _Words, own: int, other: int) -> tuple[int, int] | None:
    if own < 0 or other < 0:
        return None
    same = ours.graph.tensors[own].plain_shape == theirs.graph.tensors[other].plain_shape
    return (own, other) if same else None
