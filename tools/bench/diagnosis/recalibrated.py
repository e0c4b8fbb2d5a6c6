"""Bad representative data: a quantized file as its converter would have made it from other pictures.

The activations' ranges are measured in the float model on the given inputs (min and max, 0
included), written over those of the quantized file, and the biases follow: what a converter's
calibration decides, and nothing else.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import TypeAlias

import numpy as np

from agent.contracts import Array
from agent.errors import MachineError
from tools.bench.diagnosis.flatbuffer_edit import AVERAGE_POOL, SOFTMAX, Editable

Ranges: TypeAlias = dict[str, tuple[float, float]]
_RENAMED = "_quantized"


@dataclass(frozen=True, kw_only=True, slots=True)
class Representative:
    """``inputs``: from right inputs (float32, [-1, 1], 1×224×224×3) to what was calibrated on."""

    by: str
    inputs: Callable[[Sequence[Array]], Sequence[Array]]


def _noise(inputs: Sequence[Array]) -> Sequence[Array]:
    rng = np.random.default_rng(11)
    return [rng.normal(0, 1, given.shape).astype(np.float32) for given in inputs]


REPRESENTATIVE = (
    Representative(by="one picture", inputs=lambda inputs: inputs[:1]),
    Representative(by="[0, 1] for [-1, 1]", inputs=lambda inputs: [(given + 1) / 2 for given in inputs]),
    Representative(by="0 to 255", inputs=lambda inputs: [(given + 1) * 127.5 for given in inputs]),
    Representative(by="noise", inputs=_noise),
)


def ranges(float_model: bytes, inputs: Sequence[Array]) -> Ranges:
    """Smallest and largest value of every tensor over ``inputs``. Raises MachineError."""
    try:
        module = import_module("ai_edge_litert.interpreter")
    except ImportError as error:
        raise MachineError("the fault bench measures ranges with ai-edge-litert") from error
    interpreter = module.Interpreter(
        model_content=float_model,
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=module.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    slot = interpreter.get_input_details()[0]["index"]
    tensors = {str(found["name"]): int(found["index"]) for found in interpreter.get_tensor_details()}
    seen: Ranges = {}
    for given in inputs:
        interpreter.set_tensor(slot, np.ascontiguousarray(given, np.float32))
        interpreter.invoke()
        for name, index in tensors.items():
            values = _tensor(interpreter, index)
            if values is not None:
                low, high = seen.get(name, (0.0, 0.0))
                seen[name] = (min(low, float(values.min())), max(high, float(values.max())))
    return seen


def _tensor(interpreter: object, index: int) -> Array | None:
    try:
        values = np.asarray(interpreter.get_tensor(index))  # type: ignore[attr-defined]
    except ValueError:
        return None  # a scratch tensor of one kernel
    return values if values.size and values.dtype == np.float32 else None


def recalibrated(quantized: bytes, seen: Ranges) -> bytes:
    """``quantized`` (int8, of the same graph) with the activations' ranges ``seen``."""
    model = Editable(quantized)
    for found in model.operators:
        for tensor in (*found.inputs[:1], *found.outputs):
            _write_range(model, tensor, found.kind, seen)
        if found.kind == AVERAGE_POOL:  # its kernel needs one scale on both sides
            _copy_range(model, found.inputs[0], found.outputs[0])
    for found in model.convolutions():
        _follow(model, found.inputs)
    return bytes(model)


def _write_range(model: Editable, tensor: int, kind: str, seen: Ranges) -> None:
    scale = model.scale(tensor)
    name = model.name(tensor).removesuffix(_RENAMED)
    if scale is None or name not in seen or (kind == SOFTMAX and tensor != -1 and "Predictions" in name):
        return
    low, high = seen[name]
    scale[0] = max(high - low, 1e-6) / 255
    model.zero(tensor)[0] = int(np.clip(np.rint(-128 - low / scale[0]), -128, 127))


def _copy_range(model: Editable, source: int, target: int) -> None:
    given, scale = model.scale(source), model.scale(target)
    if given is not None and scale is not None:
        scale[0], model.zero(target)[0] = given[0], model.zero(source)[0]


def _follow(model: Editable, inputs: tuple[int, ...]) -> None:
    """A convolution's bias is stored in units of input scale × weight scale."""
    activation, weights, unit = (model.scale(tensor) for tensor in inputs)
    if activation is None or weights is None or unit is None:
        return
    bias = model.numbers(inputs[2])
    real = bias * unit.astype(np.float64)
    unit[:] = activation[0] * weights
    limits = np.iinfo(np.int32)
    bias[:] = np.clip(np.rint(real / unit.astype(np.float64)), limits.min, limits.max)
