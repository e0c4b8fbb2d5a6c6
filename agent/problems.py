"""Why the device is degraded, by subject; every change is published once as its state."""

import logging
import threading
from collections.abc import Callable
from typing import Protocol

from agent.errors import OutboxError, WireError
from agent.plain_text import plain_text
from agent.telemetry.messages import DeviceState

LONGEST_LINE = 500

_log = logging.getLogger(__name__)


def plain_line(text: str) -> str:
    """A problem on one line of bounded length: file names, row ids and headers of other people's
    making end up in it."""
    return plain_text(text, longest=LONGEST_LINE)


class StateSink(Protocol):
    """Where the device's state goes."""

    def set_state(self, state: DeviceState, problems: tuple[str, ...] = ()) -> None: ...


class Problems:
    """Safe to call from several threads. Before ``ready`` problems only gather."""

    def __init__(self, sink: StateSink, *, on_change: Callable[[str], None]) -> None:
        self._sink = sink
        self._on_change = on_change
        self._lock = threading.Lock()
        self._known: dict[str, str] = {}
        self._ready = False
        self._closed = False

    def set(self, subject: str, problem: str | None) -> None:
        """What is wrong with ``subject`` now; None when it is well."""
        problem = None if problem is None else plain_line(problem)
        with self._lock:
            if self._closed:
                return
            if self._known.get(subject) == problem:
                return
            if problem is None:
                del self._known[subject]
                _log.info("%s: well again", subject)
            else:
                self._known[subject] = problem
                _log.warning("%s: %s", subject, problem)
            if self._ready:
                self._publish()

    def ready(self) -> None:
        """The model runs: from now on the state is ``online``, or ``degraded`` with its reasons."""
        with self._lock:
            self._ready = True
            self._publish()

    @property
    def known(self) -> tuple[str, ...]:
        """What is wrong now, each with its subject."""
        with self._lock:
            return self._lines()

    def of(self, subject: str) -> str:
        """What is wrong with ``subject`` now; empty when it is well."""
        with self._lock:
            return self._known.get(subject, "")

    def close(self) -> None:
        """The session ends: what a thread left behind still says no longer changes the state."""
        with self._lock:
            self._closed = True

    def _lines(self) -> tuple[str, ...]:
        return tuple(f"{subject}: {problem}" for subject, problem in sorted(self._known.items()))

    def _publish(self) -> None:
        problems = self._lines()
        try:
            self._sink.set_state("degraded" if problems else "online", problems)
        except (WireError, OutboxError) as error:
            _log.error("the state could not be published: %s", error)
        self._on_change("; ".join(problems) or "online")
