"""What a standing connection hears beyond acks and commands: more topics, and labels in measure.

Labels that are dropped one by one still fill the line, and the broker's answers wait behind them. So
after many the device stops listening for a while: then the broker itself throws them away.
"""

from agent.telemetry.ports import Link

FLOOD = 200
"""So many labels dropped since the device listened to them make it stop."""
DEAF_S = 60.0


class Listening:
    """Belongs to the publisher's thread; ``now`` is monotonic seconds."""

    def __init__(self, link: Link, *, label_topic: str) -> None:
        self._link = link
        self._label_topic = label_topic
        self._also: set[str] = set()
        self._dropped = 0
        self.labels_again_at: float | None = None
        """When labels are listened to again; None while they are."""

    def begin(self, *, dropped: int) -> None:
        """A new connection stands: it hears labels, and nothing more. ``dropped``: as for ``measure``."""
        self._also.clear()
        self._dropped, self.labels_again_at = dropped, None

    def hear(self, wanted: set[str]) -> None:
        """Hear these topics as well, and no others. Raises LinkError."""
        for topic in sorted(wanted - self._also):
            self._link.subscribe(topic)
            self._also.add(topic)
        for topic in sorted(self._also - wanted):
            self._link.unsubscribe(topic)
            self._also.discard(topic)

    def measure(self, now: float, *, dropped: int) -> None:
        """Stop or begin to listen to labels, of which so many were dropped so far. Raises LinkError."""
        if self.labels_again_at is None and dropped - self._dropped >= FLOOD:
            self._link.unsubscribe(self._label_topic)
            self.labels_again_at = now + DEAF_S
        elif self.labels_again_at is not None and now >= self.labels_again_at:
            self._link.subscribe(self._label_topic, kept=True)
            self._dropped, self.labels_again_at = dropped, None
