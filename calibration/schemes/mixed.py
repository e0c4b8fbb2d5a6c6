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
from calibration.check_result import LayerError
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
        view = layers.view(plain, float32, _as_its_input(plain, representative, runtime), runtime=runtime)
        kept = worst_layers(view.layers, worst)
        for name in kept:
            made.update_quantization_recipe(
                regex=re.escape(name.removesuffix("…")),  # long names are cut for people to read
                operation_name=qtyping.TFLOperationName.ALL_SUPPORTED,
                algorithm_key=AlgorithmName.NO_QUANTIZE,
            )
        flatbuffer = bytes(made.quantize(statistics).quantized_model)
    shown = ", ".join(name.split(";")[0] for name in kept[:_SHOWN]) + (", …" if len(kept) > _SHOWN else "")
    return Made(scheme=scheme, flatbuffer=flatbuffer, note=f"{len(kept)} layers in float: {shown}")


def worst_layers(view: Sequence[LayerError], count: int) -> list[str]:
    """Names of the weighted layers behind which the signal-to-noise ratio falls most, worst first; at
    most half of them, or nothing would be quantized."""
    drops: list[tuple[float, str]] = []
    before = _CLEAN_DB
    for layer in sorted(view, key=lambda layer: layer.depth):
        here = _CLEAN_DB if layer.snr_db is None else layer.snr_db
        if layer.op in WEIGHTED:
            drops.append((before - here, layer.name))
        before = here
    drops.sort(key=lambda drop: -drop[0])
    return [name for _, name in drops[: min(count, max(1, len(drops) // 2))]]


_CLEAN_DB = 60.0
"""What stands for no noise at all: about that of 8-bit numbers that use their range fully."""


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
