"""A resource that one thread reads and another may close: released once, never under the reader."""

from collections.abc import Callable
from threading import Event, Lock


class Held:
    """``with held:`` around each use. ``close`` returns at once even while a use hangs in a driver;
    then that use's end releases."""

    def __init__(self, release: Callable[[], None]) -> None:
        self._release = release
        self._lock = Lock()
        self._closed = Event()
        self._released = False

    @property
    def closed(self) -> bool:
        return self._closed.is_set()

    def __enter__(self) -> bool:
        """Whether the resource is still there to be used."""
        self._lock.acquire()
        return not self._released

    def __exit__(self, *_: object) -> None:
        try:
            if self.closed:
                self._release_once()
        finally:
            self._lock.release()
        # A close that came after the look above, and found the lock taken.
        if self.closed:
            self._try_release()

    def close(self) -> None:
        self._closed.set()
        self._try_release()

    def rest(self, seconds: float) -> None:
        """Wait so long, or until closed."""
        self._closed.wait(seconds)

    def _try_release(self) -> None:
        if self._lock.acquire(blocking=False):
            try:
                self._release_once()
            finally:
                self._lock.release()

    def _release_once(self) -> None:
        if not self._released:
            self._released = True
            release, self._release = self._release, _nothing
            release()


def _nothing() -> None:
    """Stands where the resource stood, so that it can be forgotten."""
