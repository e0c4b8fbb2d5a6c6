"""A bundle's manifest: what the model is, how it is decoded, and the hash of everything beside it.

Pure: JSON bytes in, values out, and back.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from agent.contracts import Decoder
from agent.decode import KINDS
from agent.document import DocumentError, read_json
from agent.errors import BundleError
from agent.structure import StructureProblemsError, structure, structure_kind

SCHEMA = 1
"""Raised only when an older agent would misread a bundle. Unknown keys are ignored, but not below
``decoder``: an option that an agent does not know changes what the outputs mean."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FileHash:
    """One file of the archive: its size and the SHA-256 of its content in hex."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelHash:
    """The flatbuffer: everything before the archive."""

    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Revision:
    step: str
    revision: int


@dataclass(frozen=True, kw_only=True, slots=True)
class PreprocessVersion:
    """``version`` is the training team's label; the rest says what is needed to run the spec."""

    version: str
    schema: int
    steps: tuple[Revision, ...]
    fingerprint: str

    @property
    def revisions(self) -> tuple[tuple[str, int], ...]:
        return tuple((step.step, step.revision) for step in self.steps)


@dataclass(frozen=True, kw_only=True, slots=True)
class Environment:
    """Where the bundle was packed; it explains differences and decides nothing."""

    litewatch: str
    runtime: str
    runtime_version: str
    numpy: str
    opencv: str
    machine: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Manifest:
    """``decoder`` is its kind's dataclass. ``labels`` names the labels file, or is None."""

    schema: int
    name: str
    created: str
    training_run: str | None
    flatbuffer: ModelHash
    preprocess: PreprocessVersion
    labels: str | None
    files: tuple[FileHash, ...]
    environment: Environment
    decoder: Decoder

    @property
    def task(self) -> str:
        """The decoder's kind: ``classification``, ``detection`` or ``regression``."""
        return kind_of(self.decoder)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Plain:
    """The manifest without its decoder, whose options depend on its kind."""

    schema: int
    name: str
    created: str
    flatbuffer: ModelHash
    preprocess: PreprocessVersion
    files: tuple[FileHash, ...]
    environment: Environment
    training_run: str | None = None
    labels: str | None = None


def kind_of(decoder: Decoder) -> str:
    """The name a decoder's class is registered under."""
    path = f"{type(decoder).__module__}:{type(decoder).__qualname__}"
    return next(kind for kind, registered in KINDS.items() if registered == path)


def parse(data: bytes, *, where: str) -> Manifest:
    """The manifest in ``data``. Raises BundleError with every problem, each by dotted path."""
    try:
        document = read_json(data)
    except DocumentError as error:
        raise BundleError(f"{where}: {error}") from None
    if not isinstance(document, dict):
        raise BundleError(f"{where}: expected a mapping")
    schema = document.get("schema")
    if type(schema) is int and schema > SCHEMA:
        raise BundleError(
            f"{where}: schema: the bundle has format {schema}, this agent reads up to {SCHEMA}: "
            "update litewatch"
        )
    problems: list[str] = []
    plain: _Plain | None = None
    decoder: Decoder | None = None
    try:
        plain = structure({k: v for k, v in document.items() if k != "decoder"}, _Plain, extra="ignore")
    except StructureProblemsError as error:
        problems += error.problems
    try:
        decoder = structure_kind(document.get("decoder"), KINDS, root="decoder")
    except StructureProblemsError as error:
        problems += error.problems
    if plain is not None and len({file.name for file in plain.files}) != len(plain.files):
        problems.append("files: a name appears twice")
    if problems or plain is None or decoder is None:
        raise BundleError(*(f"{where}: {problem}" for problem in problems))
    return Manifest(
        schema=plain.schema,
        name=plain.name,
        created=plain.created,
        training_run=plain.training_run,
        flatbuffer=plain.flatbuffer,
        preprocess=plain.preprocess,
        labels=plain.labels,
        files=plain.files,
        environment=plain.environment,
        decoder=decoder,
    )


def encode(manifest: Manifest) -> bytes:
    """The manifest as JSON; ``parse`` of it gives an equal manifest."""
    document: dict[str, Any] = asdict(manifest)
    document["decoder"] = {"kind": manifest.task, **asdict(manifest.decoder)}  # type: ignore[call-overload]
    return json.dumps(document, indent=1, ensure_ascii=False).encode()


def hash_files(files: Mapping[str, bytes]) -> tuple[FileHash, ...]:
    """What the manifest says of ``files``, in their order."""
    return tuple(
        FileHash(name=name, bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
        for name, content in files.items()
    )


def hash_model(flatbuffer: bytes) -> ModelHash:
    return ModelHash(bytes=len(flatbuffer), sha256=hashlib.sha256(flatbuffer).hexdigest())
