"""A golden input's training-side tensor, small enough for a bundle, and back again.

float32 tensors of 192 inputs at 224x224 would take 115 MB. Nearly always such a tensor is an 8-bit
picture to which normalize and cast were applied: then the picture is kept (``view``) and the spec
makes the same tensor of it. A tensor the spec cannot make, because training does something else, is
kept as 8-bit codes with a scale and an offset per channel (``affine``): exactly for 8-bit tensors and
for pixels under another normalisation, else to half of 1/255 of each channel's range, and said so.
Vectors, and whatever is no picture, are kept as they are (``array``). Pure.
"""

import hashlib
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agent import pixel_file
from agent.contracts import Array, TensorSpec
from agent.golden import RecordedTensor
from agent.preprocess.compiled import Compiled, lookup_table
from agent.preprocess.spec import PreprocessSpec
from agent.preprocess.trace import FLOAT_TOLERANCE
from agent.preprocess.values import Cast, Normalize

_LEVELS: Final = 255


def record(tensor: Array, spec: PreprocessSpec, tensor_spec: TensorSpec) -> RecordedTensor:
    """``tensor`` (exactly ``tensor_spec``'s shape and dtype) as it is stored in a bundle.

    A float tensor counts as made by the spec when no value is further off than 1e-5 of its range:
    frameworks differ in the last bits. ValueError for a tensor of another shape or dtype.
    """
    if tensor.shape != tensor_spec.shape or tensor.dtype != np.dtype(tensor_spec.dtype):
        raise ValueError(
            f"expected {tensor_spec.dtype} {tensor_spec.shape}, got {tensor.dtype} {tensor.shape}"
        )
    image = _image(tensor, spec)
    if image is None:
        return _recorded("array", tensor, tensor, tensor)
    table = _table(spec, tensor_spec, image.shape[2])
    codes = _invert(image, table)
    made = _looked_up(codes, table)
    if _same(made, image):
        return _recorded("view", codes, tensor, _tensor(made, tensor_spec))
    codes, scale, offset = _codes(image)
    restored = _tensor(_affine(codes, scale, offset, tensor_spec), tensor_spec)
    return _recorded("affine", codes, tensor, restored, scale, offset)


def restore(recorded: RecordedTensor, compiled: Compiled, tensor_spec: TensorSpec) -> Array:
    """The tensor, exactly of ``tensor_spec``'s shape and dtype.

    ``compiled`` is the bundle's own spec for that tensor. Raises FrameError (``view``) or ValueError
    when what was recorded is of another size.
    """
    if recorded.form == "view":
        return compiled.finish(recorded.codes)
    if recorded.form == "affine":
        numbers = _affine(recorded.codes, recorded.scale, recorded.offset, tensor_spec)
        return _tensor(numbers, tensor_spec)
    if recorded.codes.shape != tensor_spec.shape:
        raise ValueError(f"recorded as {recorded.codes.shape}, the model's tensor is {tensor_spec.shape}")
    return recorded.codes.astype(tensor_spec.dtype, copy=False)


def _recorded(
    form: str,
    codes: Array,
    tensor: Array,
    restored: Array,
    scale: tuple[float, ...] = (),
    offset: tuple[float, ...] = (),
) -> RecordedTensor:
    content = np.ascontiguousarray(tensor).tobytes()
    return RecordedTensor(
        form="view" if form == "view" else "affine" if form == "affine" else "array",
        codes=codes,
        sha256=hashlib.sha256(content).hexdigest(),
        exact=content == np.ascontiguousarray(restored).tobytes(),
        scale=scale,
        offset=offset,
    )


def _image(tensor: Array, spec: PreprocessSpec) -> Array | None:
    """The tensor's pixels H×W×C; None when it is no picture that can be stored as one."""
    layout = next((step.layout for step in spec.steps if isinstance(step, Cast)), None)
    if layout is None or tensor.ndim != 4 or tensor.shape[0] != 1:
        return None
    image = tensor[0].transpose(1, 2, 0) if layout == "nchw" else tensor[0]
    # A cube's axes could not be told apart when it is restored.
    if not pixel_file.fits(image.shape) or image.shape[0] == image.shape[1] == image.shape[2]:
        return None
    return image if np.isfinite(image).all() else None


def _table(spec: PreprocessSpec, tensor_spec: TensorSpec, channels: int) -> Array:
    normalize = next((step for step in spec.steps if isinstance(step, Normalize)), None)
    cast = next(step for step in spec.steps if isinstance(step, Cast))
    return lookup_table(normalize, cast, tensor_spec, channels)


def _invert(image: Array, table: Array) -> NDArray[np.uint8]:
    """Per value the 8-bit code whose entry in its channel's column lies nearest."""
    codes = np.empty(image.shape, np.uint8)
    for channel in range(image.shape[2]):
        column = table[:, channel].astype(np.float64)
        order = np.argsort(column, kind="stable")
        values = image[..., channel].astype(np.float64)
        above = np.clip(np.searchsorted(column[order], values), 1, _LEVELS)
        low, high = column[order[above - 1]], column[order[above]]
        codes[..., channel] = np.where(values - low < high - values, order[above - 1], order[above])
    return codes


def _looked_up(codes: NDArray[np.uint8], table: Array) -> Array:
    return np.take_along_axis(table[None], codes.reshape(1, -1, codes.shape[2]), axis=1).reshape(codes.shape)


def _same(made: Array, image: Array) -> bool:
    if image.dtype.kind != "f":
        return np.array_equal(made, image)
    return bool(np.abs(made - image).max() <= FLOAT_TOLERANCE * max(float(np.ptp(made)), 1e-6))


def _codes(image: Array) -> tuple[NDArray[np.uint8], tuple[float, ...], tuple[float, ...]]:
    channels = range(image.shape[2])
    if image.dtype.itemsize == 1:
        lowest = float(np.iinfo(image.dtype).min)
        codes = (image.astype(np.int16) - int(lowest)).astype(np.uint8)
        return codes, (1.0,) * len(channels), (lowest,) * len(channels)
    values = image.astype(np.float64)
    steps = [_step(values[..., channel]) for channel in channels]
    offsets = [float(values[..., channel].min()) for channel in channels]
    quotients = (values - np.array(offsets)) / np.array(steps)
    return np.clip(np.rint(quotients), 0, _LEVELS).astype(np.uint8), tuple(steps), tuple(offsets)


def _step(values: NDArray[np.float64]) -> float:
    """The distance of neighbouring codes: that of the values themselves where they lie on at most 256
    evenly spaced places, as normalised pixels do, else 1/255 of their range."""
    distinct = np.unique(values)
    span = float(distinct[-1] - distinct[0])
    if span == 0.0:
        return 1.0
    noise = 1e-4 * span
    gap = 0.0
    for further in distinct[1:] - distinct[0]:
        gap = _divisor(gap, float(further), noise)
        if gap < span / (_LEVELS + 1):
            return span / _LEVELS
    return span / round(span / gap)


def _divisor(a: float, b: float, noise: float) -> float:
    """The largest number that divides both but for ``noise`` (Euclid's algorithm)."""
    while a > noise:
        rest = b - a * round(b / a)
        a, b = abs(rest), a
    return b


def _affine(
    codes: Array, scale: tuple[float, ...], offset: tuple[float, ...], tensor_spec: TensorSpec
) -> Array:
    numbers: NDArray[np.float64] = codes.astype(np.float64) * np.array(scale) + np.array(offset)
    if np.dtype(tensor_spec.dtype).kind != "f":
        limits = np.iinfo(tensor_spec.dtype)
        numbers = np.clip(np.rint(numbers), limits.min, limits.max)
    return numbers.astype(tensor_spec.dtype)


def _tensor(image: Array, tensor_spec: TensorSpec) -> Array:
    """Pixels H×W×C in the tensor's own layout."""
    if (1, *image.shape) == tensor_spec.shape:
        return np.ascontiguousarray(image[None])
    turned = np.ascontiguousarray(image.transpose(2, 0, 1)[None])
    if turned.shape != tensor_spec.shape:
        raise ValueError(f"recorded as {image.shape}, the model's tensor is {tensor_spec.shape}")
    return turned
