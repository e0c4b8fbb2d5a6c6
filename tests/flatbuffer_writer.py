"""Writes the few FlatBuffer tables that tests need, independently of the reader under test."""

import struct
from typing import TypeAlias

Field: TypeAlias = "tuple[str, int | float] | Table | bytes | list[Table] | None"
"""A scalar (format, value), a table, a vector of bytes (already with its items), tables, or nothing."""


class Table:
    def __init__(self, *fields: Field) -> None:
        self.fields = fields

    def write(self, out: bytearray) -> int:
        """Append this table (its children behind it); returns its offset."""
        layout = len(out)
        out += struct.pack("<HH", 4 + 2 * len(self.fields), 0) + bytes(2 * len(self.fields))
        out += bytes(-len(out) % 8)
        start = len(out)
        out += struct.pack("<i", start - layout)
        later: list[tuple[int, Field]] = []
        for number, field in enumerate(self.fields):
            if field is None:
                continue
            out += bytes(-len(out) % 8)
            struct.pack_into("<H", out, layout + 4 + 2 * number, len(out) - start)
            if isinstance(field, tuple):
                out += struct.pack("<" + field[0], field[1])
            else:
                later.append((len(out), field))
                out += bytes(4)
        for place, field in later:
            out += bytes(-len(out) % 8)
            struct.pack_into("<I", out, place, len(out) - place) if not isinstance(field, Table) else None
            if isinstance(field, Table):
                struct.pack_into("<I", out, place, field.write(out) - place)
            elif isinstance(field, bytes):
                out += field
            elif isinstance(field, list):
                _tables(out, field)
        return start


def _tables(out: bytearray, tables: list[Table]) -> None:
    out += struct.pack("<I", len(tables))
    slots = len(out)
    out += bytes(4 * len(tables))
    for number, table in enumerate(tables):
        place = slots + 4 * number
        struct.pack_into("<I", out, place, table.write(out) - place)


def text(value: str) -> bytes:
    return struct.pack("<I", len(value)) + value.encode() + b"\0"


def numbers(kind: str, *values: float) -> bytes:
    return struct.pack(f"<I{len(values)}{kind}", len(values), *values)


def document(root: Table, identifier: bytes) -> bytes:
    out = bytearray(struct.pack("<I", 0) + identifier)
    struct.pack_into("<I", out, 0, root.write(out))
    return bytes(out)


def metadata(*, mean: float, std: float, labels: str) -> bytes:
    """TFLite Metadata: an RGB image normalised by mean and std, and one output with a label file."""
    image = Table(("B", 2), Table(("b", 1)))
    normalization = Table(("B", 1), Table(numbers("f", mean), numbers("f", std)))
    german = Table(text("namen.txt"), None, ("b", 2), text("de"))
    files = [german, Table(text(labels), None, ("b", 2))]
    graph = Table(
        None,
        None,
        [Table(text("image"), None, None, image, [normalization])],
        [Table(text("probability"), None, None, None, None, None, files)],
    )
    return document(Table(text("A test"), text("of metadata"), None, [graph]), b"M001")


def model(shape: tuple[int, ...], dtype: int, *, scale: float, described: bytes | None = None) -> bytes:
    """A .tflite of one input tensor and no operators: enough to be described, not to be run.

    ``described``: its TFLite Metadata.
    """
    quantization = Table(None, None, numbers("f", scale), numbers("q", 0)) if dtype else None
    tensor = Table(numbers("i", *shape), ("b", dtype), ("I", 0), text("in"), quantization)
    graph = Table([tensor], numbers("i", 0), numbers("i", 0), [])
    buffers, entries = [Table()], []
    if described is not None:
        buffers.append(Table(struct.pack("<I", len(described)) + described))
        entries.append(Table(text("TFLITE_METADATA"), ("I", 1)))
    root = Table(("I", 3), [], [graph], text("test"), buffers, None, entries)
    return document(root, b"TFL3")
