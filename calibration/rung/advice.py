"""What to do first about a cause. Pure."""

from collections.abc import Collection

_FIRST = {
    "quantization": "quantize again: representative data through the bundle's own preprocessing, weights per "
    "channel, or `litewatch schemes` for what costs least",
    "kernels": "run with other kernels (model.delegate: {kind: cpu, kernels: builtin}) and check again",
    "delegate": "run on the CPU (model.delegate: cpu) until the delegate's driver or model is replaced",
    "hardware": "copy the bundle again and check again; if it stays, test this machine's memory",
}
_STEPS = {
    "decode": "feed the original file, decoded to RGB as the spec says",
    "crop": "crop as the spec says",
    "resize": "resize with the method and aspect of the spec",
    "pad": "pad as the spec says",
    "rotate": "turn the picture as the spec says",
    "color": "give the channels in the order of the spec",
    "normalize": "scale the numbers as the spec says",
    "cast": "give the tensor the type, layout and rounding of the spec",
    "select": "take the columns of the spec, in its order",
    "impute": "fill what is missing as the spec says",
    "clip": "limit the values as the spec says",
    "standardize": "subtract the mean and divide by the deviation of the spec",
}
_WITHOUT = {
    "crop": "do not crop: the spec shows the whole picture",
    "resize": "do not resize: the spec takes the picture as it is",
    "pad": "do not pad: the spec does not",
    "rotate": "do not turn the picture: the spec does not",
    "color": "leave the channels as they are: the spec does not change them",
    "normalize": "do not scale the levels: the spec does not, so the values reach the model in another unit",
}
"""Where the spec has no such step."""
_KINDS = {
    "unit": "give the values in the unit of training",
    "not finite": "give numbers that are finite and below 1e30",
    "clip": "limit the values as training did",
}
"""What says more than the step does."""
TRAINING = "correct preprocess.yaml (or the training code) and pack again"


def first_step(cause: str) -> str:
    """What to do first about ``cause``; "" when nothing is known to help."""
    kind, _, step = cause.partition(":")
    return _STEPS.get(step, "") if kind == "preprocess" else _FIRST.get(kind, "")


def preparing(step: str, kind: str, steps: Collection[str]) -> str:
    """What to do first when ``step`` is done otherwise than by a spec of ``steps``, in the way that
    ``kind`` (a ``Divergence``'s, or "") says; never a step that the spec does not have."""
    if step not in steps:
        return _WITHOUT.get(step) or _KINDS.get(kind, "")
    known = _KINDS.get(kind, "") if step == "select" else ""
    return known or _STEPS.get(step, "")
