"""Runs labelled pictures through a model under every fault, one picture at a time."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.contracts import Array, Decoder, Image, Prediction, Runner
from agent.errors import FrameError, SpecError
from agent.monitor.features import FeatureSet
from agent.preprocess.compiled import Compiled, Prepared, compile_spec
from agent.preprocess.decoding import Decode
from agent.preprocess.spec import PreprocessSpec
from agent.preprocess.values import Cast, Color
from calibration.labelled import Input
from calibration.replay.fault import Draws, Fault, Numbers, seeded

_USUAL: Final = 0.02
"""Share of the range by which numbers may differ from those the model expects and still be those."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """What one input gives under one fault: its features, float32 (F,), and the prediction."""

    row: NDArray[np.float32]
    prediction: Prediction


class ImageReplay:
    """A model with its preprocessing, and the faults that can happen to it (``faults``).

    A fault that this spec cannot have (another crop, where it does not crop) is left out.
    """

    def __init__(
        self,
        faults: Sequence[Fault],
        *,
        spec: PreprocessSpec,
        runner: Runner,
        decoder: Decoder,
        features: FeatureSet,
    ) -> None:
        self._runner, self._decoder, self._features = runner, decoder, features
        self._decode = next(step for step in spec.steps if isinstance(step, Decode))
        self._order = next(step.order for step in spec.steps if isinstance(step, Color))
        self._cast = next(step for step in spec.steps if isinstance(step, Cast))
        self._right = compile_spec(spec, runner.input)
        compiled = [(fault, self._compiled(fault, spec)) for fault in faults]
        self._faults = [(fault, made) for fault, made in compiled if made is not None]

    @property
    def faults(self) -> tuple[Fault, ...]:
        return tuple(fault for fault, _ in self._faults)

    def _compiled(self, fault: Fault, spec: PreprocessSpec) -> Compiled | None:
        if fault.numbers is not None and self._usual(fault.numbers):
            return None
        if fault.spec is None:
            return self._right
        mistaken = fault.spec(spec)
        try:
            return compile_spec(mistaken, self._runner.input) if mistaken is not None else None
        except SpecError:
            return None

    def _usual(self, numbers: Numbers) -> bool:
        """Whether these are the numbers that this model expects."""
        shape = self._runner.input.shape
        ramp = np.resize(np.arange(256, dtype=np.uint8), math.prod(shape)).reshape(shape)[0]
        if self._cast.layout == "nchw":
            ramp = np.ascontiguousarray(ramp.transpose(1, 2, 0))
        expected = self._right.finish(ramp).astype(np.float64)
        given = self._stored(numbers, ramp).astype(np.float64)
        return bool(np.abs(given - expected).max() <= _USUAL * np.ptp(expected))

    def _stored(self, numbers: Numbers, view: Array) -> Array:
        real = numbers(view.astype(np.float32) / np.float32(255))
        cast = Cast(mode="quantize", rounding=self._cast.rounding, layout=self._cast.layout)
        return cast.apply(real, self._runner.input)

    def healthy(self, given: Input) -> Answer:
        """Raises FrameError when the input cannot be used."""
        picture = self._decode.apply(given.payload())
        prepared = self._right(picture)
        return self._answer(prepared.tensor, self._features.inputs(self._right.feature_view(prepared)))

    def answers(self, given: Input) -> tuple[Answer, list[Answer | None]]:
        """The healthy one, and one for each of ``faults``; None where the picture cannot have it. Raises
        FrameError when the input cannot be used at all."""
        picture = self._decode.apply(given.payload())
        right = self._right(picture)
        seen = self._right.feature_view(right)
        inputs = self._features.inputs(seen)
        healthy = self._answer(right.tensor, inputs)
        found: list[Answer | None] = []
        for fault, compiled in self._faults:
            draws = seeded(fault.family, fault.name, given.name)
            try:
                prepared, view = right, seen
                if compiled is not self._right or fault.picture is not None:
                    shown = fault.picture(picture, draws) if fault.picture else picture
                    prepared = compiled(shown)
                    view = compiled.feature_view(prepared)
                tensor, view = self._behind(fault, compiled, prepared, view, draws)
                moved = inputs if view is seen else self._features.inputs(view)
                found.append(self._answer(tensor, moved))
            except FrameError:
                found.append(None)
        return healthy, found

    def _behind(
        self, fault: Fault, compiled: Compiled, prepared: Prepared, view: Image, draws: Draws
    ) -> tuple[Array, Image]:
        """What a fault does from the 8-bit picture on: the tensor, and what features see."""
        tensor, ours = prepared.tensor, prepared.view
        if fault.view is not None:
            view = np.ascontiguousarray(fault.view(view, draws))
            ours = self._in_order(view, ours)
            tensor = compiled.finish(ours)
        if fault.numbers is not None:
            tensor = self._stored(fault.numbers, ours)
        if fault.tensor is not None:
            tensor = fault.tensor(tensor, self._runner.input)
        return tensor, view

    def _in_order(self, view: Array, like: Array) -> Array:
        """RGB as the spec's own steps would have left it: its channels and dtype."""
        if self._order == "bgr":
            view = cv2.cvtColor(view, cv2.COLOR_RGB2BGR)
        elif self._order == "gray":
            view = cv2.cvtColor(view, cv2.COLOR_RGB2GRAY).reshape(like.shape)
        return view.astype(like.dtype, copy=False)

    def _answer(self, tensor: Array, inputs: list[float]) -> Answer:
        prediction = self._decoder.decode(self._runner.run(tensor), self._runner.outputs)
        return Answer(row=self._features.complete(inputs, prediction), prediction=prediction)
