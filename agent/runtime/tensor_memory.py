"""The tensors of a runner in memory that two processes share.

An anonymous file (``memfd_create``) holds the input and behind it the outputs, each at a multiple of 64
bytes. It has no name, so nothing is left behind however either process ends, and it is mapped without
the right to execute, as a hardened service demands.
"""

import math
import mmap
import os
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from agent.contracts import Array, TensorSpec

Form: TypeAlias = tuple[str, tuple[int, ...]]
"""What an array takes to be laid out: the name of its dtype, and its shape."""

_ALIGNMENT = 64


class TensorMemory:
    """``input`` and ``outputs`` are arrays on the shared memory behind ``descriptor``.

    Laid out anew (another TensorMemory on the same descriptor) when outputs change their shapes; the
    file only ever grows, so that the other process's older view stays valid.
    """

    def __init__(self, descriptor: int, input_: Form, outputs: Sequence[Form]) -> None:
        forms = [input_, *outputs]
        starts = [0]
        for dtype, shape in forms:
            size = np.dtype(dtype).itemsize * math.prod(shape)
            starts.append(starts[-1] + -(-size // _ALIGNMENT) * _ALIGNMENT)
        total = max(starts[-1], 1)
        if os.fstat(descriptor).st_size < total:
            os.ftruncate(descriptor, total)
        memory = mmap.mmap(descriptor, total)  # let go with the last array on it
        arrays: list[Array] = [
            np.ndarray(shape, dtype, memory, start)
            for start, (dtype, shape) in zip(starts[:-1], forms, strict=True)
        ]
        self.input, self.outputs = arrays[0], tuple(arrays[1:])
        self.forms = tuple(outputs)


def form(tensor: TensorSpec | Array) -> Form:
    """The form of a tensor as the model states it, or of an array."""
    dtype = tensor.dtype if isinstance(tensor.dtype, str) else tensor.dtype.name
    return dtype, tuple(tensor.shape)
