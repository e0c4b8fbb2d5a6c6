"""The yardstick of the ladder and of the canary: what one 8-bit level of noise at the input does to the
answers. Pure.

Two correct implementations of a quantized model differ by rounding in every layer, and how much that
moves the answers depends on the model: a fixed tolerance would be too narrow for one and too wide for
the next. So the same model, by the same kernels, is shown the same inputs once more with every value
moved by −1, 0 or +1 level of 256, at random but seeded. Rounding inside a model was measured to do
0.4 to 1.1 of that to five quantized models of four schemes, and next to nothing to a float one;
faults that cost three points of accuracy did 1.3 to 37 times as much.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from agent.contracts import Array, TensorSpec
from agent.preprocess.compiled import lookup_table
from agent.preprocess.spec import PreprocessSpec, is_image
from agent.preprocess.values import Cast, Color, Normalize

SEED = 20_260_101
ROUNDING = 1.0
"""Wobbles up to which kernels differ by rounding."""
NAMED = 1.3
"""Wobbles from which they compute something else."""


def level(spec: PreprocessSpec, tensor: TensorSpec, tensors: Sequence[Array]) -> NDArray[np.float64]:
    """What one level of 256 is in the numbers of the input tensor: of an image by the spec's normalize
    and cast (a scalar array), else 1/255 of the range each element has over ``tensors``."""
    if not is_image(spec):
        values = np.stack(tensors).astype(np.float64)
        return np.asarray(np.ptp(values, axis=0) / 255, np.float64)
    normalize = next((step for step in spec.steps if isinstance(step, Normalize)), None)
    cast = next(step for step in spec.steps if isinstance(step, Cast))
    channels = next(step.channels for step in spec.steps if isinstance(step, Color))
    table = lookup_table(normalize, cast, tensor, channels).astype(np.float64)
    return np.asarray(np.abs(table[-1] - table[0]).mean() / 255)


def wobbled(tensors: Sequence[Array], size: NDArray[np.float64], *, seed: int = SEED) -> list[Array]:
    """``tensors`` with every value moved by −1, 0 or +1 times ``size`` (``level``'s), of the same dtype;
    whole numbers move by at least 1."""
    rng = np.random.default_rng(seed)
    moved: list[Array] = []
    for tensor in tensors:
        signs = rng.integers(-1, 2, tensor.shape)
        if np.issubdtype(tensor.dtype, np.integer):
            step = np.maximum(1, np.rint(size)).astype(np.int64)
            limits = np.iinfo(tensor.dtype)
            moved.append((tensor + signs * step).clip(limits.min, limits.max).astype(tensor.dtype))
        else:
            moved.append((tensor + signs * size).astype(tensor.dtype))
    return moved
