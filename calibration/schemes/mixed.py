"""The mixed scheme: int8 by LiteRT's quantizer, with the layers that lose most kept in float."""

import re
import tempfile
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.contracts import Array
from agent.quantize import quantize
from agent.runtime.choice import Runtime
from agent.runtime.cpu import Cpu
from agent.runtime.interpreter import open_runner
from calibration import layers
from calibration.layers import LayerDrop
from calibration.schemes.quiet import silent
from calibration.schemes.scheme import Made, NotMade, Scheme

WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV")
"""Operators with weights: what keeping in float can be worth its bytes."""
VIEWED = 32
"""Inputs on which the layers are compared."""
_SHOWN = 3


def make(
    float32: bytes,
    scheme: Scheme,
    representative: Sequence[NDArray[np.float32]],
    *,
    worst: int,
    runtime: Runtime,
) -> Made | NotMade:
    """``float32``: the float .tflite; ``worst``: how many layers stay in float."""
    try:
        import ai_edge_quantizer.recipe as recipes
        from ai_edge_quantizer import qtyping, quantizer
        from ai_edge_quantizer.algorithm_manager import AlgorithmName
    except ImportError:
        return NotMade(
            scheme=scheme, reason="ai-edge-quantizer is missing: pip install 'litewatch[workstation]'"
        )
    with tempfile.TemporaryDirectory() as folder, silent():
        path = Path(folder) / "float32.tflite"
        path.write_bytes(float32)
        made = quantizer.Quantizer(str(path), recipes.static_wi8_ai8())
        statistics = _ranges(made, float32, representative, runtime)
        plain = bytes(made.quantize(statistics).quantized_model)
        if plain == float32:
            return NotMade(scheme=scheme, reason="the quantizer quantized nothing")
        drops = layers.drops(plain, float32, _as_its_input(plain, representative, runtime), runtime=runtime)
        kept = worst_layers(drops, worst)
        for name in kept:
            made.update_quantization_recipe(
                regex=scope(name),
                operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
                algorithm_key=AlgorithmName.NO_QUANTIZE,
            )
        flatbuffer = bytes(made.quantize(statistics).quantized_model)
    shown = ", ".join(name.split(";")[0] for name in kept[:_SHOWN]) + (", …" if len(kept) > _SHOWN else "")
    layer = "layer" if len(kept) == 1 else "layers"
    return Made(scheme=scheme, flatbuffer=flatbuffer, note=f"{len(kept)} {layer} in float: {shown}")


def worst_layers(drops: Sequence[LayerDrop], count: int) -> list[str]:
    """Names in the float model of the weighted layers behind which the signal-to-noise ratio falls most
    against what they are fed, worst first; at most half of them, or nothing would be quantized."""
    weighted = sorted((drop for drop in drops if drop.op in WEIGHTED), key=lambda drop: -drop.drop_db)
    return [drop.float_name for drop in weighted[: min(count, max(1, len(weighted) // 2))]]


def scope(name: str) -> str:
    """What the quantizer searches for: operators by the names of their outputs, each ended by ";"."""
    return f"^{re.escape(name)};?$"


def _as_its_input(
    model: bytes, representative: Sequence[NDArray[np.float32]], runtime: Runtime
) -> list[Array]:
    runner = open_runner(Cpu(), model, runtime=runtime, threads=1)
    tensor = runner.input
    runner.close()
    return [quantize(one, tensor, "half_even") for one in representative[:VIEWED]]


def _ranges(
    quantizer: Any, float32: bytes, representative: Sequence[NDArray[np.float32]], runtime: Runtime
) -> dict[str, Any]:
    """Each tensor's smallest and largest number over all inputs. The quantizer itself takes a moving
    average over them, which cuts off what only some inputs reach; so it sees one input at a time."""
    interpreter: Any = import_module(runtime.module).Interpreter(model_content=float32)
    ((signature, names),) = interpreter.get_signature_list().items()
    found: dict[str, Any] = {}
    for one in representative:
        seen = quantizer.calibrate({signature: [{names["inputs"][0]: one}]}, num_threads=1)
        for name, bounds in seen.items():
            known = found.setdefault(name, bounds)
            known["min"] = np.minimum(known["min"], bounds["min"])
            known["max"] = np.maximum(known["max"], bounds["max"])
    return found
