"""What computes in the bench: a model file, the kernels that run it, and how many threads."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from agent.contracts import Runner
from agent.runtime.choice import Runtime
from agent.runtime.cpu import Cpu
from tools.bench.diagnosis.classifiers import BY_NAME, CLASSIFIERS, FLOAT, Classifier
from tools.bench.diagnosis.model_faults import ALTERED, CORRUPTED_BEFORE
from tools.bench.diagnosis.photographs import Photograph
from tools.bench.diagnosis.pipelines import right
from tools.bench.diagnosis.recalibrated import REPRESENTATIVE, ranges, recalibrated
from tools.bench.diagnosis.shot import Shot

Kernels: TypeAlias = Literal["auto", "builtin", "reference"]
_REPRESENTED = 40
"""Pictures of the mistaken calibrations."""
RECALIBRATED = "v1 int8"
"""The file whose calibration is done again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFile:
    """``fault``: the key of the mistake that is in it, or ""."""

    classifier: str
    fault: str
    flatbuffer: bytes

    @property
    def name(self) -> str:
        return f"{self.classifier}, {self.fault}" if self.fault else self.classifier


@dataclass(frozen=True, kw_only=True, slots=True)
class Engine:
    file: str
    kernels: Kernels = "auto"
    threads: int = 1

    def open(self, files: dict[str, ModelFile], runtime: Runtime) -> Runner:
        flatbuffer = files[self.file].flatbuffer
        return Cpu(kernels=self.kernels).open(flatbuffer, runtime=runtime, threads=self.threads)


def model_files(
    pack: Path, pictures: Sequence[Photograph], chosen: Sequence[Classifier] = CLASSIFIERS
) -> dict[str, ModelFile]:
    """Every file of the bench by its name: as they are, altered, and calibrated on the wrong data."""
    made = []
    for classifier in chosen:
        given = classifier.flatbuffer(pack)
        made.append(ModelFile(classifier=classifier.name, fault="", flatbuffer=given))
        faults = ALTERED if classifier.alive else ()
        faults += CORRUPTED_BEFORE if classifier.twin and classifier.alive else ()
        made += [
            ModelFile(classifier=classifier.name, fault=fault.key, flatbuffer=fault.alter(given))
            for fault in faults
        ]
    if any(classifier.name == RECALIBRATED for classifier in chosen):
        made += _recalibrated(pack, pictures)
    return {file.name: file for file in made}


def bad_data_key(by: str) -> str:
    return f"bad representative data ({by})"


def _recalibrated(pack: Path, pictures: Sequence[Photograph]) -> list[ModelFile]:
    from agent.contracts import TensorSpec

    tensor = TensorSpec(name="input", shape=(1, 224, 224, 3), dtype="float32")
    trained = right("central")
    inputs = [trained.tensor(Shot(given.encoded), tensor) for given in pictures[:_REPRESENTED]]
    float_model, quantized = BY_NAME[FLOAT].flatbuffer(pack), BY_NAME[RECALIBRATED].flatbuffer(pack)
    return [
        ModelFile(
            classifier=RECALIBRATED,
            fault=bad_data_key(given.by),
            flatbuffer=recalibrated(quantized, ranges(float_model, given.inputs(inputs))),
        )
        for given in REPRESENTATIVE
    ]
