"""Whether a list of steps makes sense by itself: order, parameters, channels and types."""

from collections.abc import Iterable, Sequence

from agent.errors import FrameError
from agent.preprocess.decoding import Decode
from agent.preprocess.geometry import PadToSize, PadToSquare
from agent.preprocess.resize import Resize
from agent.preprocess.steps import Flow, ImageStep, Step, flow_after, order_problems
from agent.preprocess.values import Cast, Normalize
from agent.preprocess.vectors import Clip, Impute, Select, Standardize


def step_problems(steps: Sequence[Step]) -> list[str]:
    """Every problem, each with its path (``steps[2].resize.width: …``); none for a valid spec."""
    found = [
        f"steps[{i}].{step.NAME}.{problem}" for i, step in enumerate(steps) for problem in step.problems()
    ]
    for at, problem in order_problems([step.NAME for step in steps]):
        found.append(f"steps: {problem}" if at is None else f"steps[{at}]: {problem}")
    if found:
        return found
    image = isinstance(steps[0], Decode)
    flow = _image_flow_problems(steps) if image else _vector_flow_problems(steps)
    return [*flow, *_layout_problems(steps, image)]


def _image_flow_problems(steps: Sequence[Step]) -> list[str]:
    flow = Flow(size=None, channels=3, dtype="uint8")
    found: list[str] = []
    for i, step in enumerate(steps):
        place = f"steps[{i}].{step.NAME}"
        wrong = [f"{place}{problem}" for problem in _misfits(step, flow)]
        if isinstance(step, ImageStep):
            try:
                flow = flow_after(flow, step)
            except FrameError as error:  # its size is fixed by the steps before, and refused every time
                return [*found, *wrong, f"{place}: {str(error).removeprefix(f'{step.NAME}: ')}"]
        found += wrong
    return found


def _misfits(step: Step, flow: Flow) -> Iterable[str]:
    """What of ``step`` does not suit an image like ``flow``."""
    if isinstance(step, (PadToSize, PadToSquare)):
        if len(step.value) not in (1, flow.channels):
            yield f".value: the image has {flow.channels} channel(s) here, got {len(step.value)} numbers"
        if flow.dtype == "uint8" and any(value != int(value) for value in step.value):
            yield ".value: expected whole numbers, the image is 8-bit here"
    elif isinstance(step, Resize) and step.method.startswith("pillow") and flow.dtype != "uint8":
        yield f".method: {step.method} needs 8-bit pixels, but tf_bilinear before it makes floats"
    elif isinstance(step, Normalize):
        lengths = {len(step.mean), len(step.std)} - {1, flow.channels}
        if lengths:
            yield f": the image has {flow.channels} channel(s), mean or std {max(lengths)} numbers"


def _vector_flow_problems(steps: Sequence[Step]) -> Iterable[str]:
    length: int | None = None
    for i, step in enumerate(steps):
        place = f"steps[{i}].{step.NAME}"
        if isinstance(step, Select):
            if length is not None and max(step.positions) >= length:
                yield f"{place}: no element {max(step.positions)} among {length}"
            length = step.length_after(length)
        elif isinstance(step, (Impute, Clip, Standardize)):
            wanted = step.length_after(length)
            if length is not None and wanted != length:
                yield f"{place}: expected 1 or {length} numbers per parameter, got {wanted}"
            length = wanted


def _layout_problems(steps: Sequence[Step], image: bool) -> Iterable[str]:
    last = steps[-1]
    if not isinstance(last, Cast):
        return
    place = f"steps[{len(steps) - 1}].cast.layout"
    if image and last.layout is None:
        yield f"{place}: required for images: expected one of nhwc, nchw"
    elif not image and last.layout is not None:
        yield f"{place}: has no meaning for vectors"
