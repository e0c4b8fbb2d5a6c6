"""The twins of ``fixtures/layers``: a small network in float, and quantized well and badly.

``generate.py`` there writes them; ``stored`` gives a picture as one of them takes it.
"""

import struct
from pathlib import Path

import numpy as np
from fixtures.layers.pictures import pictures
from numpy.typing import NDArray

from agent.contracts import Array
from agent.quantize import quantize
from calibration.layer.graph import Graph, read_graph
from calibration.tflite_metadata import read

FOLDER = Path(__file__).resolve().parent / "fixtures" / "layers"
INPUTS, KINDS = pictures(48, seed=9)
"""float32 (48, 16, 16, 3) in -1..1, and which of six kinds each is."""


def twin(name: str) -> bytes:
    return (FOLDER / f"{name}.tflite").read_bytes()


def graph(content: bytes) -> Graph:
    return read_graph(content, where="model")


def stored(model: bytes, real: NDArray[np.float32]) -> Array:
    """One input as ``model`` stores it, with a batch axis."""
    return quantize(real[None], read(model, where="model").inputs[0])


def stored_all(model: bytes) -> list[Array]:
    return [stored(model, one) for one in INPUTS]


def with_scale(model: bytes, tensor: int, factor: float) -> bytes:
    """``model`` with the one scale of a tensor multiplied, everything else as it was."""
    (scale,) = graph(model).tensors[tensor].scales
    old = struct.pack("<If", 1, scale)
    assert model.count(old) == 1, "another tensor has the same scale"
    return model.replace(old, struct.pack("<If", 1, scale * factor))


def with_weights(model: bytes, tensor: int, altered: Array) -> bytes:
    """``model`` with other numbers in a constant."""
    content = graph(model).tensors[tensor].content
    assert model.count(content) == 1 and len(altered.tobytes()) == len(content)
    return model.replace(content, altered.tobytes())
