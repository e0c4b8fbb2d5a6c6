"""Golden inputs inside a bundle: encoded originals with what training's side made of them.

Pure: files (name to bytes) in, values out, and back. Under ``litewatch/golden/`` lie ``index.json``,
one file per input (the encoded image as it was found, or a vector as little-endian float64),
``probes.npy`` (the traces' probe values, one after the other) and ``output-<k>.npy`` (the k-th raw
output tensor of every input, stacked).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np

from agent import npy
from agent.contracts import Array, Payload
from agent.document import DocumentError, read_json
from agent.errors import BundleError
from agent.preprocess.image_header import SUFFIXES
from agent.preprocess.trace import StepTrace
from agent.structure import StructureProblemsError, structure

FOLDER = "litewatch/golden/"
_INDEX, _PROBES = FOLDER + "index.json", FOLDER + "probes.npy"


@dataclass(frozen=True, kw_only=True, slots=True)
class GoldenInput:
    """One input with everything recorded at packing.

    ``encoded``: the image file's bytes, or with ``vector`` the values as little-endian float64.
    ``label``: output index, true value, or None. ``traces``: one per preprocessing step.
    ``outputs``: the raw (still quantized) output tensors by the reference kernels.
    """

    name: str
    encoded: bytes
    label: int | float | None
    traces: tuple[StepTrace, ...]
    outputs: tuple[Array, ...]
    vector: bool = False

    @property
    def payload(self) -> Payload:
        """What a source would have delivered."""
        return np.frombuffer(self.encoded, "<f8").astype(np.float64) if self.vector else self.encoded


@dataclass(frozen=True, kw_only=True, slots=True)
class _Trace:
    step: str
    revision: int
    shape: tuple[int, ...]
    dtype: str
    sha256: str
    tolerance: float
    probes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class _Input:
    name: str
    file: str
    label: int | float | None
    vector: bool
    traces: tuple[_Trace, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Index:
    outputs: int
    inputs: tuple[_Input, ...]


def encode(inputs: Sequence[GoldenInput]) -> dict[str, bytes]:
    """The files that hold ``inputs``. All must have outputs of the same shapes (ValueError) and names
    that UTF-8 can hold (UnicodeEncodeError; see ``plain_text``)."""
    listed, files = [], {}
    for number, golden in enumerate(inputs):
        file = f"{number:04d}{_suffix(golden)}"
        files[FOLDER + file] = golden.encoded
        traces = [
            {
                "step": trace.step,
                "revision": trace.revision,
                "shape": list(trace.shape),
                "dtype": trace.dtype,
                "sha256": trace.sha256,
                "tolerance": trace.tolerance,
                "probes": len(trace.probe),
            }
            for trace in golden.traces
        ]
        listed.append(
            {
                "name": golden.name,
                "file": file,
                "label": golden.label,
                "vector": golden.vector,
                "traces": traces,
            }
        )
    probes = [value for golden in inputs for trace in golden.traces for value in trace.probe]
    stacks = list(zip(*(golden.outputs for golden in inputs), strict=True))
    index = {"outputs": len(stacks), "inputs": listed}
    files[_INDEX] = json.dumps(index, indent=1, ensure_ascii=False).encode()
    files[_PROBES] = npy.encode(np.array(probes, np.float64))
    for number, stack in enumerate(stacks):
        files[_output(number)] = npy.encode(np.stack(stack))
    return files


def decode(files: Mapping[str, bytes], *, where: str) -> tuple[GoldenInput, ...]:
    """The inputs that ``files`` hold; none when there is no index. Raises BundleError."""
    if _INDEX not in files:
        return ()
    try:
        index = structure(read_json(files[_INDEX]), _Index, extra="ignore")
    except (DocumentError, StructureProblemsError) as error:
        problems = error.problems if isinstance(error, StructureProblemsError) else [str(error)]
        raise BundleError(*(f"{where}: {_INDEX}: {problem}" for problem in problems)) from None
    _check_counts(index, files, where)
    stacks = [_array(files, _output(number), where) for number in range(min(index.outputs, len(files)))]
    probes = _array(files, _PROBES, where)
    wanted = sum(trace.probes for listed in index.inputs for trace in listed.traces)
    if probes.shape != (wanted,) or any(stack.shape[:1] != (len(index.inputs),) for stack in stacks):
        raise BundleError(f"{where}: {_INDEX}: does not agree with its arrays")
    taken = iter(probes.tolist())
    return tuple(
        GoldenInput(
            name=listed.name,
            encoded=_file(files, FOLDER + listed.file, where),
            label=listed.label,
            vector=listed.vector,
            traces=tuple(
                _trace(trace, [next(taken) for _ in range(trace.probes)]) for trace in listed.traces
            ),
            outputs=tuple(stack[number] for stack in stacks),
        )
        for number, listed in enumerate(index.inputs)
    )


def _check_counts(index: _Index, files: Mapping[str, bytes], where: str) -> None:
    """Raises BundleError with every count that cannot be one."""
    counts = {"outputs": index.outputs}
    for i, listed in enumerate(index.inputs):
        counts |= {f"inputs[{i}].traces[{j}].probes": trace.probes for j, trace in enumerate(listed.traces)}
    found = [f"{_INDEX}: {place}: expected at least 0, got {n}" for place, n in counts.items() if n < 0]
    for listed in index.inputs:
        size = len(_file(files, FOLDER + listed.file, where))
        if listed.vector and size % 8:
            found.append(f"{FOLDER}{listed.file}: {size} bytes are no vector of float64")
    if found:
        raise BundleError(*(f"{where}: {problem}" for problem in found))


def _trace(recorded: _Trace, probe: list[float]) -> StepTrace:
    return StepTrace(
        step=recorded.step,
        revision=recorded.revision,
        shape=recorded.shape,
        dtype=recorded.dtype,
        sha256=recorded.sha256,
        tolerance=recorded.tolerance,
        probe=tuple(probe),
    )


def _output(number: int) -> str:
    return f"{FOLDER}output-{number}.npy"


def _suffix(golden: GoldenInput) -> str:
    if golden.vector:
        return ".f64"
    suffix = PurePosixPath(golden.name).suffix.lower()
    return suffix if suffix in SUFFIXES else ".image"


def _file(files: Mapping[str, bytes], name: str, where: str) -> bytes:
    if name not in files:
        raise BundleError(f"{where}: {name} is missing")
    return files[name]


def _array(files: Mapping[str, bytes], name: str, where: str) -> Array:
    try:
        return npy.decode(_file(files, name, where))
    except npy.NpyError as error:
        raise BundleError(f"{where}: {name}: {error}") from None
