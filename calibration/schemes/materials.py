"""What the comparison is made from: images or vectors, as the model takes them."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.contracts import Payload, TensorSpec
from agent.errors import FrameError, LabelError
from agent.plain_text import plain_text
from agent.preprocess.compiled import compile_spec
from agent.preprocess.spec import PreprocessSpec, is_image
from calibration.labelled import Inputs, Label, ReadLabel, find_images, find_vectors

_SHOWN = 5
_SEED = 20


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


def drawn(inputs: Inputs, *, labelled: bool) -> Inputs:
    """``inputs`` in a random order (seeded), so that any first few of them are a draw from all: files come
    sorted by class. ``labelled``: only those with a label. Raises LabelError when none is left."""
    usable = [one for one in inputs if one.label is not None or not labelled]
    if not usable:
        raise LabelError(f"{inputs.where}: no input has a label to train on")
    order = np.random.default_rng(_SEED).permutation(len(usable))
    return replace(inputs, inputs=tuple(usable[i] for i in order))


def load(inputs: Inputs, spec: PreprocessSpec, tensor: TensorSpec, most: int | None = None) -> Loaded:
    """Read inputs, the first ``most`` that are usable or all, and see that ``spec`` can prepare each.

    Raises LabelError when none can be.
    """
    prepare = compile_spec(spec, tensor)
    payloads: list[Payload] = []
    labels: list[Label | None] = []
    skipped: list[str] = []
    for given in inputs:
        if len(payloads) == most:
            break
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
