"""Runs labelled readings through a model under every fault, one reading at a time."""

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agent.contracts import Array, Decoder, Runner, Vector
from agent.errors import FrameError
from agent.monitor.features import FeatureSet
from agent.preprocess.compiled import Compiled
from agent.preprocess.spec import PreprocessSpec
from agent.preprocess.vectors import Impute, Select, Standardize
from calibration.labelled import Input, Inputs
from calibration.replay.fault import seeded
from calibration.replay.faults_vector import Behind, Recent, Usual, VectorFault, vector_faults
from calibration.replay.images import Answer

CONTEXT: Final = 32
"""Readings before the one that is replayed, for lag and for values of other moments."""
_MOST: Final = 20_000
"""Readings that say what is usual."""


class VectorReplay:
    """A model with its preprocessing, and the faults that can happen to its readings (``faults``).

    ``inputs`` are in the order they were recorded. A value that is missing and that the spec does not
    impute is taken as its mean, as an earlier stage would.
    """

    def __init__(
        self,
        inputs: Inputs,
        *,
        spec: PreprocessSpec,
        preprocess: Compiled,
        runner: Runner,
        decoder: Decoder,
        features: FeatureSet,
    ) -> None:
        self._preprocess, self._runner = preprocess, runner
        self._decoder, self._features = decoder, features
        self._imputes = any(isinstance(step, Impute) for step in spec.steps)
        self._inputs = inputs.inputs
        self._at = {given.name: at for at, given in enumerate(inputs)}
        self._usual = usual(inputs, spec)
        self.faults = (*vector_faults(self._usual), *_behind(spec, features))

    def healthy(self, given: Input) -> Answer:
        """Raises FrameError when the input cannot be used."""
        return self._answer(self._recent(given)[-1], None)

    def answers(self, given: Input) -> tuple[Answer, list[Answer | None]]:
        """The healthy one, and one for each of ``faults``; None where the reading cannot have it. Raises
        FrameError when the input cannot be used at all."""
        recent = self._recent(given)
        healthy = self._answer(recent[-1], None)
        found: list[Answer | None] = []
        for fault in self.faults:
            try:
                found.append(self._answer(self._faulty(fault, recent, given.name), fault.behind))
            except FrameError:
                found.append(None)
        return healthy, found

    def _recent(self, given: Input) -> Recent:
        at = self._at[given.name]
        kept = self._inputs[max(at - CONTEXT, 0) : at + 1]
        return np.array([reading.values for reading in kept], np.float64)

    def _faulty(self, fault: VectorFault, recent: Recent, name: str) -> Array:
        if fault.reading is None:
            healthy: Array = recent[-1]
            return healthy
        return fault.reading(recent, self._usual, seeded(fault.family, fault.name, name))

    def _answer(self, reading: Vector, behind: Behind | None) -> Answer:
        if not self._imputes:
            reading = np.where(np.isnan(reading), self._usual.mean, reading)
        prepared = self._preprocess(reading)
        tensor = prepared.tensor if behind is None else self._preprocess.finish(behind(prepared.view))
        prediction = self._decoder.decode(self._runner.run(tensor), self._runner.outputs)
        return Answer(row=self._features.row(prepared.view, prediction), prediction=prediction)


def usual(inputs: Inputs, spec: PreprocessSpec) -> Usual:
    """Mean, spread and range of each value, over at most ``_MOST`` readings taken evenly."""
    step = max(len(inputs.inputs) // _MOST, 1)
    readings = np.array([given.values for given in inputs.inputs[::step]], np.float64)
    some = ~np.isnan(readings).all(axis=0)
    known: NDArray[np.float64] = np.where(some, readings, 0.0)  # A value never there counts as 0.
    used = tuple(range(readings.shape[1]))
    for select in (step for step in spec.steps if isinstance(step, Select)):
        used = tuple(used[position] for position in select.positions)
    return Usual(
        names=inputs.columns or tuple(f"element_{at}" for at in range(readings.shape[1])),
        used=tuple(dict.fromkeys(used)),
        mean=np.nanmean(known, axis=0),
        spread=np.nanstd(known, axis=0),
        low=np.nanmin(known, axis=0),
        high=np.nanmax(known, axis=0),
    )


def _behind(spec: PreprocessSpec, features: FeatureSet) -> Iterator[VectorFault]:
    """Mistakes behind the last step that features see."""
    for step in spec.steps:
        if isinstance(step, Standardize):
            for name, behind in _wrongly_standardised(np.array(step.mean), np.array(step.std)).items():
                yield VectorFault(family="preprocess:standardize", name=name, behind=behind)
    for name, behind in _CASTS.items():
        yield VectorFault(family="preprocess:cast", name=name, behind=behind)


def _wrongly_standardised(mean: Vector, std: Vector) -> dict[str, Behind]:
    """What makes of the right standardize step the one somebody got wrong, standing before it."""
    return {
        "not standardised": lambda view: view * std + mean,
        "twice": lambda view: (view - mean) / std,
        "mean not subtracted": lambda view: view + mean,
        "not divided": lambda view: (view - mean) * std + mean,
        "divided by the variance": lambda view: (view - mean) / np.abs(std) + mean,
    }


_CASTS: Final[dict[str, Behind]] = {
    "whole numbers": np.rint,
    "reversed": lambda view: view[::-1],
    "halved": lambda view: view / 2,
    "sign": lambda view: -view,
    "0": lambda view: view * 0,
}
