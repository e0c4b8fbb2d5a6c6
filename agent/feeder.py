"""The source thread: opens the source, fills the buffer, opens it again when it is lost."""

import logging
import math
import threading
import time
from collections.abc import Callable

from agent.buffer import FrameBuffer
from agent.contracts import Feed, Frame, Source
from agent.errors import SourceError

RETRY_FIRST_S = 1.0
RETRY_MOST_S = 30.0
STEADY_S = 60.0
"""A source that has delivered for so long no longer flaps."""
HOLD_FIRST_S = 5.0
"""A source lost again must deliver for so long to be well, twice as long after each further loss."""

_log = logging.getLogger(__name__)


class Feeder:
    """Runs until the source ends or ``close``. ``on_problem`` hears why the source is away, and
    None when it is back; it is called from the source thread. Each call may cost a write to the card, so
    a source that comes and goes makes few: at most one in ``STEADY_S`` once it is known to.
    ``now_s`` is the monotonic clock; ``rest`` waits (None: until closed)."""

    def __init__(
        self,
        source: Source,
        buffer: FrameBuffer,
        *,
        on_problem: Callable[[str | None], None],
        now_s: Callable[[], float] = time.monotonic,
        rest: Callable[[float], object] | None = None,
    ) -> None:
        self._source = source
        self._buffer = buffer
        self._on_problem = on_problem
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._feed: Feed | None = None
        self._now_s = now_s
        self._rest = rest or self._closing.wait
        self._wait_s = RETRY_FIRST_S
        self._well = False
        self._lost = False
        """Since then only a frame shows that it is well."""
        self._said_s = -math.inf
        self._delivering_since_s: float | None = None
        self._flaps = 0
        """Losses of a source that delivered."""
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
        now_s = self._now_s()
        # The reason may be another each time.
        if self._well or self._wait_s < RETRY_MOST_S or now_s - self._said_s >= STEADY_S:
            self._said_s = now_s
            self._on_problem(problem)
        self._well, self._lost = False, True
        self._flaps += self._delivering_since_s is not None
        self._delivering_since_s = None
        self._rest(self._wait_s)
        self._wait_s = min(2 * self._wait_s, RETRY_MOST_S)

    def _deliver(self) -> None:
        """Fill the buffer from the feed until it ends."""
        feed = self._open()
        try:
            for item in feed:
                if isinstance(item, Frame):  # one that delivers nothing but damage is not well
                    self._delivered()
                self._buffer.put(item)
        finally:
            if not feed.resumes or self._closing.is_set():
                feed.close()
                with self._lock:
                    self._feed = None
        if not self._closing.is_set():
            self._say_well()

    def _delivered(self) -> None:
        now_s = self._now_s()
        if self._delivering_since_s is None:
            self._delivering_since_s = now_s
        delivering_s = now_s - self._delivering_since_s
        if delivering_s >= STEADY_S:
            self._wait_s, self._flaps = RETRY_FIRST_S, 0
        if not self._well and delivering_s >= self._hold_s():
            self._say_well()

    def _hold_s(self) -> float:
        """How long it must deliver to be well: after a first loss no longer than a frame takes."""
        return min(HOLD_FIRST_S * 2 ** min(self._flaps - 2, 10), STEADY_S) if self._flaps > 1 else 0.0

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
            # A camera's program runs before the camera does. A folder to be watched is there or not.
            if feed.resumes or not (self._lost or self._source.live):
                self._say_well()
        return feed

    def _say_well(self) -> None:
        """Once, until the next loss."""
        if not self._well:
            self._well = True
            self._on_problem(None)
