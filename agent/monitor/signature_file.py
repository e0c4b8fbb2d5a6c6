"""The shape of ``signatures.json`` and ``signatures.npy``: strictly typed, checked, nothing computed.

``signatures.npy`` is float32 (K + 1 + B, D): the signatures of the K faults, the spread between
implementations, and the basis: B is D, or 1 where only its diagonal is kept.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from agent import npy
from agent.document import DocumentError, read_json
from agent.errors import BundleError
from agent.structure import StructureProblemsError, structure

JSON_NAME, NPY_NAME = "signatures.json", "signatures.npy"
MAX_BYTES = 32 * 2**20
"""Of either file."""
MAX_FAULTS = 4096

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class FaultEntry:
    family: str
    name: str
    loss: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class SignatureFile:
    schema: Literal["litewatch.signatures/1"]
    kind: Literal["accuracy", "mse"]
    inputs: int
    rows: int
    shifted_above: float
    pointed_above: float
    unlike_above: float
    features: tuple[str, ...]
    faults: tuple[FaultEntry, ...]


def parse(data: bytes, features: tuple[str, ...] | None) -> SignatureFile:
    """Read ``signatures.json``, of ``features`` where given. Raises BundleError with every problem by
    dotted path."""
    if len(data) > MAX_BYTES:
        raise BundleError(f"{JSON_NAME}: {len(data)} bytes are more than the {MAX_BYTES} allowed")
    try:
        file = structure(read_json(data), SignatureFile, root=JSON_NAME)
    except StructureProblemsError as error:
        raise BundleError(*error.problems) from None
    except DocumentError as error:
        raise BundleError(f"{JSON_NAME}: {error}") from None
    problems = [f"{JSON_NAME}.{problem}" for problem in _problems(file, features)]
    if problems:
        raise BundleError(*problems)
    return file


def _problems(file: SignatureFile, features: tuple[str, ...] | None) -> Iterator[str]:
    if features is not None and file.features != features:
        yield "features: are not the reference's"
    for name, count in (("inputs", file.inputs), ("rows", file.rows)):
        if count < 1:
            yield f"{name}: expected 1 or more, got {count}"
    if not 1 <= len(file.faults) <= MAX_FAULTS:
        yield f"faults: expected 1 … {MAX_FAULTS}, got {len(file.faults)}"
    for name in ("shifted_above", "pointed_above", "unlike_above"):
        if not getattr(file, name) >= 1e-12:
            yield f"{name}: must be more than 0"


def parse_table(data: bytes, file: SignatureFile) -> tuple[Floats, Floats, Floats]:
    """Read ``signatures.npy``: vectors (K, D), spread (D,) and basis (B, D). Raises BundleError."""
    if len(data) > MAX_BYTES:
        raise BundleError(f"{NPY_NAME}: {len(data)} bytes are more than the {MAX_BYTES} allowed")
    try:
        table = npy.decode(data)
    except npy.NpyError as error:
        raise BundleError(f"{NPY_NAME}: {error}") from None
    if table.dtype != np.float32 or table.ndim != 2 or not np.isfinite(table).all():
        raise BundleError(f"{NPY_NAME}: expected a table of finite float32 numbers")
    faults, features, numbers = len(file.faults), len(file.features), table.shape[1]
    fits = len(table) - faults - 1 in (1, numbers)
    if not fits or not 2 * features <= numbers <= 3 * features:
        raise BundleError(f"{NPY_NAME}: shape {table.shape} does not fit {faults} faults")
    exact = table.astype(np.float64)
    vectors, spread, basis = exact[:faults], exact[faults], exact[faults + 1 :]
    if (spread < 0).any() or not _is_metric(basis):
        raise BundleError(f"{NPY_NAME}: holds no metric")
    return vectors, spread, basis


def _is_metric(basis: Floats) -> bool:
    if len(basis) == 1:
        return bool((basis > 0).all())
    return int(np.linalg.matrix_rank(basis)) == len(basis)
