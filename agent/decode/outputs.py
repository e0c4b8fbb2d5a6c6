"""What the decoders share: which output tensors they may name, and outputs that are no numbers."""

from agent.contracts import TensorSpec
from agent.errors import FrameError


def beyond(specs: tuple[TensorSpec, ...], **fields: int) -> tuple[str, ...]:
    """A problem for each field that names an output the model does not have."""
    last = len(specs) - 1
    return tuple(
        f"{field}: expected an output of the model (0 to {last}), got {output}"
        for field, output in fields.items()
        if not 0 <= output <= last
    )


def not_finite(spec: TensorSpec) -> FrameError:
    """The error for a frame to which the model answers with NaN or infinity."""
    return FrameError(f"the model's output '{spec.name}' is not finite")
