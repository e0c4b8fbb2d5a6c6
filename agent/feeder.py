"""The source thread: opens the source, fills the buffer, opens it again when it is lost."""

import logging
import threading
from collections.abc import Callable

from agent.buffer import FrameBuffer
from agent.contracts import Feed, Frame, Source
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
        self._well = False
        self._failed_reading = False
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
        try:
            while not self._closing.is_set():
                try:
                    self._deliver()
                    break
                except SourceError as error:
                    self._later(str(error))
                except Exception as error:  # a defect of one source must not leave the agent without frames
                    _log.exception("the source failed")
                    self._later(f"failed: {error!r}")
        finally:
            self._buffer.finish()

    def _later(self, problem: str) -> None:
        self._well = False
        self._on_problem(problem)
        self._closing.wait(self._wait_s)
        self._wait_s = min(2 * self._wait_s, RETRY_MOST_S)

    def _deliver(self) -> None:
        """Fill the buffer from the feed until it ends."""
        feed = self._open()
        try:
            for item in feed:
                if isinstance(item, Frame):  # one that delivers nothing but damage is not well
                    self._wait_s = RETRY_FIRST_S
                    self._say_well()
                self._buffer.put(item)
        except SourceError:
            self._failed_reading = True
            raise
        finally:
            if not feed.resumes or self._closing.is_set():
                feed.close()
                with self._lock:
                    self._feed = None
        self._say_well()

    def _open(self) -> Feed:
        """A fresh feed, or the lost one where it can go on."""
        with self._lock:
            feed = self._feed
        if feed is None:
            feed = self._source.open()
            with self._lock:
                self._feed = feed
                if self._closing.is_set():
                    feed.close()
            if not self._failed_reading:
                self._say_well()
        return feed

    def _say_well(self) -> None:
        """Once: a source that opens but then cannot be read is not well before its first item."""
        self._failed_reading = False
        if not self._well:
            self._well = True
            self._on_problem(None)
