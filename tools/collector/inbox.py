"""Between the network thread and the worker: a queue bounded in messages and in bytes."""

import threading
from collections import deque
from dataclasses import dataclass

MESSAGES = 4000
BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class Inbound:
    """One payload as it arrived; ``mid`` is its packet id, which only its own ``connection`` knows."""

    topic: str
    payload: bytes
    retained: bool
    mid: int
    qos: int
    connection: int
    received_at: str


class Inbox:
    """First in, first out; one message fits always, however large."""

    def __init__(self, *, messages: int = MESSAGES, size: int = BYTES) -> None:
        self._messages, self._size = messages, size
        self._waiting: deque[Inbound] = deque()
        self._held = 0
        self._changed = threading.Condition()

    def put(self, message: Inbound, *, timeout_s: float) -> bool:
        """Whether there was room within ``timeout_s``."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._fits(message), timeout_s):
                return False
            self._waiting.append(message)
            self._held += len(message.payload)
            self._changed.notify_all()
            return True

    def take(self, limit: int, *, timeout_s: float) -> list[Inbound]:
        """What has gathered, oldest first, at most ``limit``; waits for the first."""
        with self._changed:
            self._changed.wait_for(lambda: bool(self._waiting), timeout_s)
            batch = [self._waiting.popleft() for _ in range(min(limit, len(self._waiting)))]
            self._held -= sum(len(message.payload) for message in batch)
            self._changed.notify_all()
            return batch

    def _fits(self, message: Inbound) -> bool:
        if not self._waiting:
            return True
        return len(self._waiting) < self._messages and self._held + len(message.payload) <= self._size
