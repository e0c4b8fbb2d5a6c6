"""The classifiers of the data pack, and how each takes its input."""

from dataclasses import dataclass
from pathlib import Path

from agent.errors import MachineError

FLOAT = "v1 float"


@dataclass(frozen=True, kw_only=True, slots=True)
class Classifier:
    """``twin``: the float classifier it was quantized from, where the pack has it. ``alive``: whether
    it works at all, so that a mistake in preprocessing can cost it anything."""

    name: str
    file: str
    dtype: str
    twin: str | None = None
    alive: bool = True

    def flatbuffer(self, pack: Path) -> bytes:
        try:
            return (pack / self.file).read_bytes()
        except OSError as error:
            raise MachineError(f"{pack / self.file}: the data pack is incomplete: {error.strerror}") from None


CLASSIFIERS = (
    Classifier(name=FLOAT, file="models/mobilenet_v1_0.25_224_1_metadata_1.tflite", dtype="float32"),
    Classifier(name="v1 uint8", file="models/mobilenet_v1_0.25_224_quant.tflite", dtype="uint8", twin=FLOAT),
    Classifier(name="v2 uint8", file="models/coral_edgetpu_mobilenet_v2_1.0_224_quant.tflite", dtype="uint8"),
    Classifier(
        name="v1 dynamic",
        file="models_derived/mnv1_025_dynamic_wi8_afp32.tflite",
        dtype="float32",
        twin=FLOAT,
    ),
    Classifier(
        name="v1 int8",
        file="models_derived/mnv1_025_ptq_int8_perchannel_calib100_ok.tflite",
        dtype="int8",
        twin=FLOAT,
    ),
    Classifier(
        name="v1 per-tensor",
        file="models_derived/mnv1_025_ptq_int8_pertensor_calib100.tflite",
        dtype="int8",
        twin=FLOAT,
        alive=False,
    ),
)
BY_NAME = {classifier.name: classifier for classifier in CLASSIFIERS}

PREPROCESS = {
    "central": """\
  - crop: {kind: central_fraction, fraction: 0.875, rounding: floor}
  - resize: {width: 224, height: 224, method: linear, aspect: stretch}
""",
    "aspect": """\
  - resize: {width: 256, height: 256, method: linear, aspect: shorter_side}
  - crop: {kind: center, width: 224, height: 224, rounding: floor}
""",
}
_BYTES = "  - cast: {mode: raw, rounding: half_even, layout: nhwc}\n"
_REAL = """\
  - normalize: {divisor: 127.5, mean: [1], std: [1]}
  - cast: {mode: quantize, rounding: half_even, layout: nhwc}
"""


def preprocess_yaml(training: str, dtype: str) -> str:
    """What the training side does, in the words of preprocess.yaml."""
    head, colour = 'version: "bench"\nsteps:\n  - decode: {exif: ignore}\n', "  - color: {order: rgb}\n"
    return head + PREPROCESS[training] + colour + (_BYTES if dtype == "uint8" else _REAL)
