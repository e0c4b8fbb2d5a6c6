"""What the comparison is made from: images or vectors, as the model takes them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from agent.contracts import Payload, TensorSpec
from agent.errors import FrameError, LabelError
from agent.plain_text import plain_text
from agent.preprocess.compiled import compile_spec
from agent.preprocess.spec import PreprocessSpec, is_image
from calibration.labelled import Input, Inputs, Label, ReadLabel, find_images, find_vectors

Progress: TypeAlias = Callable[[Iterable[Input], int, str], Iterable[Input]]
_SHOWN = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Loaded:
    """Usable inputs, decoded by nobody yet; ``skipped`` says which were not and why."""

    payloads: tuple[Payload, ...]
    labels: tuple[Label | None, ...]
    skipped: tuple[str, ...]


def find(where: Path, spec: PreprocessSpec, read_label: ReadLabel | None) -> Inputs:
    """Raises LabelError with every problem."""
    if not where.exists():
        raise LabelError(f"{where}: no such file or folder")
    return find_images(where, read_label) if is_image(spec) else find_vectors(where, read_label)


def load(inputs: Inputs, spec: PreprocessSpec, tensor: TensorSpec) -> Loaded:
    """Read every input once and see that ``spec`` can prepare it. Raises LabelError when none can be."""
    prepare = compile_spec(spec, tensor)
    payloads: list[Payload] = []
    labels: list[Label | None] = []
    skipped: list[str] = []
    for given in inputs:
        try:
            payload = given.payload()
            prepare(payload)
        except FrameError as error:
            skipped.append(plain_text(f"{given.name}: {error}"))
            continue
        payloads.append(payload)
        labels.append(given.label)
    if not payloads:
        raise LabelError(f"{inputs.where}: no input can be used", *skipped[:_SHOWN])
    return Loaded(payloads=tuple(payloads), labels=tuple(labels), skipped=tuple(skipped))


def tensors(loaded: Loaded, spec: PreprocessSpec, tensor: TensorSpec) -> tuple[NDArray[np.float32], ...]:
    """Each input as the float model takes it, with its batch axis."""
    prepare = compile_spec(spec, tensor)
    return tuple(np.asarray(prepare(payload).tensor, np.float32) for payload in loaded.payloads)
