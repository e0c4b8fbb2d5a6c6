"""Records in a training script what training feeds its model with.

``Recorder`` writes the encoded originals, the tensors made of them, labels and outputs into a folder
that ``litewatch pack`` takes as ``--golden`` and ``--golden-tensors``. It needs numpy only, and takes
whatever numpy can read: arrays, TensorFlow's eager tensors, PyTorch's on the CPU. A row is written
when its files are complete, so a script that breaks off leaves a usable folder; a record that fails
leaves nothing behind.
"""

import contextlib
import csv
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from types import TracebackType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from agent.errors import LabelError

_Array: TypeAlias = np.ndarray[Any, np.dtype[Any]]

_COLUMNS = ("file", "label", "tensor", "outputs")
_SUFFIXES = {b"\xff\xd8\xff": ".jpg", b"\x89PNG": ".png", b"RIFF": ".webp", b"BM": ".bmp", b"GIF8": ".gif"}


class Recorder:
    """A recording in ``folder``, which is made if need be and must not hold one already (LabelError).
    Use it as a context manager, or call ``close``."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self._names: set[str] = set()
        """In lower case: file systems differ in whether they tell names apart by case alone."""
        for part in ("inputs", "tensors", "outputs"):
            (self.folder / part).mkdir(parents=True, exist_ok=True)
        try:
            self._table = (self.folder / "recording.csv").open("x", encoding="utf-8", newline="")
        except FileExistsError:
            raise LabelError(f"{self.folder}: holds a recording already: name a new folder") from None
        self._rows = csv.writer(self._table)
        self._rows.writerow(_COLUMNS)

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self._names)

    def record(
        self,
        encoded: bytes,
        tensor: ArrayLike,
        label: float | str | None = None,
        outputs: ArrayLike | Sequence[ArrayLike] | None = None,
        name: str | None = None,
    ) -> None:
        """One input.

        ``encoded``: the image file's bytes as they lie on disk, before anything is decoded.
        ``tensor``: what the model is fed with, with or without its batch axis. ``label``: output
        index, line of the labels file, or true value. ``outputs``: what the float model gives for the
        tensor: one array, or one per output in the order of the .tflite's outputs. ``name``: the
        input's file name; its folders are dropped. Raises LabelError for a name that is none, and for
        a tensor, label or output that is not of numbers.
        """
        encoded = bytes(encoded)
        name = self._free_name(name, encoded)
        arrays = {f"tensors/{name}.npy": _numbers(tensor, f"{name}: tensor")}
        made = [_numbers(output, f"{name}: outputs") for output in _each(outputs)]
        files = [f"outputs/{name}.{number}.npy" for number in range(len(made))]
        arrays |= dict(zip(files, made, strict=True))
        row = (f"inputs/{name}", _label(label, name), f"tensors/{name}.npy", ";".join(files))
        self._write(f"inputs/{name}", encoded, arrays)
        self._rows.writerow(row)
        self._table.flush()
        self._names.add(name.lower())

    def _write(self, original: str, encoded: bytes, arrays: Mapping[str, _Array]) -> None:
        """All files of one record, or none."""
        try:
            (self.folder / original).write_bytes(encoded)
            for file, array in arrays.items():
                np.save(self.folder / file, array, allow_pickle=False)
        except BaseException:
            for file in (original, *arrays):
                with contextlib.suppress(OSError):
                    (self.folder / file).unlink()
            raise

    def close(self) -> None:
        self._table.close()

    def _free_name(self, name: str | None, encoded: bytes) -> str:
        suffix = next((suffix for magic, suffix in _SUFFIXES.items() if encoded.startswith(magic)), ".image")
        # A semicolon separates files in the table.
        bare = PurePath(str(name) if name is not None else f"{len(self):06d}{suffix}").name
        path = PurePath(bare.replace(";", "_").strip())
        if path.name in ("", ".", "..") or not path.name.isprintable():
            raise LabelError(f"{name!r} is no file name")
        wanted, number = path.name, 1
        while wanted.lower() in self._names:
            number += 1
            wanted = f"{path.stem}-{number}{path.suffix}"
        return wanted


def _each(outputs: Any) -> list[Any]:
    """One entry per output; a list of bare numbers is one."""
    if outputs is None:
        return []
    if not isinstance(outputs, (list, tuple)):
        return [outputs]
    arrays = [_plain(output) for output in outputs]
    return arrays if any(array.ndim for array in arrays) else [np.array(arrays)]


def _numbers(values: Any, where: str) -> _Array:
    array = _plain(values)
    if array.dtype.kind not in "uifb" or not array.size:
        raise LabelError(f"{where}: expected an array of numbers, got {array.dtype} of shape {array.shape}")
    return array


def _label(label: Any, name: str) -> str:
    """True and False are the classes 1 and 0."""
    if label is None:
        return ""
    value = _plain(label)
    if value.size != 1 or value.dtype.kind not in "uifbUS":
        raise LabelError(f"{name}: label: expected one number or one text, got {label!r}")
    one = value.item()
    return one.decode() if isinstance(one, bytes) else str(int(one) if isinstance(one, bool) else one)


def _plain(tensor: Any) -> _Array:
    if hasattr(tensor, "detach"):  # PyTorch refuses a tensor that still gathers gradients
        tensor = tensor.detach().cpu()
    return np.asarray(tensor, order="C")
