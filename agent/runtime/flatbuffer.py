"""Is this a .tflite file whose every offset stays inside it?

ai-edge-litert verifies a model before use. tflite-runtime does not: a truncated file kills the
process (segmentation fault). So the check is made here, for both alike: it follows the offsets a
runtime follows, by the table layouts of TFLite's ``schema.fbs`` (version 3) and the FlatBuffers
binary format.

Not done here: sparse tensors' segments, StableHLO options, and whether the numbers mean anything.
Runtimes check most numbers themselves when they load, not all when they run: a model altered
within valid offsets can still corrupt memory, and is what the bundle's SHA-256 is for.
"""

import struct
from dataclasses import dataclass
from typing import TypeAlias

from agent.errors import BundleError


@dataclass(frozen=True, slots=True)
class Scalar:
    size: int


@dataclass(frozen=True, slots=True)
class Vector:
    """Numbers of ``size`` bytes each; a string is a vector of 1."""

    size: int


@dataclass(frozen=True, slots=True)
class Table:
    """``fields`` in schema order (None: nothing to follow); ``needed`` must be there, by number."""

    name: str
    fields: tuple["Field", ...] = ()
    needed: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Tables:
    """A vector of tables."""

    of: Table


@dataclass(frozen=True, slots=True)
class OneOf:
    """A union: the field before it says which of ``tables`` it is, or a table without offsets."""

    tables: tuple[tuple[int, Table], ...] = ()


Field: TypeAlias = Scalar | Vector | Table | Tables | OneOf | None

_I8, _I32, _I64 = Scalar(1), Scalar(4), Scalar(8)
_TEXT = _BYTES = Vector(1)
_INTS, _LONGS = Vector(4), Vector(8)
_OPAQUE = Table("options")

_OPTIONS = OneOf(
    (
        (17, Table("ReshapeOptions", (_INTS,))),
        (30, Table("SqueezeOptions", (_INTS,))),
        (111, Table("VarHandleOptions", (_TEXT, _TEXT))),
        (115, Table("BucketizeOptions", (_INTS,))),
    )
)
_CODE = Table("OperatorCode", (_I8, _TEXT, _I32, _I32))
_OPERATOR = Table(
    "Operator",
    (_I32, _INTS, _INTS, _I8, _OPTIONS, _BYTES, _I8, _BYTES, _INTS, _I64, _I64, _I8, OneOf()),
)
_QUANTIZATION = Table("QuantizationParameters", (_INTS, _INTS, _INTS, _LONGS, _I8, OneOf(), _I32))
_DIMENSION = Table("DimensionMetadata", (_I8, _I32, _I8, OneOf(), _I8, OneOf()))
_SPARSITY = Table("SparsityParameters", (_INTS, _INTS, Tables(_DIMENSION)))
_VARIANT = Table("VariantSubType", (_INTS, _I8, _I8))
_TENSOR = Table(
    "Tensor",
    (_INTS, _I8, _I32, _TEXT, _QUANTIZATION, _I8, _SPARSITY, _INTS, _I8, Tables(_VARIANT)),
)
_GRAPH = Table("SubGraph", (Tables(_TENSOR), _INTS, _INTS, Tables(_OPERATOR), _TEXT))
_BUFFER = Table("Buffer", (_BYTES, _I64, _I64))
_METADATA = Table("Metadata", (_TEXT, _I32))
_NAMED = Table("TensorMap", (_TEXT, _I32))
_SIGNATURE = Table("SignatureDef", (Tables(_NAMED), Tables(_NAMED), _TEXT, None, _I32))
_MODEL = Table(
    "Model",
    (
        _I32,
        Tables(_CODE),
        Tables(_GRAPH),
        _TEXT,
        Tables(_BUFFER),
        _INTS,
        Tables(_METADATA),
        Tables(_SIGNATURE),
    ),
    needed=(1, 2, 4),  # tflite-runtime reads them unasked
)


def check(model: bytes) -> None:
    """Raises BundleError unless ``model`` is a whole .tflite file (bytes after its end are ignored)."""
    if model[4:8] != b"TFL3":
        raise BundleError("model: not a .tflite file (bytes 4 to 8 are not TFL3)")
    walk = _Walk(model)
    try:
        walk.run()
    except struct.error:  # unpack_from's own bounds check
        raise BundleError(
            f"model: damaged or truncated: a {walk.place} table in it lacks what is needed or points "
            f"outside its {len(model)} bytes"
        ) from None


class _Walk:
    """Visits each table and list of tables once: a file that names one a million times costs no more."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._todo: list[tuple[int, Table]] = []
        self._seen: set[tuple[int, str]] = set()
        self.place = "Model"

    def run(self) -> None:
        self._add(0, _MODEL)
        while self._todo:
            position, table = self._todo.pop()
            self.place = table.name
            self._table(position, table)

    def _add(self, reference: int, table: Table) -> None:
        position = self._target(reference)
        if (position, table.name) not in self._seen:
            self._seen.add((position, table.name))
            self._todo.append((position, table))

    def _target(self, reference: int) -> int:
        (offset,) = struct.unpack_from("<I", self._data, reference)
        if offset == 0:
            raise struct.error
        return reference + int(offset)

    def _inside(self, start: int, size: int) -> None:
        if start < 0 or start + size > len(self._data):
            raise struct.error

    def _table(self, position: int, table: Table) -> None:
        (back,) = struct.unpack_from("<i", self._data, position)
        layout = position - back
        # A negative position would be counted from the file's end.
        self._inside(layout, 4)
        length, size = struct.unpack_from("<HH", self._data, layout)
        self._inside(position, size)
        places = struct.unpack_from(f"<{max(length - 4, 0) // 2}H", self._data, layout + 4)
        if any(place >= size for place in places):
            raise struct.error
        if any(number >= len(places) or not places[number] for number in table.needed):
            raise struct.error
        for number, (place, field) in enumerate(zip(places, table.fields, strict=False)):
            if place and field is not None:
                tag_place = places[number - 1] if isinstance(field, OneOf) else 0
                tag = self._data[position + tag_place] if tag_place else 0
                self._field(position + place, position + size, field, tag)
        if table is _BUFFER:
            self._outer(position, places)

    def _field(self, place: int, end: int, field: Field, tag: int) -> None:
        if place + (field.size if isinstance(field, Scalar) else 4) > end:
            raise struct.error
        if isinstance(field, Vector):
            self._vector(place, field.size)
        elif isinstance(field, Tables):
            start, count = self._vector(place, 4)
            if (start, field.of.name + "s") not in self._seen:
                self._seen.add((start, field.of.name + "s"))
                for number in range(count):
                    self._add(start + 4 * number, field.of)
        elif isinstance(field, Table):
            self._add(place, field)
        elif isinstance(field, OneOf):
            self._add(place, dict(field.tables).get(tag, _OPAQUE))

    def _vector(self, place: int, size: int) -> tuple[int, int]:
        start = self._target(place)
        (count,) = struct.unpack_from("<I", self._data, start)
        self._inside(start + 4, count * size)
        return start + 4, int(count)

    def _outer(self, position: int, places: tuple[int, ...]) -> None:
        """A buffer may lie behind the flatbuffer proper; offset 0 and 1 mean that it does not."""
        if len(places) >= 3 and places[1] and places[2]:
            (offset,) = struct.unpack_from("<Q", self._data, position + places[1])
            (size,) = struct.unpack_from("<Q", self._data, position + places[2])
            if offset > 1:
                self._inside(offset, size)
