"""What a .tflite says of itself: its tensors, and standard TFLite Metadata where it carries them.

Read straight from the flatbuffer, so no runtime is needed. Field numbers are those of TensorFlow
Lite's ``schema.fbs`` and TFLite Support's ``metadata_schema.fbs``.
"""

from dataclasses import dataclass

from agent.contracts import TensorSpec
from agent.errors import BundleError
from calibration.flatbuffer import FlatbufferError, Table

DETECTION_OP = "TFLite_Detection_PostProcess"
EDGETPU_OP = "edgetpu-custom-op"

_METADATA_NAME = "TFLITE_METADATA"
_AXIS_LABELS, _VALUE_LABELS = 2, 3
_NORMALIZATION = 1
_IMAGE = 2
_RGB, _GRAYSCALE = 1, 2
_DTYPES = {
    0: "float32",
    1: "float16",
    2: "int32",
    3: "uint8",
    4: "int64",
    5: "string",
    6: "bool",
    7: "int16",
    9: "int8",
    10: "float64",
    12: "uint64",
    15: "uint32",
    16: "uint16",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Normalization:
    """``(value - mean) / std`` on 0..255 pixels; one number, or one per channel."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Metadata:
    """What TFLite Metadata say of the first input and of the outputs.

    ``labels_file`` is the associated file that names an output's classes. ``color`` is "rgb",
    "gray" or "" when they do not say.
    """

    name: str
    description: str
    normalization: Normalization | None
    color: str
    labels_file: str | None
    output_names: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelFile:
    """A model's surface. ``detection_outputs``: positions among ``outputs`` of the boxes, classes,
    scores and count of a TFLite_Detection_PostProcess operator, where the model ends in one."""

    description: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    custom_ops: tuple[str, ...]
    operators: int
    detection_outputs: tuple[int, ...] | None
    metadata: Metadata | None

    @property
    def edgetpu(self) -> bool:
        """Whether it is compiled for the Edge TPU."""
        return EDGETPU_OP in self.custom_ops


def read(model: bytes, *, where: str) -> ModelFile:
    """Describe a .tflite (an archive behind it does not disturb). Raises BundleError."""
    try:
        return _model(Table.root(model))
    except FlatbufferError as error:
        raise BundleError(f"{where}: the model is damaged: {error}") from None


def _model(root: Table) -> ModelFile:
    graphs = root.tables(2)
    if not graphs:
        raise FlatbufferError("it has no graph")
    graph, codes = graphs[0], root.tables(1)
    tensors = graph.tables(0)
    outputs = graph.integers(2, "i")
    operators = graph.tables(3)
    return ModelFile(
        description=root.text(3),
        inputs=tuple(_tensor(_at(tensors, index)) for index in graph.integers(1, "i")),
        outputs=tuple(_tensor(_at(tensors, index)) for index in outputs),
        custom_ops=tuple(name for code in codes if (name := code.text(1))),
        operators=len(operators),
        detection_outputs=_detection_outputs(operators, codes, outputs),
        metadata=_metadata(root),
    )


def _tensor(table: Table) -> TensorSpec:
    quantization = table.table(4)
    scales = quantization.numbers(2, "f") if quantization else ()
    zero_points = quantization.integers(3, "q") if quantization else ()
    kind = table.integer(1, "b")
    return TensorSpec(
        name=table.text(3),
        shape=table.integers(0, "i"),
        dtype=_DTYPES.get(kind, f"type {kind}"),
        scale=float(scales[0]) if len(scales) == 1 else 0.0,
        zero_point=zero_points[0] if len(scales) == 1 and len(zero_points) == 1 else 0,
    )


def _detection_outputs(
    operators: tuple[Table, ...], codes: tuple[Table, ...], outputs: tuple[int, ...]
) -> tuple[int, ...] | None:
    for operator in operators:
        if _at(codes, operator.integer(0, "I")).text(1) == DETECTION_OP:
            made = operator.integers(2, "i")
            if len(made) == 4 and all(index in outputs for index in made):
                return tuple(outputs.index(index) for index in made)
    return None


def _metadata(root: Table) -> Metadata | None:
    for entry in root.tables(6):
        if entry.text(0) == _METADATA_NAME:
            buffer = _at(root.tables(4), entry.integer(1, "I")).blob(0)
            return _read_metadata(Table.root(buffer)) if buffer[4:8] == b"M001" else None
    return None


def _read_metadata(root: Table) -> Metadata:
    graphs = root.tables(3)
    inputs = graphs[0].tables(2) if graphs else ()
    outputs = graphs[0].tables(3) if graphs else ()
    return Metadata(
        name=root.text(0),
        description=root.text(1),
        normalization=_normalization(inputs[0]) if inputs else None,
        color=_color(inputs[0]) if inputs else "",
        labels_file=next((name for output in outputs if (name := _labels_file(output))), None),
        output_names=tuple(output.text(0) for output in outputs),
    )


def _normalization(tensor: Table) -> Normalization | None:
    for unit in tensor.tables(4):
        options = unit.table(1)
        if unit.integer(0, "B") == _NORMALIZATION and options is not None:
            mean, std = options.numbers(0, "f"), options.numbers(1, "f")
            return Normalization(mean=mean, std=std) if mean and std else None
    return None


def _color(tensor: Table) -> str:
    content = tensor.table(3)
    properties = content.table(1) if content else None
    if content is None or properties is None or content.integer(0, "B") != _IMAGE:
        return ""
    return {_RGB: "rgb", _GRAYSCALE: "gray"}.get(properties.integer(0, "b"), "")


def _labels_file(tensor: Table) -> str | None:
    """The first label file without a locale, else the first of any."""
    files = [file for file in tensor.tables(6) if file.integer(2, "b") in (_AXIS_LABELS, _VALUE_LABELS)]
    files.sort(key=lambda file: bool(file.text(3)))
    return files[0].text(0) if files else None


def _at(tables: tuple[Table, ...], index: int) -> Table:
    if not 0 <= index < len(tables):
        raise FlatbufferError("an index lies outside its list")
    return tables[index]
