"""Writes the stand-in's models beside this file: twins of tiny models, each one ``edgetpu-custom-op``.

Run by hand in an environment with ai-edge-litert, from the checkout:
``PYTHONPATH=tests:tests/fixtures/models python tests/standin/generate_twins.py``. ``delegate.c`` says what it
computes for each.
"""

from collections.abc import Sequence
from pathlib import Path

import ai_edge_litert.schema_py_generated as fb
from generate import FLOAT32, UINT8, ModelWriter

HERE = Path(__file__).resolve().parent


def twin(input_: tuple[str, tuple[int, ...], int], outputs: Sequence[tuple[str, tuple[int, ...]]]) -> bytes:
    m = ModelWriter()
    name, shape, kind = input_
    quantization = (1 / 255, 0) if kind == UINT8 else None
    signature = (-1, *shape[1:]) if name == "free" else None
    taken = m.tensor(
        "x" if name == "free" else name, shape, kind, quantization=quantization, signature=signature
    )
    given = [m.tensor(name, shape, FLOAT32) for name, shape in outputs]
    m.operator(fb.BuiltinOperator.CUSTOM, [taken], given, custom="edgetpu-custom-op")
    return m.finish([taken], given)


MODELS = {
    "linear": twin(("x", (1, 1), FLOAT32), [("y", (1, 1))]),
    "relu": twin(("free", (1, 3), FLOAT32), [("y", (1, 3))]),
    "detector": twin(
        ("image", (1, 8, 8, 3), UINT8),
        [("boxes", (1, 2, 4)), ("classes", (1, 2)), ("scores", (1, 2)), ("count", (1,))],
    ),
}


if __name__ == "__main__":
    for model_name, content in MODELS.items():
        (HERE / f"{model_name}.tflite").write_bytes(content)
