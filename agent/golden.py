"""The golden set inside a bundle: encoded originals with what training's side made of them.

Pure: files (name to bytes) in, values out, and back. Under ``litewatch/golden/`` lie ``index.json``,
``NNNN.*`` per input (the encoded image as it was found, or a vector as little-endian float64),
``NNNN.tensor.*`` (what training fed the model with it, see ``RecordedTensor``), ``probes.npy`` (the
traces' probe values, one after the other), ``output-<k>.npy`` (the k-th raw output tensor of every
input, stacked) and ``float-output-<k>.npy`` (the float twin's, where every input has them). Bundles
of before have neither tensors, nor float outputs, nor a recording.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any, Literal, TypeAlias

import numpy as np

from agent import npy, pixel_file
from agent.contracts import Array, Payload
from agent.document import DocumentError, read_json
from agent.errors import BundleError
from agent.preprocess.image_header import SUFFIXES
from agent.preprocess.trace import StepTrace
from agent.structure import StructureProblemsError, structure

FOLDER = "litewatch/golden/"
MAX_TENSOR_BYTES = 512 * 2**20
"""Of all recorded tensors together, unpacked: a small picture file can hold a very large picture."""

_INDEX, _PROBES = FOLDER + "index.json", FOLDER + "probes.npy"
_OF_ONE_INPUT = re.compile(re.escape(FOLDER) + r"([0-9]{4,})\.")

Stratum: TypeAlias = Literal["random", "margin"]
"""``random``: drawn blindly; accuracies, points and costs come from these alone. ``margin``: chosen
because they flip first; they serve only to notice change."""
Origin: TypeAlias = Literal["self-made", "recorded"]
"""Who made the training-side tensors: this module from the spec, or the user's training code."""


@dataclass(frozen=True, kw_only=True, slots=True)
class RecordedTensor:
    """The training-side input tensor of one golden input, stored small.

    ``form`` says how ``codes`` become the tensor (``golden_tensor.restore``): ``view`` are 8-bit
    pixels H×W×C to which the spec's normalize and cast are applied; ``affine`` are such pixels with
    ``codes * scale + offset`` per channel; ``array`` is the tensor itself. ``sha256`` is that of the
    original tensor's bytes; ``exact`` says whether what is restored equals it bit for bit.
    """

    form: Literal["view", "affine", "array"]
    codes: Array
    sha256: str
    exact: bool
    scale: tuple[float, ...] = ()
    offset: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class GoldenInput:
    """One input with everything recorded at packing.

    ``encoded``: the image file's bytes, or with ``vector`` the values as little-endian float64.
    ``label``: output index, true value, or None. ``traces``: one per preprocessing step, made by the
    spec on the packing machine. ``outputs``: the raw (still quantized) output tensors by the
    reference kernels on the training-side tensor. ``float_outputs``: those of the float twin, in the
    same order; None without one. ``tensor``: the training-side tensor.
    """

    name: str
    encoded: bytes
    label: int | float | None
    traces: tuple[StepTrace, ...]
    outputs: tuple[Array, ...]
    vector: bool = False
    stratum: Stratum = "random"
    tensor: RecordedTensor | None = None
    float_outputs: tuple[Array, ...] | None = None

    @property
    def payload(self) -> Payload:
        """What a source would have delivered."""
        return np.frombuffer(self.encoded, "<f8").astype(np.float64) if self.vector else self.encoded


@dataclass(frozen=True, kw_only=True, slots=True)
class Recording:
    """Where and by whom a golden set was recorded. ``difference``: how the training code's tensors
    differ from the spec where that was accepted, else "". ``tolerance``: for a regression, the
    largest error that counts as right, in the model's units. ``float_model``: SHA-256 of the float
    twin, None without one."""

    origin: Origin
    runtime: str
    runtime_version: str
    numpy: str
    opencv: str
    cpu: str
    difference: str = ""
    tolerance: float | None = None
    float_model: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class GoldenSet:
    """The golden inputs, the random stratum first. ``recording`` is None in bundles of before."""

    inputs: tuple[GoldenInput, ...] = ()
    recording: Recording | None = None

    def stratum(self, name: Stratum) -> tuple[GoldenInput, ...]:
        return tuple(given for given in self.inputs if given.stratum == name)


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
class _Tensor:
    form: Literal["view", "affine", "array"]
    file: str
    sha256: str
    exact: bool
    scale: tuple[float, ...] = ()
    offset: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class _Input:
    name: str
    file: str
    label: int | float | None
    vector: bool
    traces: tuple[_Trace, ...]
    stratum: Stratum = "random"
    tensor: _Tensor | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Index:
    outputs: int
    inputs: tuple[_Input, ...]
    float_outputs: int = 0
    recording: Recording | None = None


def encode(golden: GoldenSet) -> dict[str, bytes]:
    """The files that hold ``golden``. All inputs must have outputs of the same shapes (ValueError) and
    names that UTF-8 can hold (UnicodeEncodeError; see ``plain_text``)."""
    listed: list[dict[str, Any]] = []
    files: dict[str, bytes] = {}
    for number, given in enumerate(golden.inputs):
        file = f"{number:04d}{_suffix(given)}"
        files[FOLDER + file] = given.encoded
        entry: dict[str, Any] = {
            "name": given.name,
            "file": file,
            "label": given.label,
            "vector": given.vector,
            "stratum": given.stratum,
            "traces": [_plain_trace(trace) for trace in given.traces],
        }
        if given.tensor is not None:
            content, suffix = tensor_file(given.tensor)
            files[f"{FOLDER}{number:04d}.tensor{suffix}"] = content
            entry["tensor"] = _plain_tensor(given.tensor, f"{number:04d}.tensor{suffix}")
        listed.append(entry)
    outputs = _stacks([given.outputs for given in golden.inputs])
    floats = _stacks([given.float_outputs for given in golden.inputs if given.float_outputs is not None])
    if floats and len(floats[0]) != len(golden.inputs):
        floats = []
    index: dict[str, Any] = {"outputs": len(outputs), "float_outputs": len(floats), "inputs": listed}
    if golden.recording is not None:
        index["recording"] = asdict(golden.recording)
    probes = [value for given in golden.inputs for trace in given.traces for value in trace.probe]
    files[_INDEX] = json.dumps(index, indent=1, ensure_ascii=False).encode()
    files[_PROBES] = npy.encode(np.array(probes, np.float64))
    files |= {_output(number): npy.encode(stack) for number, stack in enumerate(outputs)}
    return files | {_output(number, "float-"): npy.encode(stack) for number, stack in enumerate(floats)}


def decode(files: Mapping[str, bytes], *, where: str, most: int | None = None) -> GoldenSet:
    """The golden set that ``files`` hold, empty when there is no index; with ``most`` only its first
    so many inputs, which own their memory. Raises BundleError."""
    if _INDEX not in files:
        return GoldenSet()
    try:
        index = structure(read_json(files[_INDEX]), _Index, extra="ignore")
    except (DocumentError, StructureProblemsError) as error:
        problems = error.problems if isinstance(error, StructureProblemsError) else [str(error)]
        raise BundleError(*(f"{where}: {_INDEX}: {problem}" for problem in problems)) from None
    kept = index.inputs[:most]
    _check_counts(index, kept, files, where)
    outputs = _arrays(files, index.outputs, "", where)
    floats = _arrays(files, index.float_outputs, "float-", where)
    probes = _array(files, _PROBES, where)
    wanted = sum(trace.probes for listed in index.inputs for trace in listed.traces)
    stacks = [*outputs, *floats]
    if probes.shape != (wanted,) or any(stack.shape[:1] != (len(index.inputs),) for stack in stacks):
        raise BundleError(f"{where}: {_INDEX}: does not agree with its arrays")
    taken = iter(probes[: sum(trace.probes for listed in kept for trace in listed.traces)].tolist())
    budget = _Budget(MAX_TENSOR_BYTES)
    inputs = tuple(
        GoldenInput(
            name=listed.name,
            encoded=_file(files, FOLDER + listed.file, where),
            label=listed.label,
            vector=listed.vector,
            traces=tuple(
                _trace(trace, [next(taken) for _ in range(trace.probes)]) for trace in listed.traces
            ),
            outputs=tuple(_own(stack[number], most) for stack in outputs),
            stratum=listed.stratum,
            tensor=_tensor(listed.tensor, files, where, budget) if listed.tensor is not None else None,
            float_outputs=tuple(_own(stack[number], most) for stack in floats) if floats else None,
        )
        for number, listed in enumerate(kept)
    )
    return GoldenSet(inputs=inputs, recording=index.recording)


def beyond(file: str, most: int | None) -> bool:
    """Whether ``file`` of a bundle belongs to an input that ``decode`` with ``most`` does not read."""
    numbered = _OF_ONE_INPUT.match(file)
    return most is not None and numbered is not None and int(numbered[1]) >= most


class _Budget:
    """Bytes that may still be unpacked."""

    def __init__(self, size: int) -> None:
        self.left = size

    def take(self, size: int) -> bool:
        self.left -= size
        return self.left >= 0


def _check_counts(index: _Index, kept: Sequence[_Input], files: Mapping[str, bytes], where: str) -> None:
    """Raises BundleError with every count that cannot be one."""
    counts = {"outputs": index.outputs, "float_outputs": index.float_outputs}
    for i, listed in enumerate(index.inputs):
        counts |= {f"inputs[{i}].traces[{j}].probes": trace.probes for j, trace in enumerate(listed.traces)}
    found = [f"{_INDEX}: {place}: expected at least 0, got {n}" for place, n in counts.items() if n < 0]
    for listed in kept:
        size = len(_file(files, FOLDER + listed.file, where))
        if listed.vector and size % 8:
            found.append(f"{FOLDER}{listed.file}: {size} bytes are no vector of float64")
    if found:
        raise BundleError(*(f"{where}: {problem}" for problem in found))


def _plain_trace(trace: StepTrace) -> dict[str, Any]:
    return {
        "step": trace.step,
        "revision": trace.revision,
        "shape": list(trace.shape),
        "dtype": trace.dtype,
        "sha256": trace.sha256,
        "tolerance": trace.tolerance,
        "probes": len(trace.probe),
    }


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


def _plain_tensor(tensor: RecordedTensor, file: str) -> dict[str, Any]:
    plain = {"form": tensor.form, "file": file, "sha256": tensor.sha256, "exact": tensor.exact}
    return plain | ({"scale": tensor.scale, "offset": tensor.offset} if tensor.scale else {})


def tensor_file(tensor: RecordedTensor) -> tuple[bytes, str]:
    """The content and the suffix of the file a tensor is stored in."""
    if tensor.form == "array":
        return npy.encode(tensor.codes), ".npy"
    return pixel_file.encode(tensor.codes)


def _tensor(listed: _Tensor, files: Mapping[str, bytes], where: str, budget: _Budget) -> RecordedTensor:
    name = FOLDER + listed.file
    if listed.form == "array":
        codes = _array(files, name, where)
        fits = budget.take(codes.nbytes)
    else:
        content = _file(files, name, where)
        try:
            fits = budget.take(pixel_file.unpacked_bytes(content))
            codes = pixel_file.decode(content) if fits else np.zeros((0, 0, 0), np.uint8)
        except pixel_file.PixelFileError as error:
            raise BundleError(f"{where}: {name}: {error}") from None
        channels = (len(listed.scale), len(listed.offset))
        if fits and channels != ((codes.shape[2],) * 2 if listed.form == "affine" else (0, 0)):
            raise BundleError(f"{where}: {_INDEX}: {listed.file}: wrong number of scales or offsets")
    if not fits:
        raise BundleError(f"{where}: the golden tensors unpack to more than {MAX_TENSOR_BYTES} bytes")
    return RecordedTensor(
        form=listed.form,
        codes=codes,
        sha256=listed.sha256,
        exact=listed.exact,
        scale=listed.scale,
        offset=listed.offset,
    )


def _stacks(outputs: Sequence[tuple[Array, ...]]) -> list[Array]:
    return [np.stack(stack) for stack in zip(*outputs, strict=True)]


def _own(array: Array, most: int | None) -> Array:
    """A view would keep the whole stack in memory."""
    return array if most is None else array.copy()


def _output(number: int, prefix: str = "") -> str:
    return f"{FOLDER}{prefix}output-{number}.npy"


def _suffix(golden: GoldenInput) -> str:
    if golden.vector:
        return ".f64"
    suffix = PurePosixPath(golden.name).suffix.lower()
    return suffix if suffix in SUFFIXES else ".image"


def _file(files: Mapping[str, bytes], name: str, where: str) -> bytes:
    if name not in files:
        raise BundleError(f"{where}: {name} is missing")
    return files[name]


def _arrays(files: Mapping[str, bytes], count: int, prefix: str, where: str) -> list[Array]:
    """The stacked outputs; no more of them than there are files can be."""
    return [_array(files, _output(number, prefix), where) for number in range(min(count, len(files)))]


def _array(files: Mapping[str, bytes], name: str, where: str) -> Array:
    try:
        return npy.decode(_file(files, name, where))
    except npy.NpyError as error:
        raise BundleError(f"{where}: {name}: {error}") from None
