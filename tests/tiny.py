"""Tiny models for tests, a few kB each; written by ``fixtures/models/generate*.py``.

Each constant is the bytes of one .tflite file; ``runner`` runs one on this environment's runtime.
"""

from functools import cache
from pathlib import Path
from typing import Literal

from agent.contracts import Runner
from agent.runtime.choice import Runtime, choose
from agent.runtime.cpu import Cpu
from agent.runtime.interpreter import open_runner

FOLDER = Path(__file__).resolve().parent / "fixtures" / "models"


def model(name: str) -> bytes:
    return (FOLDER / f"{name}.tflite").read_bytes()


def path(name: str) -> Path:
    return FOLDER / f"{name}.tflite"


CLASSIFIER = model("classifier")
"""uint8 image (1,8,8,3), bytes as they are → uint8 softmax (1,4) with scale 1/256: background, red,
green, blue. A red image gives 1; a gray one has equal scores."""

TWIN_FLOAT = model("twin_float")
"""float32 image (1,16,16,3) in [-1,1] → float32 softmax (1,4): the classes of ``textures.LABELS``, about
91 % right on ``textures.draw``. Six layers: stem, depthwise, pointwise, second, pool, scores."""

TWIN_INT8 = model("twin_int8")
"""TWIN_FLOAT quantized after training, int8 in and out, weights per channel."""

TWIN_UINT8 = model("twin_uint8")
"""The same with uint8 in and out."""

STRANGER_FLOAT = model("stranger_float")
"""Fits wherever TWIN_FLOAT does and is as good, but was trained apart from it."""

STRANGER_DYNAMIC = model("stranger_dynamic")
"""The same with real numbers in and out and weights of 8 bits."""

LINEAR = model("linear")
"""float32 (1,1) → float32 (1,1): y = 2x + 1."""

DETECTOR = model("detector")
"""uint8 image (1,8,8,3) → float32 boxes (1,2,4), classes (1,2), scores (1,2), count (1): the left
half (0,0,1,.5) is class 0, the right half (0,.5,1,1) class 1, each score its mean brightness / 255."""

EDGETPU = model("edgetpu_custom_op")
"""uint8 (1,8,8,3) → uint8 (1,4) through ``edgetpu-custom-op``."""

UNKNOWN_OP = model("unknown_custom_op")
"""The same through a custom operator that no runtime has."""

TWO_INPUTS = model("two_inputs")
"""float32 (1,1) twice → their sum."""

BATCH_OF_8 = model("batch_of_8")
"""float32 (8,3) → float32 (8,3), RELU."""

FREE_BATCH = model("free_batch")
"""float32 (1,3) with signature (-1,3) → the same, RELU."""

FREE_SIZE = model("free_size")
"""float32 (1,1,1,3) with signature (1,-1,-1,3) → the same, RELU."""


@cache
def runtime() -> Runtime:
    return choose("auto", cache=None)


def runner(
    content: bytes,
    *,
    kernels: Literal["auto", "xnnpack", "builtin", "reference"] = "auto",
    threads: int = 1,
) -> Runner:
    return open_runner(Cpu(kernels=kernels), content, runtime=runtime(), threads=threads)
