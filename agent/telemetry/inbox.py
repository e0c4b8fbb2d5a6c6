"""Labels and commands that wait for the agent, bounded by number and by size."""

import threading
from queue import SimpleQueue

from agent.telemetry.ports import Inbound

MESSAGES = 1000
BYTES = 2 * 2**20
"""As they came; decoded, labels take some seven times as much."""


class Inbox:
    """``offer`` may be called from one thread, ``get`` from another. In the order they came."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[Inbound] = SimpleQueue()
        self._bytes = 0
        self._lock = threading.Lock()

    def offer(self, inbound: Inbound) -> bool:
        """Keep ``inbound``; False when there is no room for it."""
        with self._lock:
            if self._queue.qsize() >= MESSAGES or self._bytes + inbound.size > BYTES:
                return False
            self._bytes += inbound.size
        self._queue.put(inbound)
        return True

    def get(self, timeout: float | None = None) -> Inbound:
        """The oldest; waits for it, at most ``timeout`` seconds. Raises queue.Empty."""
        inbound = self._queue.get(timeout=timeout)
        with self._lock:
            self._bytes -= inbound.size
        return inbound

    def empty(self) -> bool:
        return self._queue.empty()

    def qsize(self) -> int:
        return self._queue.qsize()
