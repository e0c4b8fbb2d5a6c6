"""Labels that arrive later, joined with the predictions they are for."""

from collections.abc import Sequence

from agent.contracts import Prediction
from agent.errors import LabelError
from agent.monitor.accuracy import (
    Labelled,
    PredictionLog,
    RollingAccuracy,
    RollingError,
    true_class,
    true_value,
)
from agent.telemetry.messages import Accuracy, Label, Labels


class Truth:
    """Remembers predictions of one task and measures them against labels.

    ``labels`` are the lines of the bundle's labels file and ``outputs`` the number of classes;
    ``reference`` is the held-out accuracy (classification) or MSE (regression).
    """

    def __init__(
        self,
        *,
        task: str,
        outputs: int,
        labels: Sequence[str],
        reference: float | None,
        newest: int,
    ) -> None:
        self.log = PredictionLog()
        self._outputs = outputs
        self._index_of = {label: index for index, label in reversed(list(enumerate(labels)))}
        self._reference = reference
        self._classes = RollingAccuracy(newest) if task == "classification" else None
        self._values = RollingError(newest) if task == "regression" else None

    def remember(self, *, frame: str, name: str, prediction: Prediction, right: float | None = None) -> None:
        """``right``: the calibrated probability that the prediction is right, where the bundle can tell."""
        self.log.remember(frame=frame, name=name, prediction=prediction, right=right)

    def keep(self, frame: str, weight: float) -> None:
        """A remembered frame was kept to be labelled, and its label stands for ``weight`` frames (0: for no
        other). Its prediction is remembered for longer."""
        self.log.keep(frame, weight=weight)

    def receive(self, message: Labels) -> list[str]:
        """Join each label with its frame; the problems of those that mean nothing here."""
        problems: list[str] = []
        for label in message.labels:
            try:
                self._join(label)
            except LabelError as error:
                problems += error.problems
        return problems

    def report(self) -> Accuracy | None:
        """The accuracy (or error) over the newest labelled frames; None before the first."""
        if self._classes is not None:
            return self._classes.report(self._reference, spans=self.log.spans)
        return self._values.report(self._reference) if self._values else None

    def _join(self, label: Label) -> None:
        found = self.log.join(label)
        if found is None:
            return
        if self._classes is not None and found.top is not None:
            truth = true_class(label, outputs=self._outputs, labels=self._index_of)
            self._classes.add(
                found.frame,
                Labelled(
                    truth=truth,
                    predicted=found.top,
                    score=found.score,
                    auxiliary=found.auxiliary,
                    at=found.at,
                    weight=found.weight,
                ),
            )
        elif self._values is not None and found.value is not None:
            self._values.add(found.frame, truth=true_value(label), predicted=found.value, weight=found.weight)
        else:
            raise LabelError(
                f"label {label.label!r}: this model's predictions cannot be compared with labels"
            )
