"""A quantization scheme, and the values that travel between making and measuring one."""

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Measure: TypeAlias = Literal["accuracy", "mse"]
Need: TypeAlias = Literal["representative", "training"]
Head: TypeAlias = Literal["scores", "logits", "value"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Scheme:
    """``maker``: which module makes it; ``needs``: what it cannot be made without."""

    name: str
    words: str
    maker: Literal["converter", "mixed", "qat"]
    needs: tuple[Need, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """Inputs (n, …) float32 as the model takes them and their labels (n,), for some epochs more.
    ``head``: what the model's output is, which the loss follows."""

    inputs: NDArray[np.float32]
    labels: NDArray[np.float64]
    epochs: int
    learning_rate: float
    head: Head


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """A .tflite of ``scheme``. ``note``: what its maker had to say, such as the layers kept in float."""

    scheme: Scheme
    flatbuffer: bytes = field(repr=False)
    note: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class NotMade:
    """``reason``: why there is no such file, in one sentence."""

    scheme: Scheme
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """One scheme on the evaluation inputs, here.

    ``quality`` is the accuracy (0..1, classification) or the mean squared error (regression), ``low``
    to ``high`` its 90 % interval (None where a single label tells of none); None without labels.
    ``flips`` of ``inputs`` answers differ from
    float32's: another top class, or a value further away than the tolerance. ``latency_ms`` is the median of
    one run on one thread on this machine, ``device_latency_ms`` that of a device where known.
    ``quantized``: whether anything in it is smaller than float32.
    ``on_front``: no other scheme is at once smaller, faster and better. ``file``: where it was written.
    """

    scheme: Scheme
    file: str
    bytes: int
    inputs: int
    labelled: int
    quality: float | None
    low: float | None
    high: float | None
    flips: int
    latency_ms: float
    device_latency_ms: float | None = None
    quantized: bool = True
    on_front: bool = False
    note: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """``measure``: what ``quality`` is. ``recommended``: a scheme's name; ``why``: one or two sentences.
    ``on_device``: whether the devices' latencies decided, not those measured here."""

    model: str
    measure: Measure
    rows: tuple[Measured, ...]
    missing: tuple[NotMade, ...]
    recommended: str
    why: str
    on_device: bool = False
    warnings: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()


def plain(comparison: Comparison) -> dict[str, Any]:
    """``comparison`` as JSON holds it: schemes by their names; a number that is none (a model may answer
    with infinity) is None."""
    written = asdict(comparison)
    for part in ("rows", "missing"):
        for each in written[part]:
            each["scheme"] = each["scheme"]["name"]
            for name, value in each.items():
                if isinstance(value, float) and not math.isfinite(value):
                    each[name] = None
    return written
