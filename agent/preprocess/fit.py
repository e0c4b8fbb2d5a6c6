"""Whether a spec's result fits the model's input tensor: shape, dtype and value range."""

import math
from collections.abc import Iterable
from typing import Final

from agent.contracts import TensorSpec
from agent.preprocess.spec import PreprocessSpec, is_image
from agent.preprocess.steps import image_flow
from agent.preprocess.values import Cast, Normalize
from agent.preprocess.vectors import Clip, Impute, Select, Standardize

_DTYPES: Final = ("uint8", "int8", "int16", "float32")


def tensor_problems(spec: PreprocessSpec, tensor: TensorSpec) -> list[str]:
    """Every reason why ``spec`` cannot fill ``tensor``, in words; none when it can."""
    cast = spec.steps[-1]
    assert isinstance(cast, Cast)  # the spec was validated
    if tensor.dtype not in _DTYPES:
        return [f"the model's input is {tensor.dtype}; {', '.join(_DTYPES)} can be filled"]
    found = list(_cast_problems(spec, cast, tensor))
    found += _image_problems(spec, cast, tensor) if is_image(spec) else _vector_problems(spec, cast, tensor)
    return found


def _cast_problems(spec: PreprocessSpec, cast: Cast, tensor: TensorSpec) -> Iterable[str]:
    if tensor.dtype == "float32":
        return
    if cast.mode == "quantize" and not tensor.quantized:
        yield f"cast: the model's {tensor.dtype} input has no scale to quantize by: use mode raw"
    normalized = any(isinstance(step, Normalize) for step in spec.steps)
    if cast.mode == "raw" and tensor.dtype == "int8" and is_image(spec) and not normalized:
        yield (
            "cast: pixels of 0 to 255 do not fit an int8 input as they are: use mode quantize, or "
            "shift them first (normalize with mean [128] and std [1])"
        )


def _image_problems(spec: PreprocessSpec, cast: Cast, tensor: TensorSpec) -> Iterable[str]:
    flow = image_flow(spec.steps)
    shown = "x".join(map(str, tensor.shape))
    if len(tensor.shape) != 4 or tensor.shape[0] != 1:
        yield f"an image needs an input tensor of shape 1xHxWxC or 1xCxHxW, the model's is {shown}"
        return
    axes = tensor.shape[1:] if cast.layout == "nhwc" else (*tensor.shape[2:], tensor.shape[1])
    if axes[2] != flow.channels:
        what = f"color gives {flow.channels} channel(s) in layout {cast.layout}"
        yield f"{what}, the model's input tensor is {shown}"
    if flow.size is not None and flow.size != axes[:2]:
        what = f"the steps give {flow.size[1]}x{flow.size[0]} pixels (width x height)"
        yield f"{what}, the model's input tensor is {shown} ({cast.layout})"


def _vector_problems(spec: PreprocessSpec, cast: Cast, tensor: TensorSpec) -> Iterable[str]:
    shown = "x".join(map(str, tensor.shape))
    length: int | None = None
    for step in spec.steps:
        if isinstance(step, (Select, Impute, Clip, Standardize)):
            length = step.length_after(length)
    if length is not None and length != math.prod(tensor.shape):
        yield f"the steps give {length} numbers, the model's input tensor is {shown}"
