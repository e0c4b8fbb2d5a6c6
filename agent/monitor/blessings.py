"""The blessed answers of a device, and their file. Pure.

The file is a line of JSON and the arrays as .npy, one after the other; altered, cut off or of another
schema it is refused, and the device is blessed anew.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from agent import npy
from agent.contracts import Array
from agent.document import DocumentError, read_json
from agent.monitor.canary import Key
from agent.structure import StructureProblemsError, structure

MOST = 6
"""Ways of computing that are remembered: the delegate and the CPU, over a few updates."""
_SCHEMA = "litewatch.blessings/1"


@dataclass(frozen=True, kw_only=True, slots=True)
class Blessing:
    """The blessed outputs of one way of computing, by the SHA-256 of the golden tensor."""

    key: Key
    outputs: dict[str, tuple[Array, ...]]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Answer:
    tensor: str
    sizes: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Entry:
    key: Key
    answers: tuple[_Answer, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Header:
    schema: str
    sha256: str
    entries: tuple[_Entry, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Blessings:
    """The newest first."""

    known: tuple[Blessing, ...] = ()

    def of(self, key: Key, tensors: Sequence[str]) -> tuple[tuple[Array, ...], ...] | None:
        """The blessed outputs of every golden tensor, named by its SHA-256; None unless all are known."""
        for blessing in self.known:
            if blessing.key == key and all(tensor in blessing.outputs for tensor in tensors):
                return tuple(blessing.outputs[tensor] for tensor in tensors)
        return None

    def adding(self, key: Key, tensors: Sequence[str], answers: Sequence[tuple[Array, ...]]) -> "Blessings":
        """With ``answers`` blessed in the place of what ``key`` had."""
        outputs = dict(zip(tensors, answers, strict=True))
        others = tuple(blessing for blessing in self.known if blessing.key != key)
        return Blessings(known=(Blessing(key=key, outputs=outputs), *others)[:MOST])

    def encode(self) -> bytes:
        arrays: list[bytes] = []
        entries = []
        for blessing in self.known:
            answers = []
            for tensor, outputs in blessing.outputs.items():
                encoded = [npy.encode(output) for output in outputs]
                answers.append({"tensor": tensor, "sizes": [len(one) for one in encoded]})
                arrays += encoded
            entries.append({"key": asdict(blessing.key), "answers": answers})
        body = b"".join(arrays)
        header = {"schema": _SCHEMA, "sha256": hashlib.sha256(body).hexdigest(), "entries": entries}
        return json.dumps(header).encode() + b"\n" + body

    @staticmethod
    def decode(data: bytes) -> "Blessings":
        """Raises ValueError when ``data`` is not what ``encode`` wrote, in full."""
        line, _, body = data.partition(b"\n")
        try:
            header = structure(read_json(line), _Header)
        except (DocumentError, StructureProblemsError) as error:
            raise ValueError(f"no blessings: {error}") from None
        if header.schema != _SCHEMA or header.sha256 != hashlib.sha256(body).hexdigest():
            raise ValueError("altered, cut off or of another schema")
        if sum(size for entry in header.entries for one in entry.answers for size in one.sizes) != len(body):
            raise ValueError("its header does not agree with its arrays")
        return Blessings(known=_blessings(header, body))


def _blessings(header: _Header, body: bytes) -> tuple[Blessing, ...]:
    place = 0
    known = []
    for entry in header.entries:
        outputs: dict[str, tuple[Array, ...]] = {}
        for answer in entry.answers:
            arrays = []
            for size in answer.sizes:
                arrays.append(npy.decode(body[place : place + size]))
                place += size
            outputs[answer.tensor] = tuple(arrays)
        known.append(Blessing(key=entry.key, outputs=outputs))
    return tuple(known)
