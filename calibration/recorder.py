"""Records in a training script what training feeds its model with.

``Recorder`` writes the encoded originals, the tensors made of them, labels and outputs into a folder
that ``litewatch pack`` takes as ``--golden`` and ``--golden-tensors``. It needs numpy only, and takes
whatever numpy can read: arrays, TensorFlow's eager tensors, PyTorch's on the CPU. A row is written
when its files are complete, so a script that breaks off leaves a usable folder.
"""

import csv
from collections.abc import Sequence
from pathlib import Path, PurePath
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from agent.errors import LabelError

_COLUMNS = ("file", "label", "tensor", "outputs")
_SUFFIXES = {b"\xff\xd8\xff": ".jpg", b"\x89PNG": ".png", b"RIFF": ".webp", b"BM": ".bmp", b"GIF8": ".gif"}


class Recorder:
    """A recording in ``folder``, which is made if need be and must not hold one already (LabelError).
    Use it as a context manager, or call ``close``."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = Path(folder)
        self._names: set[str] = set()
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
        input's file name; its folders are dropped.
        """
        name = self._free_name(name, bytes(encoded))
        (self.folder / "inputs" / name).write_bytes(encoded)
        np.save(self.folder / "tensors" / f"{name}.npy", _plain(tensor), allow_pickle=False)
        files = []
        for number, output in enumerate(_each(outputs)):
            files.append(f"outputs/{name}.{number}.npy")
            np.save(self.folder / files[-1], output, allow_pickle=False)
        shown = "" if label is None else str(np.asarray(label).item())
        self._rows.writerow((f"inputs/{name}", shown, f"tensors/{name}.npy", ";".join(files)))
        self._table.flush()

    def close(self) -> None:
        self._table.close()

    def _free_name(self, name: str | None, encoded: bytes) -> str:
        suffix = next((suffix for magic, suffix in _SUFFIXES.items() if encoded.startswith(magic)), ".image")
        # A semicolon separates files in the table.
        path = PurePath(PurePath(name or f"{len(self):06d}{suffix}").name.replace(";", "_"))
        wanted, number = path.name, 1
        while wanted in self._names:
            number += 1
            wanted = f"{path.stem}-{number}{path.suffix}"
        self._names.add(wanted)
        return wanted


def _each(outputs: Any) -> list[np.ndarray[Any, np.dtype[Any]]]:
    """One array per output; a list of bare numbers is one."""
    if outputs is None:
        return []
    if not isinstance(outputs, (list, tuple)):
        return [_plain(outputs)]
    arrays = [_plain(output) for output in outputs]
    return arrays if any(array.ndim for array in arrays) else [np.array(arrays)]


def _plain(tensor: Any) -> np.ndarray[Any, np.dtype[Any]]:
    if hasattr(tensor, "detach"):  # PyTorch refuses a tensor that still gathers gradients
        tensor = tensor.detach().cpu()
    return np.asarray(tensor, order="C")
