"""The model inputs that a user's own training code made, one .npy file per input.

A folder of them names each after its input (``<file name>.npy`` or ``<stem>.npy``, in the same
sub-folder or not); a recorder's folder says in its ``recording.csv`` which belongs to which.
"""

import csv
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from agent import npy
from agent.contracts import Array, TensorSpec
from agent.errors import BundleError
from agent.preprocess.spec import PreprocessSpec
from agent.preprocess.values import Cast
from calibration import input_names

INDEX = "recording.csv"
"""A recorder's table of contents: ``file,label,tensor,outputs``; paths relative to it."""
_SEPARATOR = ";"


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainingTensors:
    """Files by input name. ``output_files``: the float outputs recorded with it, in their order."""

    where: Path
    files: Mapping[str, Path] = field(repr=False)
    output_files: Mapping[str, tuple[Path, ...]] = field(repr=False)

    @classmethod
    def open(cls, folder: Path, names: Iterable[str]) -> "TrainingTensors":
        """The tensors for inputs of these ``names``. Raises BundleError when there are none for any, or
        one file would serve two inputs."""
        if not folder.is_dir():
            raise BundleError(f"{folder}: no such folder")
        files, outputs = _recorded(folder) if (folder / INDEX).is_file() else (_named(folder, names), {})
        times = Counter(files.values())
        shared = [name for name, path in files.items() if times[path] > 1]
        if shared:
            raise BundleError(
                f"{folder}: one tensor for {len(shared)} inputs, such as {shared[0]} and {shared[1]}: name "
                "the files after the inputs with their suffix or sub-folder"
            )
        if not set(files) & set(names):
            example = next(iter(names), "0001.jpg")
            raise BundleError(f"{folder}: no tensor of any golden input in it ({example}.npy, for instance)")
        return cls(where=folder, files=files, output_files=outputs)

    def tensor(self, name: str, spec: PreprocessSpec, tensor: TensorSpec) -> Array:
        """What training feeds the model with for the input ``name``, of exactly ``tensor``'s shape and
        dtype. Real numbers become stored ones as the spec's cast says. Raises BundleError."""
        path = self.files[name]
        found = _load(path)
        if found.shape not in (tensor.shape, tensor.shape[1:]):
            raise BundleError(f"{path}: {_shape_problem(found, tensor)}")
        found = found.reshape(tensor.shape)
        if found.dtype.kind == "f" and not np.isfinite(found).all():
            raise BundleError(f"{path}: holds numbers that are not finite")
        cast = next(step for step in spec.steps if isinstance(step, Cast))
        return _stored(found, cast, tensor, path)

    def outputs(self, name: str, outputs: tuple[TensorSpec, ...]) -> tuple[Array, ...] | None:
        """The float outputs that training recorded, shaped as the model's; None without. BundleError."""
        paths = self.output_files.get(name, ())
        if not paths:
            return None
        found = [_load(path) for path in paths]
        sizes = [array.size for array in found]
        wanted = [int(np.prod(spec.shape)) for spec in outputs]
        if sizes != wanted:
            raise BundleError(f"{paths[0]}: outputs of {sizes} numbers, the model gives {wanted}")
        return tuple(
            array.astype(np.float32).reshape(spec.shape) for array, spec in zip(found, outputs, strict=True)
        )


def input_list(where: Path) -> Path:
    """What to read as the list of inputs when a user names ``where``: a recorder's own table."""
    return where / INDEX if (where / INDEX).is_file() else where


def _recorded(folder: Path) -> tuple[dict[str, Path], dict[str, tuple[Path, ...]]]:
    files, outputs = {}, {}
    try:
        with (folder / INDEX).open(encoding="utf-8", newline="") as table:
            rows = list(csv.DictReader(table))
        called = input_names.names([row["file"].strip() for row in rows], folder.absolute())
        for row in rows:
            name = called[row["file"].strip()]
            files[name] = folder / row["tensor"]
            listed = (row.get("outputs") or "").split(_SEPARATOR)
            outputs[name] = tuple(folder / file for file in listed if file)
    except (OSError, KeyError, TypeError, csv.Error, UnicodeDecodeError) as error:
        raise BundleError(f"{folder / INDEX}: is no recorder's table: {error}") from None
    return files, outputs


def _named(folder: Path, names: Iterable[str]) -> dict[str, Path]:
    present = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*.npy")}
    found = {}
    for name in names:
        whole = PurePosixPath(name)
        bare = PurePosixPath(whole.name)
        tried = [f"{whole}.npy", str(whole.with_suffix(".npy")), f"{bare}.npy", str(bare.with_suffix(".npy"))]
        path = next((present[candidate] for candidate in tried if candidate in present), None)
        if path is not None:
            found[name] = path
    return found


def _load(path: Path) -> Array:
    try:
        return npy.load(path)
    except npy.NpyError as error:
        raise BundleError(f"{path}: is no .npy array of numbers: {error}") from None
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}") from None


def _shape_problem(found: Array, tensor: TensorSpec) -> str:
    shown = "x".join(map(str, found.shape)) or "a single number"
    wanted = "x".join(map(str, tensor.shape))
    bare = found.shape[1:] if found.ndim == len(tensor.shape) and found.shape[0] == 1 else found.shape
    if sorted(bare) == sorted(tensor.shape[1:]):
        return f"is {shown}, the model's input {wanted}: its axes are in another order (cast: layout)"
    return f"is {shown}, the model's input {wanted} (with or without its first axis)"


def _stored(found: Array, cast: Cast, tensor: TensorSpec, path: Path) -> Array:
    """``found`` as numbers of the tensor's dtype."""
    dtype = np.dtype(tensor.dtype)
    if found.dtype == dtype:
        return np.ascontiguousarray(found)
    if dtype.kind == "f":
        return found.astype(dtype)
    if found.dtype.kind == "f" and cast.mode == "quantize":
        return cast.numbers(found.astype(np.float32), tensor)
    limits = np.iinfo(dtype)
    if (found != np.trunc(found)).any() or found.min() < limits.min or found.max() > limits.max:
        raise BundleError(
            f"{path}: holds {found.dtype} from {found.min():.4g} to {found.max():.4g}, which cannot be the "
            f"{tensor.dtype} that the model takes by 'cast: {{mode: {cast.mode}}}'"
        )
    return found.astype(dtype)
