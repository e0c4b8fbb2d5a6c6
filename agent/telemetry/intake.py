"""What a link reports, on its way to the publisher: never more of it than fits. Pure.

Whoever may write to a device's topics may write faster than it reads. What is said of the connection
and of its own publications always comes through, for there is only so much of it; what others sent
is bounded by bytes before anybody decodes it, and labels by their rate as well. They have room of
their own, so that they cannot crowd out an ack or a command.
"""

from collections import deque
from enum import Enum

from agent.telemetry.ports import Event, Received
from agent.telemetry.rate_limit import RateLimit

BYTES = 4 * 2**20
"""Most that waits, of labels and of everything else: ``OVERHEAD_BYTES`` for each message included."""
OVERHEAD_BYTES = 1024
LABEL_BYTES_PER_S = 64 * 2**10
LABEL_BYTES_AT_ONCE = 2 * 2**20
"""More than the labels of all predictions that a device remembers; decoding it takes a small device
seconds. A broker's default queue of 1,000 messages with one label each fits."""


class Verdict(Enum):
    """What became of an event."""

    KEPT = "kept"
    TOO_FAST = "too fast"
    NO_ROOM = "no room"


class Intake:
    """``now`` is monotonic seconds."""

    def __init__(self, *, label_topic: str, now: float) -> None:
        self._label_topic = label_topic
        self._labels = RateLimit(per_s=LABEL_BYTES_PER_S, burst=LABEL_BYTES_AT_ONCE, now=now)
        self._events: deque[Event] = deque()
        self._bytes = {True: 0, False: 0}

    def __bool__(self) -> bool:
        return bool(self._events)

    def put(self, event: Event, now: float) -> Verdict:
        """Keep ``event`` for ``take``, if there is room and it does not come too fast."""
        if isinstance(event, Received):
            label, size = event.topic == self._label_topic, size_of(event)
            if self._bytes[label] + size > BYTES:
                return Verdict.NO_ROOM
            if label and not self._labels.take(now, size):
                return Verdict.TOO_FAST
            self._bytes[label] += size
        self._events.append(event)
        return Verdict.KEPT

    def take(self) -> Event | None:
        """The oldest event; None when there is none."""
        if not self._events:
            return None
        event = self._events.popleft()
        if isinstance(event, Received):
            self._bytes[event.topic == self._label_topic] -= size_of(event)
        return event


def size_of(event: Received) -> int:
    """What a message costs while it waits, about, in bytes."""
    asked = len(event.response_topic or "") + len(event.correlation or b"")
    return OVERHEAD_BYTES + len(event.topic) + len(event.payload) + asked
