"""From a spec and the model's input tensor to one fast call per frame.

Where the image is 8-bit, normalize and cast together are a function of 256 values per channel:
the compiled spec evaluates it once, by the plain code of the two steps, and then looks it up.
``run_steps`` is that plain code, step after step; the two agree bit for bit.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.contracts import Array, Payload, TensorSpec
from agent.errors import SpecError
from agent.preprocess.decoding import Decode
from agent.preprocess.fit import tensor_problems
from agent.preprocess.spec import PreprocessSpec, is_image, validate
from agent.preprocess.steps import ImageStep, Step, VectorStep, image_flow
from agent.preprocess.values import Cast, Color, Normalize
from agent.preprocess.vectors import Standardize, read_vector, require_finite


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    """One frame ready for the model.

    ``tensor`` has exactly the input tensor's shape and dtype. ``view`` is what lies before
    normalize and cast: the image (H×W×C, uint8 or float32) or the vector before standardize
    (float64). Either may share memory with the payload or with the other: never write to them.
    """

    tensor: Array
    view: Array


class Compiled:
    """A spec for one input tensor; make it with ``compile_spec``. Holds no state between calls."""

    __slots__ = ("_channel_order", "_finish", "_stages", "image")

    def __init__(
        self,
        stages: tuple[Callable[[Any], Array], ...],
        finish: Callable[[Array], Array],
        channel_order: str | None,
    ) -> None:
        self._stages = stages
        self._finish = finish
        self._channel_order = channel_order
        self.image = channel_order is not None

    def __call__(self, payload: Payload) -> Prepared:
        """Raises FrameError when the payload cannot be used."""
        view: Any = payload
        for stage in self._stages:
            view = stage(view)
        return Prepared(tensor=self._finish(view), view=view)

    def finish(self, view: Array) -> Array:
        """Normalize and cast alone: the tensor of a ``view`` as ``Prepared`` holds one.

        Raises FrameError when the view is not of the tensor's size.
        """
        return self._finish(view)

    def feature_view(self, prepared: Prepared) -> Array:
        """What features are computed on: H×W×3 RGB uint8 pixels, or the float64 vector.

        Float pixels are rounded half to even and saturated, ``bgr`` is put back into RGB, grey
        becomes three equal channels.
        """
        view = prepared.view
        if self._channel_order is None:
            return view
        if view.dtype != np.uint8:
            view = np.clip(np.rint(view), 0, 255).astype(np.uint8)
        if self._channel_order == "bgr":
            return cv2.cvtColor(view, cv2.COLOR_BGR2RGB)
        return cv2.cvtColor(view, cv2.COLOR_GRAY2RGB) if self._channel_order == "gray" else view


def compile_spec(spec: PreprocessSpec, tensor: TensorSpec) -> Compiled:
    """Raises SpecError when ``spec`` cannot produce a tensor of that shape and dtype."""
    spec = validate(spec)
    problems = tensor_problems(spec, tensor)
    if problems:
        raise SpecError(*(f"preprocess: {problem}" for problem in problems))
    *steps, cast = spec.steps
    assert isinstance(cast, Cast)  # validate() has seen to it
    if not is_image(spec):
        stages = tuple(step.apply for step in steps if isinstance(step, VectorStep))
        return Compiled((read_vector, *stages), _vector_finish(steps, cast, tensor), None)
    images = tuple(step.apply for step in steps if isinstance(step, (Decode, ImageStep)) and not _idle(step))
    order = next(step.order for step in steps if isinstance(step, Color))
    return Compiled(images, _image_finish(steps, cast, tensor), order)


def run_steps(spec: PreprocessSpec, tensor: TensorSpec, payload: Payload) -> Prepared:
    """The plain path: every step by itself. Raises SpecError or FrameError as the fast path does."""
    view: Any = None
    made: Any = None
    for step, made in walk(spec, tensor, payload):
        if isinstance(step, (Decode, ImageStep, VectorStep)):
            view = made
    if view is None:  # nothing stands before standardize or cast
        view = read_vector(payload)
    return Prepared(tensor=made, view=view)


def walk(spec: PreprocessSpec, tensor: TensorSpec, payload: Payload) -> Iterator[tuple[Step, Array]]:
    """Each step with what it made; the last is the tensor."""
    spec = validate(spec)
    problems = tensor_problems(spec, tensor)
    if problems:
        raise SpecError(*(f"preprocess: {problem}" for problem in problems))
    value: Any = payload if is_image(spec) else read_vector(payload)
    for step in spec.steps:
        if isinstance(step, Cast):
            if not is_image(spec):
                require_finite(value)
            value = step.apply(value, tensor)
        else:
            value = step.apply(value)
        yield step, value


def lookup_table(normalize: Normalize | None, cast: Cast, tensor: TensorSpec, channels: int) -> Array:
    """What the tensor stores for each 8-bit value: (256, channels) in the tensor's dtype."""
    ramp = _ramp(channels)
    return cast.numbers(normalize.apply(ramp) if normalize else ramp, tensor)


def _image_finish(steps: list[Step], cast: Cast, tensor: TensorSpec) -> Callable[[Array], Array]:
    normalize = next((step for step in steps if isinstance(step, Normalize)), None)
    flow = image_flow(steps)
    if flow.dtype != "uint8":
        return lambda view: cast.apply(normalize.apply(view) if normalize else view, tensor)
    table = lookup_table(normalize, cast, tensor, flow.channels)
    if table.dtype == np.uint8 and np.array_equal(table, _ramp(flow.channels)):
        return lambda view: cast.arrange(view, tensor)
    if np.all(table == table[:, :1]):
        # One row for all channels: OpenCV looks it up twice as fast as one per channel.
        row = table[:, 0].copy()
        return lambda view: cast.arrange(_looked_up(view, row), tensor)
    rows: NDArray[Any] = table[None].copy()
    return lambda view: cast.arrange(_looked_up(view, rows), tensor)


def _ramp(channels: int) -> Array:
    return np.repeat(np.arange(256, dtype=np.uint8)[:, None], channels, axis=1)


def _looked_up(view: Array, table: Array) -> Array:
    return cv2.LUT(view, table).reshape(view.shape)


def _vector_finish(steps: list[Step], cast: Cast, tensor: TensorSpec) -> Callable[[Array], Array]:
    standardize = next((step for step in steps if isinstance(step, Standardize)), None)

    def finish(view: Array) -> Array:
        values = standardize.apply(view) if standardize else view
        require_finite(values)
        return cast.apply(values, tensor)

    return finish


def _idle(step: Step) -> bool:
    return isinstance(step, Color) and step.order == "rgb"
