"""The inputs a diagnosis is made on: the golden set's random stratum, or labelled files."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from agent.bundle import Bundle
from agent.contracts import Payload, TensorSpec
from agent.errors import FrameError, InputError, LabelError
from agent.manifest import kind_of
from agent.plain_text import plain_text
from agent.preprocess.compiled import compile_spec
from agent.preprocess.spec import is_image
from calibration.evaluation import Decoded
from calibration.labelled import ReadLabel, class_label, find_images, find_vectors, number_label
from calibration.task import output_count

_SHOWN = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Given:
    """Usable inputs. ``labels`` None: none has one, or the task's labels cannot be used."""

    inputs: Decoded = field(repr=False)
    labels: tuple[int | float, ...] | None
    notes: tuple[str, ...]


def from_golden(bundle: Bundle, tensor: TensorSpec) -> Given:
    """The random stratum. Raises InputError when the bundle has none."""
    golden = bundle.golden.stratum("random")
    if not golden:
        raise InputError(f"{bundle.name}: has no golden inputs: pack it with --golden, or give --images")
    recording = bundle.golden.recording
    notes = []
    if recording is not None and recording.difference:
        notes.append(
            f"Training's own tensors differ from the bundle's preprocessing ({recording.difference}): "
            "costs are counted from the bundle's."
        )
    named = [(given.name, given.payload, given.label) for given in golden]
    return _usable(bundle, tensor, named, notes)


def from_files(bundle: Bundle, tensor: TensorSpec, outputs: Sequence[TensorSpec], where: Path) -> Given:
    """The inputs ``where`` names, as ``calibration.labelled`` reads them. Raises LabelError."""
    if not where.exists():
        raise LabelError(f"{where}: no such file or folder")
    read = _reader(bundle, outputs)
    found = find_images(where, read) if is_image(bundle.spec) else find_vectors(where, read)
    named: list[tuple[str, Payload, int | float | None]] = []
    unread = []
    for given in found:
        try:
            named.append((given.name, given.payload(), given.label))
        except FrameError as error:
            unread.append(str(error))
    return _usable(bundle, tensor, named, [], unread)


def tolerance(bundle: Bundle) -> float | None:
    """The error of a regression that counts as right: as recorded, else twice the held-out RMSE.

    Raises InputError when neither is known.
    """
    if kind_of(bundle.decoder) != "regression":
        return None
    recording = bundle.golden.recording
    if recording is not None and recording.tolerance is not None:
        return recording.tolerance
    if bundle.reference.mse:
        return 2 * math.sqrt(bundle.reference.mse)
    raise InputError(f"{bundle.name}: no error is recorded that counts as right: pack it with --tolerance")


def _reader(bundle: Bundle, outputs: Sequence[TensorSpec]) -> ReadLabel | None:
    task = kind_of(bundle.decoder)
    if task == "classification":
        return class_label(bundle.labels, output_count(outputs, getattr(bundle.decoder, "output", 0)))
    return number_label if task == "regression" else None


def _usable(
    bundle: Bundle,
    tensor: TensorSpec,
    named: Sequence[tuple[str, Payload, int | float | None]],
    notes: list[str],
    unread: Sequence[str] = (),
) -> Given:
    """Those that training's preprocessing takes; with labels, those that have one."""
    task = kind_of(bundle.decoder)
    labelled = [entry for entry in named if entry[2] is not None and task != "detection"]
    notes = list(notes)
    if labelled and len(labelled) < len(named):
        notes.append(f"{len(named) - len(labelled)} inputs have no label and are left out.")
    kept: list[tuple[Payload, int | float | None]] = []
    problems = list(unread)
    compiled = compile_spec(bundle.spec, tensor)
    for name, payload, label in labelled or named:
        try:
            compiled(payload)
            kept.append((payload, label))
        except FrameError as error:
            problems.append(f"{plain_text(name)}: {error}")
    if not kept:
        raise InputError(f"{bundle.name}: no input can be used", *problems[:_SHOWN])
    if problems:
        listed = "; ".join(problems[:_SHOWN])
        notes.append(f"{len(problems)} inputs cannot be used and are left out: {listed}.")
    labels = tuple(label for _, label in kept if label is not None)
    return Given(
        inputs=Decoded([payload for payload, _ in kept]),
        labels=labels if labelled else None,
        notes=tuple(notes),
    )
