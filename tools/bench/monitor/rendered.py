"""Photographs through a real model, once: features, predicted class and truth of every scene.

A stream is then no more than an index into these, so that a device-day takes no model at all.
"""

import hashlib
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.contracts import Array, Classification, Runner
from agent.decode.classification import ClassificationDecoder
from agent.monitor.features import FeatureSet, feature_set
from agent.runtime.choice import choose
from agent.runtime.cpu import Cpu
from tools.bench.diagnosis.photographs import Photograph
from tools.bench.diagnosis.shot import SIDE
from tools.bench.monitor import scenes
from tools.bench.monitor.faults import Fault
from tools.bench.monitor.scenes import FRAMINGS, LIGHTS, framed, halves, lit, noisy, view

MODELS = {
    "v1": "models/mobilenet_v1_0.25_224_quant.tflite",
    "v2": "models/coral_edgetpu_mobilenet_v2_1.0_224_quant.tflite",
}
FEATURES: FeatureSet = feature_set(image=True, prediction="classification")
TOP_SCORE = FEATURES.names.index("output.top_score")


@dataclass(frozen=True, kw_only=True, slots=True)
class Rendered:
    """rows float32 (S, framings, lights, F), classes int64 and right bool (S, framings, lights), of S
    scenes."""

    rows: NDArray[np.float32]
    classes: NDArray[np.int64]
    right: NDArray[np.bool_]

    def of(self, scenes: Array) -> "Rendered":
        return Rendered(rows=self.rows[scenes], classes=self.classes[scenes], right=self.right[scenes])

    @property
    def accuracy(self) -> float:
        return float(self.right.mean())


class Model:
    """A classifier of the data pack that takes bytes."""

    def __init__(self, pack: Path, key: str) -> None:
        """Raises MachineError, BundleError or RuntimeUnavailableError."""
        self.key = key
        self.path = pack / MODELS[key]
        runtime = choose("auto", cache=None)
        self.runner: Runner = Cpu(kernels="auto").open(self.path.read_bytes(), runtime=runtime, threads=1)
        self._decoder = ClassificationDecoder(values="scores")

    def row(self, picture: Array, tensor: Array) -> tuple[NDArray[np.float32], int]:
        inputs = FEATURES.inputs(picture)
        prediction = self._decoder.decode(self.runner.run(tensor[None]), self.runner.outputs)
        assert isinstance(prediction, Classification)
        return FEATURES.complete(inputs, prediction), prediction.top


@dataclass(frozen=True, kw_only=True, slots=True)
class Studio:
    """``scenes`` of photographs: (photograph, half) pairs. Results are kept under ``cache``."""

    model: Model
    photographs: tuple[Photograph, ...]
    cache: Path

    def render(self, chosen: Sequence[tuple[int, int]], fault: Fault | None = None) -> Rendered:
        """These scenes through the model, healthy or with a fault."""
        path = self.cache / f"{self._key(chosen, fault)}.npz"
        if path.is_file():
            with np.load(path) as kept:
                return Rendered(rows=kept["rows"], classes=kept["classes"], right=kept["right"])
        shape = (len(chosen), FRAMINGS, LIGHTS)
        rows = np.empty((*shape, len(FEATURES.names)), np.float32)
        classes, right = np.empty(shape, np.int64), np.empty(shape, np.bool_)
        pictures = self.pictures(chosen, fault)
        for at, framing, light in np.ndindex(shape):
            picture, tensor = suffered(pictures[at, framing, light], fault)
            row, top = self.model.row(picture, tensor)
            rows[at, framing, light], classes[at, framing, light] = row, top
            right[at, framing, light] = top == self.photographs[chosen[at][0]].label
        self.cache.mkdir(parents=True, exist_ok=True)
        with path.with_suffix(".part").open("wb") as file:
            np.savez(file, rows=rows, classes=classes, right=right)
        path.with_suffix(".part").replace(path)
        return Rendered(rows=rows, classes=classes, right=right)

    def pictures(self, chosen: Sequence[tuple[int, int]], fault: Fault | None = None) -> Array:
        """The cameras' pictures, uint8 (S, framings, lights, 224, 224, 3); healthy ones are kept in a file
        that all faults share."""
        resize = fault.resize if fault and fault.resize else None
        path = self.cache / f"{self._key(chosen, None)}.npy"
        if resize is None and path.is_file():
            return np.asarray(np.load(path, mmap_mode="r"))
        made = np.empty((len(chosen), FRAMINGS, LIGHTS, SIDE, SIDE, 3), np.uint8)
        for at, (place, half) in enumerate(chosen):
            part = halves(self.photographs[place])[half]
            for framing, light in np.ndindex(FRAMINGS, LIGHTS):
                small = (resize or view)(framed(part, framing))
                made[at, framing, light] = noisy(lit(small, light), light, (place, half, framing))
        if resize is None:
            self.cache.mkdir(parents=True, exist_ok=True)
            np.save(path, made)
        return made

    def _key(self, chosen: Sequence[tuple[int, int]], fault: Fault | None) -> str:
        digest = hashlib.sha256(inspect.getsource(scenes).encode())
        digest.update(self.model.path.read_bytes() + repr(FEATURES.names).encode())
        for place, half in chosen:
            digest.update(f"{self.photographs[place].name} {half};".encode())
        # What a fault does to a test picture names it better than its code: editing one spares the others.
        pattern = np.random.default_rng(3).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
        if fault and fault.resize:
            pattern = fault.resize(pattern)
        for given in suffered(pattern, fault) if fault else ():
            digest.update(given.tobytes())
        return f"{self.model.key}-{digest.hexdigest()[:20]}"


def suffered(picture: Array, fault: Fault | None) -> tuple[Array, Array]:
    """A picture with a fault as the features see it, and as the model gets it."""
    if fault and fault.change:
        picture = np.ascontiguousarray(fault.change(picture))
    return picture, fault.tensor(picture) if fault and fault.tensor else picture
