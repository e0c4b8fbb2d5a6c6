"""Chooses the golden inputs of a bundle and records what training's side makes of them.

Two strata, kept apart. ``random``: the inputs whose names have the lowest hashes, a choice that is
blind and repeatable; every figure comes from these. ``margin``: of the others, those on which the
model is least decided (the smallest lead of its best class over the second; of a detector, the score
nearest to its threshold). They flip first, so they notice change early and say nothing of accuracy.

Outputs are recorded with the reference kernels, the plain ones that define the right answer. Where a
limit of size is reached fewer inputs are taken, the margin stratum first, never smaller ones instead.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

import cv2
import numpy as np

from agent.contracts import Classification, Decoder, Detections, Prediction, Runner
from agent.decode.detection import DetectionDecoder
from agent.decode.regression import RegressionDecoder
from agent.device.vitals import cpu_model
from agent.errors import BundleError, FrameError
from agent.golden import GoldenInput, GoldenSet, Recording
from agent.preprocess.spec import PreprocessSpec
from calibration.float_twin import FloatTwin
from calibration.labelled import Input, Inputs
from calibration.recorded import parity as golden_parity
from calibration.recorded.parity import Parity
from calibration.recorded.record import Collection, Subject
from calibration.recorded.training_tensors import TrainingTensors
from calibration.reference_builder import name_hash

Progress: TypeAlias = Callable[[Iterable[Input], int], Iterable[Input]]
"""Wraps inputs (and their number) on their way through the model, to show how far it is."""

COUNT: Final = 8
"""Inputs of a golden set that was not asked for: enough for an agent's self-test."""
COUNT_RANDOM: Final = 128
COUNT_MARGIN: Final = 64
MAX_BYTES: Final = 20 * 2**20
"""Of all recorded tensors together."""
MAX_ORIGINALS_BYTES: Final = 64 * 2**20
"""Of all encoded originals together."""
MOST_COMPARED: Final = 512
"""Inputs whose training tensors are held against the spec before anything is recorded, in blind order."""
MOST_CANDIDATES: Final = 2048
"""Inputs that are looked at for the margin stratum, in blind order."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Made:
    """A golden set; how the training tensors compared with the spec (None: there were none); and what
    is to be said of the choice, one sentence each."""

    golden: GoldenSet = field(repr=False)
    parity: Parity | None
    notes: tuple[str, ...]


def choose(inputs: Inputs) -> list[Input]:
    """All inputs in the random, fixed order in which golden ones are taken."""
    return sorted(inputs, key=lambda given: (name_hash(given.name, "golden"), given.name))


def build(
    inputs: Inputs,
    *,
    spec: PreprocessSpec,
    runner_reference: Runner,
    runner_fast: Runner,
    decoder: Decoder,
    float_twin: FloatTwin | None = None,
    tensors: TrainingTensors | None = None,
    count_random: int = COUNT_RANDOM,
    count_margin: int = COUNT_MARGIN,
    max_bytes: int = MAX_BYTES,
    max_originals_bytes: int = MAX_ORIGINALS_BYTES,
    accept_difference: bool = False,
    progress: Progress = lambda inputs, _: inputs,
) -> Made:
    """The golden set out of ``inputs``.

    ``runner_fast`` runs the kernels of production, which find the margin stratum. With ``tensors``
    only inputs that have one are taken. Raises BundleError when those differ from what ``spec`` makes
    and that is not accepted, when no input can be used, or when the model's outputs change shape.
    """
    subject = Subject(spec=spec, runner=runner_reference, float_twin=float_twin, tensors=tensors)
    usable = [given for given in choose(inputs) if tensors is None or given.name in tensors.files]
    parity = _parity(usable[:MOST_COMPARED], subject, accept_difference)
    taken = Collection(subject, max_bytes=max_bytes, max_originals_bytes=max_originals_bytes)
    looked = taken.add(progress(usable, min(count_random, len(usable))), count_random, "random")
    candidates = usable[looked : looked + MOST_CANDIDATES] if count_margin and not taken.full else []
    undecided = _least_decided(progress(candidates, len(candidates)), subject, runner_fast, decoder)
    taken.add(progress(undecided, min(count_margin, len(undecided))), count_margin, "margin")
    notes = taken.notes()
    if not taken.full:
        meaningless = isinstance(decoder, RegressionDecoder) or (candidates and not undecided)
        notes += _short_of(taken.inputs(), count_random, 0 if meaningless else count_margin)
    if len(usable) < len(inputs):
        notes.append(f"{len(inputs) - len(usable)} of {len(inputs)} golden inputs have no training tensor")
    if candidates and not undecided:
        notes.append("no margin stratum: it is made for classes and detections only")
    if not taken.inputs():
        raise BundleError(f"{inputs.where}: no golden input can be recorded", *notes)
    return Made(
        golden=GoldenSet(inputs=taken.inputs(), recording=_recording(subject, parity)),
        parity=parity,
        notes=tuple(notes),
    )


def _short_of(made: Sequence[GoldenInput], count_random: int, count_margin: int) -> list[str]:
    """Where there were fewer inputs than asked for."""
    found = Counter(given.stratum for given in made)
    return [
        f"{number} {what} golden inputs of the {asked} asked for: there were no more"
        for what, number, asked in (
            ("random", found["random"], count_random),
            ("undecided", found["margin"], count_margin),
        )
        if number < asked
    ]


def margin(prediction: Prediction, threshold: float = 0.0) -> float | None:
    """How decided a prediction is: the smaller, the sooner it flips. None: that has no meaning."""
    if isinstance(prediction, Classification):
        if prediction.scores.size < 2:
            return None
        second, first = np.partition(prediction.scores.reshape(-1), -2)[-2:]
        return float(first - second)
    if isinstance(prediction, Detections) and prediction.scores.size:
        return float(np.abs(prediction.scores - threshold).min())
    return None


def _least_decided(
    inputs: Iterable[Input], subject: Subject, runner: Runner, decoder: Decoder
) -> list[Input]:
    """The inputs that have a margin, the smallest first; equal ones stay in blind order."""
    threshold = decoder.threshold if isinstance(decoder, DetectionDecoder) else 0.0
    # A detector's scores below its threshold may come to lie above it.
    unlimited = replace(decoder, threshold=0.0) if isinstance(decoder, DetectionDecoder) else decoder
    found: list[tuple[float, Input]] = []
    for given in inputs:
        try:
            raw = runner.run(subject.tensor(given, given.payload()))
        except FrameError:
            continue
        lead = margin(unlimited.decode(raw, runner.outputs), threshold)
        if lead is not None:
            found.append((lead, given))
    return [given for _, given in sorted(found, key=lambda item: item[0])]


def _parity(inputs: Sequence[Input], subject: Subject, accept_difference: bool) -> Parity | None:
    if subject.tensors is None:
        return None
    parity = golden_parity.compare(
        inputs, tensors=subject.tensors, spec=subject.spec, tensor=subject.runner.input
    )
    if parity.differs and not accept_difference:
        raise BundleError(
            f"{subject.tensors.where}: {parity.said}",
            "correct preprocess.yaml or the training code, or record the difference with --accept-difference",
        )
    return parity


def _recording(subject: Subject, parity: Parity | None) -> Recording:
    info = subject.runner.info
    return Recording(
        origin="recorded" if subject.tensors is not None else "self-made",
        runtime=info.runtime,
        runtime_version=info.version,
        numpy=np.__version__,
        opencv=cv2.__version__,
        cpu=cpu_model(),
        difference=parity.said if parity is not None and parity.differs else "",
        float_model=subject.float_twin.sha256 if subject.float_twin is not None else None,
    )
