"""A bundle: one .tflite that carries its own truth as associated files.

``read`` is pure: bytes in, a verified ``Bundle`` or one BundleError out. In this order: the file is a
.tflite with an archive at its end; the signature over the manifest, where keys are trusted; the
manifest; the hash of the model and of every file it lists (a file under ``litewatch/`` that it does
not list is refused, others are ignored); whether this agent can run the preprocessing; the spec
against its fingerprint; labels, reference profile, what replayed faults taught, and golden inputs.

Not done here: whether the spec fits the model's input (``preprocess.compiled``) and whether this
machine reproduces the golden inputs (``preprocess.trace``).
"""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from agent import archive, golden, manifest, signature
from agent.archive import Archive
from agent.contracts import Decoder
from agent.errors import BundleError, SpecError
from agent.golden import GoldenInput as GoldenInput
from agent.golden import GoldenSet as GoldenSet
from agent.manifest import Environment, PreprocessVersion, Revision
from agent.manifest import Manifest as Manifest
from agent.monitor import estimate, signatures
from agent.monitor import reference as references
from agent.monitor.estimate import Estimator
from agent.monitor.reference import Reference
from agent.monitor.signatures import Library
from agent.preprocess import spec as specs
from agent.preprocess.spec import PreprocessSpec

FOLDER = "litewatch/"
MANIFEST = FOLDER + "manifest.json"
SIGNATURE = FOLDER + "signature"
PREPROCESS = FOLDER + "preprocess.yaml"
REFERENCE = FOLDER + "reference.json"
CALIBRATION = FOLDER + "calibration.npy"
ESTIMATOR = FOLDER + "estimator.json"
SIGNATURES = FOLDER + "signatures.json"
SIGNATURE_VECTORS = FOLDER + "signatures.npy"
EDGETPU = FOLDER + "edgetpu.tflite"
LABELS = "labels.txt"

MAX_BYTES = 512 * 2**20
"""Of a whole bundle file."""
MAX_MANIFEST_BYTES = 2**20

_IDENTIFIER = b"TFL3"


@dataclass(frozen=True, kw_only=True, slots=True)
class Bundle:
    """A verified bundle. ``name`` is its file's name.

    ``signed_by`` is the id of the trusted key that signed it, None when no keys are trusted;
    ``signature`` the key id its signature claims, whether trusted or not. ``edgetpu`` is the same
    model compiled for the Edge TPU. ``manifest_sha256`` identifies the bundle as a whole.
    ``estimator`` (accuracy without labels) and ``signatures`` (what faults look like) are None where no
    faults were replayed.
    """

    name: str
    flatbuffer: bytes = field(repr=False)
    manifest: Manifest
    manifest_sha256: str
    spec: PreprocessSpec
    decoder: Decoder
    labels: tuple[str, ...]
    reference: Reference = field(repr=False)
    golden: GoldenSet = field(repr=False)
    signed_by: str | None
    signature: str | None
    edgetpu: bytes | None = field(repr=False)
    estimator: Estimator | None = field(default=None, repr=False)
    signatures: Library | None = field(default=None, repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """What ``write`` puts beside a model.

    ``preprocess`` is the spec's YAML text, kept as its author wrote it. ``associated`` are files
    the model already carried; they survive unless a part of the same name replaces them.
    ``created`` is RFC 3339.
    """

    name: str
    created: str
    preprocess: str
    decoder: Decoder
    reference: Reference
    environment: Environment
    golden: GoldenSet = field(default_factory=GoldenSet)
    labels: tuple[str, ...] = ()
    training_run: str | None = None
    edgetpu: bytes | None = None
    estimator: Estimator | None = None
    signatures: Library | None = None
    associated: Mapping[str, bytes] = field(default_factory=dict)


def load(path: Path | str, trusted_keys: Sequence[str] = (), *, most_golden: int | None = None) -> Bundle:
    """Read and verify the bundle at ``path``; ``most_golden`` as for ``read``. Raises BundleError."""
    return read(read_file(path), name=Path(path).name, trusted_keys=trusted_keys, most_golden=most_golden)


def read_file(path: Path | str) -> bytes:
    """The bytes of a model or bundle, refused above ``MAX_BYTES``. Raises BundleError."""
    try:
        with Path(path).open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_BYTES:
                raise BundleError(f"{path}: {size} bytes are more than the {MAX_BYTES} allowed")
            return file.read(MAX_BYTES)
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}") from None


def read(
    data: bytes, *, name: str, trusted_keys: Sequence[str] = (), most_golden: int | None = None
) -> Bundle:
    """Verify the bundle in ``data``; ``name`` names it in messages.

    With ``trusted_keys`` (Ed25519 public keys, base64 or PEM) only a bundle signed by one of them is
    accepted. ``most_golden`` keeps only the first so many golden inputs in memory; all are verified.
    Raises BundleError with what is wrong and where.
    """
    opened = open_archive(data, name=name)
    if MANIFEST not in opened.entries:
        raise BundleError(_no_bundle(name))
    manifest_bytes = opened.read(MANIFEST, limit=MAX_MANIFEST_BYTES)
    claimed, signed_by = _check_signature(opened, manifest_bytes, trusted_keys)
    said = manifest.parse(manifest_bytes, where=f"{name}: manifest.json")
    flatbuffer = data[: opened.start]
    if manifest.hash_model(flatbuffer) != said.flatbuffer:
        raise BundleError(f"{name}: the model is not the one this bundle was made for (its SHA-256 differs)")
    files = _verified_files(opened, said, most_golden)
    spec = _spec(files, said.preprocess, name)
    reference = _reference(files, said.preprocess, name)
    return Bundle(
        name=name,
        flatbuffer=flatbuffer,
        manifest=said,
        manifest_sha256=hashlib.sha256(manifest_bytes).hexdigest(),
        spec=spec,
        decoder=said.decoder,
        labels=_labels(files, said.labels, name),
        reference=reference,
        golden=golden.decode(files, where=name, most=most_golden),
        signed_by=signed_by,
        signature=claimed,
        edgetpu=files.get(EDGETPU),
        estimator=_estimator(files, reference, name),
        signatures=_signatures(files, reference, name),
    )


def open_archive(data: bytes, *, name: str) -> Archive:
    """The archive of associated files behind a .tflite; BundleError says what the file is instead."""
    if not is_model(data):
        what = "a zip archive without a model" if data[:2] == b"PK" else "not a .tflite model"
        raise BundleError(f"{name}: {what} (the identifier {_IDENTIFIER.decode()} is missing)")
    if archive.carries_archive(data):
        return archive.read(data, where=name)
    raise BundleError(_truncated(name) if _leftovers(data) else _no_bundle(name))


def split(data: bytes, *, name: str) -> tuple[bytes, dict[str, bytes]]:
    """A .tflite, bundle or not, as its model and the associated files that are no part of a bundle.

    Raises BundleError when it is no .tflite, its archive is damaged, or remains of a bundle whose end is
    missing lie behind the model, where they would become a part of it.
    """
    if is_model(data) and not archive.carries_archive(data) and not _leftovers(data):
        return data, {}
    opened = open_archive(data, name=name)
    if _leftovers(data[: opened.start]):
        raise BundleError(_truncated(name))
    kept = (file for file in opened.entries if not file.startswith(FOLDER) and not file.endswith("/"))
    return data[: opened.start], {file: opened.read(file) for file in kept}


def is_model(data: bytes) -> bool:
    """Whether ``data`` begins as a .tflite does."""
    return data[4:8] == _IDENTIFIER


def read_labels(content: bytes, *, where: str) -> tuple[str, ...]:
    """The lines of a labels file, one per output; empty lines count except at its end."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BundleError(f"{where}: not UTF-8 at byte {error.start}") from None
    lines = text.replace("\r\n", "\n").rstrip("\n")
    return tuple(lines.split("\n")) if lines else ()


def write(flatbuffer: bytes, parts: Parts, *, key: str | None = None) -> bytes:
    """The bundle of ``flatbuffer`` (exactly the model, no archive) and ``parts``.

    ``key`` is a private key as ``signature.sign`` takes it. Equal arguments give equal bytes.
    Raises SpecError or BundleError when a part cannot be used.
    """
    spec = specs.parse(parts.preprocess)
    reference_json, calibration = references.encode(parts.reference)
    files = {file: content for file, content in parts.associated.items() if not file.startswith(FOLDER)}
    if parts.labels and (LABELS not in files or read_labels(files[LABELS], where=LABELS) != parts.labels):
        files[LABELS] = ("\n".join(parts.labels) + "\n").encode()
    files |= {
        PREPROCESS: parts.preprocess.encode(),
        REFERENCE: reference_json,
        CALIBRATION: calibration,
        **golden.encode(parts.golden),
    }
    files |= _learnt(parts)
    if parts.edgetpu is not None:
        files[EDGETPU] = parts.edgetpu
    said = manifest.encode(_manifest(flatbuffer, parts, spec, files))
    sealed = {SIGNATURE: signature.sign(said, key, where="signing key")} if key is not None else {}
    return archive.append(flatbuffer, files | {MANIFEST: said} | sealed)


def _learnt(parts: Parts) -> dict[str, bytes]:
    files = {}
    if parts.estimator is not None:
        files[ESTIMATOR] = estimate.encode(parts.estimator)
    if parts.signatures is not None:
        files[SIGNATURES], files[SIGNATURE_VECTORS] = signatures.encode(parts.signatures)
    return files


def _manifest(flatbuffer: bytes, parts: Parts, spec: PreprocessSpec, files: Mapping[str, bytes]) -> Manifest:
    return Manifest(
        schema=manifest.SCHEMA,
        name=parts.name,
        created=parts.created,
        training_run=parts.training_run,
        flatbuffer=manifest.hash_model(flatbuffer),
        preprocess=PreprocessVersion(
            version=spec.version,
            schema=specs.SCHEMA_VERSION,
            steps=tuple(Revision(step=step, revision=number) for step, number in specs.revisions(spec)),
            fingerprint=specs.fingerprint(spec),
        ),
        labels=LABELS if parts.labels else None,
        files=manifest.hash_files(files),
        environment=parts.environment,
        decoder=parts.decoder,
    )


def _leftovers(data: bytes) -> bool:
    """Whether files of a bundle begin in ``data``."""
    return archive.begins(data, (FOLDER.encode(), LABELS.encode()))


def _truncated(name: str) -> str:
    return f"{name}: its end is missing or damaged (truncated while copying?)"


def _no_bundle(name: str) -> str:
    return f"{name}: is a .tflite model but not a bundle: run `litewatch pack`"


def _check_signature(
    opened: Archive, said: bytes, trusted_keys: Sequence[str]
) -> tuple[str | None, str | None]:
    """The key id the signature claims, and the trusted key that proved it."""
    where = f"{opened.where}: {SIGNATURE}"
    signed = opened.read(SIGNATURE, limit=MAX_MANIFEST_BYTES) if SIGNATURE in opened.entries else None
    claimed = signature.claimed_by(signed, where=where) if signed is not None else None
    if not trusted_keys:
        return claimed, None
    return claimed, signature.verify(said, signed, trusted_keys, where=where)


def _verified_files(opened: Archive, said: Manifest, most_golden: int | None) -> dict[str, bytes]:
    """Every file the manifest lists, with its hash verified; those of further golden inputs are left out."""
    listed = {file.name: file for file in said.files}
    problems = [
        f"{opened.where}: {file}: is not listed in the manifest"
        for file in opened.entries
        if file.startswith(FOLDER) and file not in (MANIFEST, SIGNATURE) and file not in listed
    ]
    files = {}
    for file, expected in listed.items():
        try:
            content = opened.read_stored(file)
        except BundleError as error:
            problems += error.problems
            continue
        if (len(content), hashlib.sha256(content).hexdigest()) != (expected.bytes, expected.sha256):
            problems.append(f"{opened.where}: {file}: altered (its SHA-256 is not the manifest's)")
        if not golden.beyond(file, most_golden):
            files[file] = content
    if problems:
        raise BundleError(*problems)
    return files


def _needed(files: Mapping[str, bytes], file: str, name: str) -> bytes:
    if file not in files:
        raise BundleError(f"{name}: {file} is missing")
    return files[file]


def _spec(files: Mapping[str, bytes], said: PreprocessVersion, name: str) -> PreprocessSpec:
    """The spec, once this agent is known to run it as training did."""
    text = _needed(files, PREPROCESS, name)
    try:
        specs.check_runnable(said.schema, said.revisions)
        spec = specs.parse(text.decode(), where="preprocess.yaml")
    except UnicodeDecodeError:
        raise BundleError(f"{name}: preprocess.yaml: not UTF-8") from None
    except SpecError as error:
        raise BundleError(*(f"{name}: {problem}" for problem in error.problems)) from None
    if specs.fingerprint(spec) != said.fingerprint or specs.revisions(spec) != said.revisions:
        raise BundleError(f"{name}: preprocess.yaml: its fingerprint is not the manifest's")
    return spec


def _labels(files: Mapping[str, bytes], file: str | None, name: str) -> tuple[str, ...]:
    if file is None:
        return ()
    return read_labels(_needed(files, file, name), where=f"{name}: {file}")


def _reference(files: Mapping[str, bytes], said: PreprocessVersion, name: str) -> Reference:
    with _in_bundle(name):
        reference = references.decode(_needed(files, REFERENCE, name), _needed(files, CALIBRATION, name))
    if reference.fingerprint != said.fingerprint:
        raise BundleError(f"{name}: reference.json: made with another preprocessing (fingerprint differs)")
    return reference


def _estimator(files: Mapping[str, bytes], reference: Reference, name: str) -> Estimator | None:
    if ESTIMATOR not in files:
        return None
    with _in_bundle(name):
        return estimate.decode(files[ESTIMATOR], features=reference.features)


def _signatures(files: Mapping[str, bytes], reference: Reference, name: str) -> Library | None:
    if SIGNATURES not in files and SIGNATURE_VECTORS not in files:
        return None
    with _in_bundle(name):
        described, vectors = _needed(files, SIGNATURES, name), _needed(files, SIGNATURE_VECTORS, name)
        return signatures.decode(described, vectors, features=reference.features)


@contextmanager
def _in_bundle(name: str) -> Iterator[None]:
    """Problems of a file, each said once to be of the bundle ``name``."""
    try:
        yield
    except BundleError as error:
        raise BundleError(
            *(f"{name}: {problem.removeprefix(name + ': ')}" for problem in error.problems)
        ) from None
