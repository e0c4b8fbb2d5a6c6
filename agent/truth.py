"""Labels that arrive later, joined with the predictions they are for."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from agent.contracts import Prediction
from agent.errors import LabelError
from agent.monitor.accuracy import (
    Labelled,
    PredictionLog,
    Remembered,
    RollingAccuracy,
    RollingError,
    true_class,
    true_value,
)
from agent.monitor.label_memory import Entry, entry_of
from agent.telemetry.messages import Accuracy, Label, Labels


class Memory(Protocol):
    """What outlives this session; see ``agent.label_file``."""

    @property
    def entries(self) -> tuple[Entry, ...]: ...

    def add(self, entries: Iterable[Entry]) -> None: ...


class Truth:
    """Remembers predictions of one task and measures them against labels.

    ``labels`` are the lines of the bundle's labels file and ``outputs`` the number of classes;
    ``reference`` is the held-out accuracy (classification) or MSE (regression). ``memory`` brings what
    earlier sessions learnt, and is told what this one does.
    """

    def __init__(
        self,
        *,
        task: str,
        outputs: int,
        labels: Sequence[str],
        reference: float | None,
        newest: int,
        memory: Memory | None = None,
    ) -> None:
        self.log = PredictionLog()
        self._memory = memory
        self._outputs = outputs
        self._index_of = {label: index for index, label in reversed(list(enumerate(labels)))}
        self._reference = reference
        self._classes = RollingAccuracy(newest) if task == "classification" else None
        self._values = RollingError(newest) if task == "regression" else None
        for entry in memory.entries if memory else ():
            self.log.restore(entry)
            self._count(entry)

    def remember(self, *, frame: str, name: str, prediction: Prediction, right: float | None = None) -> None:
        """``right``: the calibrated probability that the prediction is right, where the bundle can tell."""
        self.log.remember(frame=frame, name=name, prediction=prediction, right=right)

    def keep(self, frame: str, weight: float) -> None:
        """A remembered frame was kept to be labelled, and its label stands for ``weight`` frames (0: for no
        other). Its prediction is remembered for longer."""
        kept = self.log.keep(frame, weight=weight)
        if kept is not None and self._memory is not None and self._comparable(kept):
            self._memory.add([entry_of(kept)])

    def receive(self, message: Labels) -> list[str]:
        """Join each label with its frame; the problems of those that mean nothing here."""
        problems: list[str] = []
        joined: list[Entry] = []
        for label in message.labels:
            try:
                found = self.log.join(label)
                if found is None:
                    continue
                entry = self._labelled(found, label)
            except LabelError as error:
                problems += error.problems
            else:
                self._count(entry)
                joined.append(entry)
        if self._memory is not None:
            self._memory.add(joined)
        return problems

    def report(self) -> Accuracy | None:
        """The accuracy (or error) over the newest labelled frames; None before the first."""
        if self._classes is not None:
            return self._classes.report(self._reference, spans=self.log.spans)
        return self._values.report(self._reference) if self._values else None

    def _comparable(self, found: Remembered) -> bool:
        return found.top is not None if self._classes is not None else found.value is not None

    def _labelled(self, found: Remembered, label: Label) -> Entry:
        """Raises LabelError."""
        if self._classes is not None and found.top is not None:
            return entry_of(found, true_class=true_class(label, outputs=self._outputs, labels=self._index_of))
        if self._values is not None and found.value is not None:
            return entry_of(found, true_value=true_value(label))
        raise LabelError(f"label {label.label!r}: this model's predictions cannot be compared with labels")

    def _count(self, entry: Entry) -> None:
        if self._classes is not None and entry.top is not None and entry.true_class is not None:
            labelled = Labelled(
                truth=entry.true_class,
                predicted=entry.top,
                score=entry.score,
                auxiliary=entry.auxiliary,
                at=entry.at,
                weight=entry.weight,
            )
            self._classes.add(entry.frame, labelled)
        elif self._values is not None and entry.value is not None and entry.true_value is not None:
            self._values.add(entry.frame, truth=entry.true_value, predicted=entry.value, weight=entry.weight)
