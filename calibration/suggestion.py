"""A preprocess.yaml to start from, made of what a model says of its input.

A model cannot say how its training images were cropped and resized; the text says what is known
and what has to be checked against the training code.
"""

from typing import Literal

from agent.contracts import TensorSpec
from agent.errors import SpecError
from agent.preprocess.decoding import Decode
from agent.preprocess.resize import Resize
from agent.preprocess.spec import PreprocessSpec, dump
from agent.preprocess.steps import Step
from agent.preprocess.values import Cast, Color, Normalize
from agent.preprocess.vectors import Standardize
from calibration.tflite_metadata import Metadata, ModelFile

_TO_ONE = 127.5
"""Mean and divisor that bring 0..255 to -1..1."""


def suggest(model: ModelFile) -> str:
    """YAML with comments. Raises SpecError for a model whose input no spec can fill."""
    if len(model.inputs) != 1:
        raise SpecError(f"the model has {len(model.inputs)} inputs; one is supported")
    tensor = model.inputs[0]
    shape = tensor.shape
    if len(shape) == 4 and (shape[3] in (1, 3) or shape[1] in (1, 3)):
        steps, notes = _image(tensor, model.metadata)
    elif 1 <= len(shape) <= 2:
        steps, notes = _vector(tensor)
    else:
        raise SpecError(f"the model's input of shape {shape} is neither an image nor a vector")
    comments = "".join(f"# {note}\n" for note in ("A starting point; check it against training:", *notes))
    return comments + dump(PreprocessSpec(version="1", steps=steps))


def _image(tensor: TensorSpec, metadata: Metadata | None) -> tuple[tuple[Step, ...], list[str]]:
    nhwc = tensor.shape[3] in (1, 3)
    height, width = tensor.shape[1:3] if nhwc else tensor.shape[2:4]
    gray = tensor.shape[3 if nhwc else 1] == 1
    notes = [
        "- resize: which crop came first, by whose arithmetic, and was the aspect ratio kept?",
        "- decode: were photographs turned by their EXIF tag?",
    ]
    steps: list[Step] = [
        Decode(exif="ignore"),
        Resize(width=width, height=height, method="linear_exact", aspect="stretch"),
        Color(order="gray" if gray else "rgb"),
    ]
    raw = tensor.dtype == "uint8"
    if raw:
        notes.append("- cast: a uint8 model takes the pixels as they are (the usual case)")
    else:
        normalize, note = _normalize(metadata)
        steps.append(normalize)
        notes.append(note)
    if not gray and (metadata is None or metadata.color != "rgb"):
        notes.append("- color: rgb is a guess")
    layout: Literal["nhwc", "nchw"] = "nhwc" if nhwc else "nchw"
    steps.append(Cast(mode="raw" if raw else "quantize", rounding="half_away", layout=layout))
    return tuple(steps), notes


def _normalize(metadata: Metadata | None) -> tuple[Normalize, str]:
    stated = metadata.normalization if metadata else None
    if stated is not None:
        return Normalize(mean=stated.mean, std=stated.std), "- normalize: as the model's metadata say"
    return Normalize(mean=(_TO_ONE,), std=(_TO_ONE,)), "- normalize: 0..255 to -1..1 is a guess"


def _vector(tensor: TensorSpec) -> tuple[tuple[Step, ...], list[str]]:
    length = max(tensor.shape[-1], 1) if tensor.shape else 1
    steps = (
        Standardize(mean=(0.0,) * length, std=(1.0,) * length),
        Cast(mode="quantize", rounding="half_away"),
    )
    return steps, ["- standardize: mean and standard deviation of the training data, one per element"]
