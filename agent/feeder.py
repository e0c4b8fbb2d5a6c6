"""The source thread: opens the source, fills the buffer, opens it again when it is lost."""

import logging
import threading
from collections.abc import Callable

from agent.buffer import FrameBuffer
from agent.contracts import Feed, Source
from agent.errors import SourceError

RETRY_FIRST_S = 1.0
RETRY_MOST_S = 30.0

_log = logging.getLogger(__name__)


class Feeder:
    """Runs until the source ends or ``close``. ``on_problem`` hears why the source is away, and
    None when it is back; it is called from the source thread."""

    def __init__(
        self, source: Source, buffer: FrameBuffer, *, on_problem: Callable[[str | None], None]
    ) -> None:
        self._source = source
        self._buffer = buffer
        self._on_problem = on_problem
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._feed: Feed | None = None
        self._wait_s = RETRY_FIRST_S
        self._thread = threading.Thread(target=self._run, name="source", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self, timeout_s: float = 5.0) -> None:
        """Stop delivering; a source stuck in a driver is left behind after ``timeout_s``."""
        self._closing.set()
        self._buffer.close()
        with self._lock:
            if self._feed is not None:
                self._feed.close()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._closing.is_set():
            try:
                self._deliver()
                break
            except SourceError as error:
                self._later(str(error))
            except Exception as error:  # a defect of one source must not leave the agent without frames
                _log.exception("the source failed")
                self._later(f"failed: {error!r}")
        self._buffer.finish()

    def _later(self, problem: str) -> None:
        self._on_problem(problem)
        self._closing.wait(self._wait_s)
        self._wait_s = min(2 * self._wait_s, RETRY_MOST_S)

    def _deliver(self) -> None:
        """Fill the buffer from a fresh feed until it ends."""
        feed = self._source.open()
        with self._lock:
            self._feed = feed
            if self._closing.is_set():
                feed.close()
        self._on_problem(None)
        try:
            for item in feed:
                self._wait_s = RETRY_FIRST_S
                self._buffer.put(item)
        finally:
            feed.close()
