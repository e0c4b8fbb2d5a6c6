"""Says when the camera no longer looks: a frozen, black or stuck picture is a problem and an alarm."""

from collections.abc import Callable

from agent.alarming import Sink
from agent.contracts import Array, Frame
from agent.monitor.picture import PictureWatch
from agent.telemetry.messages import Alarm


class Sight:
    """``on_problem`` hears what is wrong with the pictures now, None when they are well again."""

    def __init__(self, watch: PictureWatch, *, on_problem: Callable[[str | None], None], sink: Sink) -> None:
        self._watch = watch
        self._on_problem = on_problem
        self._sink = sink
        self._said: tuple[str, ...] = ()
        self._alarmed = False

    def frame(self, frame: Frame) -> None:
        """Every frame, before the model sees it."""
        self._watch.payload(frame.payload, frame.captured_ns)

    def view(self, image: Array) -> None:
        """The 8-bit picture of a sampled frame."""
        self._watch.view(image)

    def report(self) -> None:
        """Say what has changed since the last call."""
        problems = self._watch.problems
        if problems == self._said:
            return
        self._said = problems
        self._on_problem("; ".join(problems) or None)
        if bool(problems) == self._alarmed:
            return
        self._alarmed = bool(problems)
        self._sink.emit(
            Alarm(
                alarm="source",
                status="raised" if problems else "cleared",
                severity="warning" if problems else "notice",
                cause="source",
                summary="; ".join(problems) or "the pictures change again",
            ),
            urgent=True,
        )
