"""Replies on their way to the topic on which whoever asked waits for them (MQTT 5 request/response).

They do not pass through the outbox: an answer is for whoever asked, and only while that waits. One
that was under way when a connection ended is sent again on the next.
"""

from collections import deque
from dataclasses import dataclass

from agent.telemetry.messages import Reply
from agent.telemetry.ports import Answered, LinkError, Publication
from agent.telemetry.sender import Sender

MOST = 100
"""Most replies that wait for a connection; of more the oldest are dropped."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Addressed:
    """A reply and how it travels."""

    reply: Reply
    publication: Publication


class Replies:
    """``put`` may be called from any thread, the rest belongs to the publisher's."""

    def __init__(self) -> None:
        self._waiting: deque[Addressed] = deque(maxlen=MOST)
        self._under_way: dict[int, Addressed] = {}

    @property
    def waiting(self) -> bool:
        return bool(self._waiting)

    def put(self, addressed: Addressed) -> None:
        """Send it as soon as there is a connection."""
        self._waiting.append(addressed)

    def send(self, sender: Sender) -> None:
        """Send what waits, as far as the broker has room. Raises LinkError."""
        while self._waiting and sender.has_room:
            addressed = self._waiting.popleft()
            try:
                token = sender.publish(addressed.publication, lasting=False)
            except LinkError:
                self._waiting.appendleft(addressed)
                raise
            self._under_way[token] = addressed

    def answered(self, event: Answered) -> Reply | None:
        """The broker's word; the reply that it refused to take to that topic, if it is one of these."""
        addressed = self._under_way.pop(event.token, None)
        return addressed.reply if addressed is not None and event.outcome == "refused" else None

    def connection_lost(self) -> None:
        """What was under way waits again, before what came later."""
        lost = list(self._under_way.values())
        self._under_way.clear()
        self._waiting.extendleft(reversed(lost))
