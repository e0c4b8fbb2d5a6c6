"""What lies between the source's thread and the main loop: few frames, the newest.

For a live source a slow reader loses the oldest frames, and they are counted: a camera's picture
is worth most when it is fresh. What was skipped never takes a frame's place. A lossless buffer makes
the source wait instead. Every item put is accounted for: received = taken + dropped + left.
"""

from collections import deque
from dataclasses import dataclass
from threading import Condition, Lock

from agent.contracts import Frame, Skipped


@dataclass(frozen=True, kw_only=True, slots=True)
class BufferStats:
    """Items since the buffer was made, and how many lie in it now."""

    received: int
    taken: int
    dropped: int
    left: int


class FrameBuffer:
    """Holds up to ``capacity`` items, in order; one thread puts, another gets."""

    def __init__(self, capacity: int, *, lossless: bool = False) -> None:
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1, got {capacity}")
        self._capacity = capacity
        self._lossless = lossless
        self._items: deque[Frame | Skipped] = deque()
        self._lock = Lock()
        self._filled = Condition(self._lock)
        self._room = Condition(self._lock)
        self._complete = False
        self._closed = False
        self._received = 0
        self._dropped = 0

    def put(self, item: Frame | Skipped) -> bool:
        """Add an item; False, and nothing added, once the buffer is closed.

        When it is full: drop the oldest that is worth least at once, or, lossless, wait until there is
        room.
        """
        with self._lock:
            if self._lossless:
                self._room.wait_for(lambda: self._closed or len(self._items) < self._capacity)
            if self._closed:
                return False
            self._received += 1
            if len(self._items) == self._capacity:
                self._dropped += 1
                if not self._make_room(item):
                    return True
            self._items.append(item)
            self._filled.notify()
            return True

    def _make_room(self, item: Frame | Skipped) -> bool:
        """Remove the oldest Skipped, or for a frame the oldest frame; False: ``item`` is worth less."""
        skipped = (at for at, waiting in enumerate(self._items) if isinstance(waiting, Skipped))
        oldest = next(skipped, 0 if isinstance(item, Frame) else None)
        if oldest is None:
            return False
        del self._items[oldest]
        return True

    def finish(self) -> None:
        """No more items will be put; what is left can still be got."""
        with self._lock:
            self._complete = True
            self._filled.notify_all()

    def get(self, timeout_s: float) -> Frame | Skipped | None:
        """The oldest item; None when none came in time, or none will (see ``ended``)."""
        with self._lock:
            if not self._items:
                self._filled.wait_for(lambda: self._items or self._complete or self._closed, timeout_s)
            if self._closed or not self._items:
                return None
            item = self._items.popleft()
            # A waiting source is woken once for several items: waking costs more than an item does.
            if len(self._items) <= self._capacity // 2:
                self._room.notify()
            return item

    @property
    def ended(self) -> bool:
        """Whether ``get`` will never deliver again: finished and empty, or closed."""
        with self._lock:
            return self._closed or (self._complete and not self._items)

    def close(self) -> None:
        """The reader leaves: wakes everybody; what is left stays uncollected."""
        with self._lock:
            self._closed = True
            self._filled.notify_all()
            self._room.notify_all()

    @property
    def stats(self) -> BufferStats:
        with self._lock:
            left = len(self._items)
            return BufferStats(
                received=self._received,
                taken=self._received - self._dropped - left,
                dropped=self._dropped,
                left=left,
            )
