"""Replays the library of faults on labelled held-out inputs: what ``Replay`` is made of.

Which inputs are used is decided by a hash of their names, and every draw of a fault by the names of
fault and input, so equal inputs give an equal replay.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from agent.contracts import Regression
from agent.errors import FrameError
from agent.monitor.groups import predicted_class
from agent.preprocess.spec import PreprocessSpec, is_image
from calibration.labelled import Input, Inputs, Label
from calibration.reference_builder import Subject, name_hash
from calibration.replay.conditions import HEALTHY, Condition, Replay
from calibration.replay.images import Answer, ImageReplay
from calibration.replay.mixes import image_faults
from calibration.replay.vectors import VectorReplay

REPLAYED = 128
"""Inputs every fault is replayed on, unless told otherwise."""
FEWEST = 50
"""Inputs below which neither accuracy nor the spread of a signature could be learnt."""
MOST_HELD_OUT = 2048
"""Further inputs that calibrated confidence is fitted on; more would only cost time."""
LEAST_MOVE = 0.02
"""A fault that moves no feature by so much of its spread is none for this model, and left out."""

Progress: TypeAlias = Callable[[Iterable[Input], int], Iterable[Input]]


class _Named(Protocol):
    @property
    def family(self) -> str: ...

    @property
    def name(self) -> str: ...


class _Replayer(Protocol):
    @property
    def faults(self) -> Sequence["_Named"]: ...

    def healthy(self, given: Input) -> Answer: ...

    def answers(self, given: Input) -> tuple[Answer, list[Answer | None]]: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Split:
    """Which inputs the faults are replayed on, and which stay as they are."""

    replayed: tuple[Input, ...]
    held_out: tuple[Input, ...]


def split(inputs: Inputs, *, kind: str, most: int) -> Split | str:
    """At most ``most`` of the labelled ``inputs``, and two thirds of them, are replayed. Where there are
    too few, the reason. Of a detection, whose labels are not read, all count."""
    usable = sorted(
        (given for given in inputs if given.label is not None or kind == "detection"),
        key=lambda given: name_hash(given.name, "replay"),
    )
    if len(usable) < FEWEST:
        what = "held-out inputs" if kind == "detection" else "labelled held-out inputs"
        return f"{len(usable)} {what} are too few to replay faults on: expected at least {FEWEST}"
    count = min(most, 2 * len(usable) // 3)
    rest = usable[count : count + MOST_HELD_OUT]
    return Split(replayed=tuple(usable[:count]), held_out=tuple(rest))


def replay(
    chosen: Split,
    *,
    inputs: Inputs,
    kind: str,
    spec: PreprocessSpec,
    subject: Subject,
    progress: Progress = lambda inputs, _: inputs,
) -> Replay:
    """Run ``subject``, whose preprocessing is ``spec``, over every input under every fault.

    ``inputs`` are all held-out inputs, in the order they were recorded: what a vector's usual spread
    and its neighbours in time are taken from. Inputs that cannot be used are passed over. Raises
    FrameError when fewer than half of those chosen can be.
    """
    replayer = _replayer(inputs, spec, subject)
    healthy = _Gathered(kind)
    faulty = [_Gathered(kind) for _ in replayer.faults]
    held_out = _Gathered(kind)
    total = len(chosen.replayed) + len(chosen.held_out)
    replayed = frozenset(given.name for given in chosen.replayed)
    for given in progress((*chosen.replayed, *chosen.held_out), total):
        try:
            if given.name not in replayed:
                held_out.add(replayer.healthy(given), given.label)
                continue
            answer, answers = replayer.answers(given)
        except FrameError:
            continue
        healthy.add(answer, given.label)
        for gathered, found in zip(faulty, answers, strict=True):
            gathered.add(found, given.label)
    return _assembled(kind, subject.features.names, replayer.faults, healthy, faulty, held_out, total)


def _replayer(inputs: Inputs, spec: PreprocessSpec, subject: Subject) -> _Replayer:
    runner, decoder, features = subject.runner, subject.decoder, subject.features
    if is_image(spec):
        return ImageReplay(image_faults(), spec=spec, runner=runner, decoder=decoder, features=features)
    return VectorReplay(
        inputs,
        spec=spec,
        preprocess=subject.preprocess,
        runner=runner,
        decoder=decoder,
        features=features,
    )


def _assembled(
    kind: str,
    features: tuple[str, ...],
    faults: Sequence[_Named],
    healthy: "_Gathered",
    faulty: Sequence["_Gathered"],
    held_out: "_Gathered",
    total: int,
) -> Replay:
    if len(healthy) + len(held_out) < max(total // 2, 2) or not len(healthy) or not len(held_out):
        raise FrameError(f"{total - len(healthy) - len(held_out)} of {total} inputs cannot be used")
    base = healthy.condition(HEALTHY, "as they are", features)
    conditions = [base]
    for fault, gathered in zip(faults, faulty, strict=True):
        if len(gathered) == len(healthy):
            made = gathered.condition(fault.family, fault.name, features)
            if _moves(made.rows, base.rows):
                conditions.append(made)
    return Replay(
        kind="mse" if kind == "regression" else "accuracy",
        features=features,
        conditions=tuple(conditions),
        held_out=held_out.condition(HEALTHY, "held out", features),
    )


def _moves(rows: NDArray[np.float32], base: NDArray[np.float32]) -> bool:
    spread = base.std(axis=0, dtype=np.float64)
    moved = np.abs(rows.astype(np.float64) - base).mean(axis=0)
    return bool(np.any(moved > LEAST_MOVE * np.maximum(spread, 1e-9)))


class _Gathered:
    """One condition's answers as they come; one that failed makes the whole condition useless."""

    def __init__(self, kind: str) -> None:
        self._labelled = kind != "detection"
        self._rows: list[NDArray[np.float32]] = []
        self._classes: list[int] = []
        self._loss: list[float] = []

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, answer: Answer | None, label: Label | None) -> None:
        if answer is None:
            return
        predicted = predicted_class(answer.prediction)
        self._rows.append(answer.row)
        self._classes.append(-1 if predicted is None else predicted)
        if self._labelled and label is not None:
            self._loss.append(_loss(answer, label, predicted))

    def condition(self, family: str, name: str, features: tuple[str, ...]) -> Condition:
        return Condition(
            family=family,
            name=name,
            rows=np.array(self._rows, np.float32).reshape(-1, len(features)),
            classes=np.array(self._classes, np.int64),
            loss=np.array(self._loss) if self._labelled else None,
        )


def _loss(answer: Answer, label: Label, predicted: int | None) -> float:
    if isinstance(answer.prediction, Regression):
        return (float(answer.prediction.values[0]) - label) ** 2
    return float(predicted != label)
