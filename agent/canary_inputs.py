"""Golden tensors for the canary, out of a bundle.

The tensors are those training fed the model with: they owe nothing to this machine's preprocessing.
"""

from collections.abc import Iterator

from agent.bundle import Bundle
from agent.contracts import Array, TensorSpec
from agent.errors import FrameError
from agent.golden import GoldenInput
from agent.golden_tensor import restore
from agent.monitor import wobble
from agent.monitor.canary import CanaryInput
from agent.preprocess.compiled import Compiled, compile_spec

MOST_OUTPUT_BYTES = 8 * 2**20
"""Of all canary inputs together: a segmentation's output may be larger than its input."""


def canary_inputs(bundle: Bundle, tensor: TensorSpec, *, count: int) -> tuple[CanaryInput, ...]:
    """Up to ``count`` golden inputs that have outputs recorded, those with an exact tensor first.

    Empty for a bundle without recorded outputs. Raises SpecError as ``compile_spec`` does.
    """
    compiled = compile_spec(bundle.spec, tensor)
    with_outputs = [given for given in bundle.golden.inputs if given.outputs]
    with_outputs.sort(key=lambda given: given.tensor is None or not given.tensor.exact)
    chosen: list[tuple[GoldenInput, Array]] = []
    room = MOST_OUTPUT_BYTES
    for given, fed in _fed(with_outputs, compiled, tensor):
        room -= sum(output.nbytes for output in given.outputs)
        if len(chosen) == count or (chosen and room < 0):
            break
        chosen.append((given, fed))
    if not chosen:
        return ()
    size = wobble.level(bundle.spec, tensor, [fed for _, fed in chosen])
    return tuple(
        CanaryInput(name=given.name, tensor=fed, outputs=given.outputs, level=size) for given, fed in chosen
    )


def _fed(
    golden: list[GoldenInput], compiled: Compiled, tensor: TensorSpec
) -> Iterator[tuple[GoldenInput, Array]]:
    """Each input with its tensor; one that cannot be made here is left out."""
    for given in golden:
        try:
            if given.tensor is not None:
                fed = restore(given.tensor, compiled, tensor)
            else:
                fed = compiled(given.payload).tensor
        except (FrameError, ValueError):
            continue
        # The compiled spec may use its memory again for the next.
        yield given, fed.copy()
