"""What goes out over a standing connection and what the answers mean. Runs in one thread.

``confirm: collector``: only the collector's ack removes a message; the broker's word is counted.
``confirm: broker``: the broker's word removes it, unless nobody subscribes or it was refused.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from agent.telemetry.letterhead import Letterhead
from agent.telemetry.messages import Ack
from agent.telemetry.ports import Answered, Link, Outbox, Publication, Stored
from agent.telemetry.rate_limit import RateLimit
from agent.telemetry.send_window import Ask, SendWindow


@dataclass(kw_only=True, slots=True)
class Counters:
    """Since the session began."""

    connections: int = 0
    sent: int = 0
    """Publications of stored messages, repetitions included."""
    acknowledged: int = 0
    """Messages the collector confirmed."""
    unheard: int = 0
    """Publications the broker took although nobody subscribes."""
    refused: int = 0
    """Publications the broker refused."""
    inbound_refused: int = 0
    """Messages to this device that were malformed, retained or did not fit."""
    inbound_dropped: int = 0
    """Messages to this device that there was no room for."""
    labels_limited: int = 0
    """Messages with labels that came too fast."""
    commands_limited: int = 0
    """Commands that came too fast."""
    takeovers: int = 0
    """Times another client came with this device's identity, as the broker said or its state shows."""


REPLAY_PER_S = 20.0
"""What waited through an outage goes out no faster, so that a fleet whose broker returns does not
drown its collector: three days at default settings take two minutes."""
SILENCES = 2
"""So often in a row confirmation was overdue (with the doubled wait, three timeouts) before it is told."""


class Sender:
    """``problems`` is replaced, never changed, so other threads may read it."""

    def __init__(
        self,
        *,
        outbox: Outbox,
        link: Link,
        letterhead: Letterhead,
        confirm: Literal["collector", "broker"],
        ack_timeout_s: float,
        counters: Counters,
        replay_per_s: float = REPLAY_PER_S,
    ) -> None:
        self.problems: tuple[str, ...] = ()
        self.answered_at = letterhead.clock.monotonic()
        self._outbox = outbox
        self._link = link
        self._letterhead = letterhead
        self._confirm = confirm
        self._counters = counters
        self._window = SendWindow(confirm=confirm, timeout_s=ack_timeout_s)
        self._now = letterhead.clock.monotonic
        self._in_flight_limit = 1
        self._epoch = outbox.epoch
        self._replay = RateLimit(per_s=replay_per_s, burst=max(1, int(replay_per_s)), now=self._now())
        self._replay_at: float | None = None
        self._topics: dict[int, str] = {}
        self._direct: set[int] = set()
        self._refusals: dict[str, str] = {}
        self._sent_seq = 0
        self._taken = False
        self._silences = 0

    @property
    def in_flight(self) -> int:
        """Publications the broker has not answered."""
        return len(self._direct) + self._window.in_flight

    @property
    def has_room(self) -> bool:
        """Whether the broker takes another publication now."""
        return self.in_flight < self._in_flight_limit

    @property
    def unconfirmed(self) -> int:
        """Stored messages sent and not yet removed."""
        return self._window.unconfirmed

    @property
    def deadline(self) -> float | None:
        """When confirmation will be overdue, or the replay goes on."""
        due = (self._window.deadline(), self._replay_at)
        return min((at for at in due if at is not None), default=None)

    def begin(self, in_flight: int) -> None:
        """A new connection stands: everything unconfirmed is to be sent again."""
        self._in_flight_limit = in_flight
        self._topics.clear()
        self._direct.clear()
        self._begin_window()

    def publish(self, publication: Publication, *, lasting: bool = True) -> int:
        """Send a message that is not in the outbox; its token. Raises LinkError.

        ``lasting``: that the broker refuses it is a problem until it takes the next one.
        """
        token = self._link.publish(publication)
        self._direct.add(token)
        if lasting:
            self._topics[token] = publication.topic
        return token

    def publish_stored(self) -> None:
        """Send what the outbox holds, as far as the broker and the window allow. Raises LinkError."""
        if self._window.expire(self._now()):
            self._silences += 1
            self._tell()
        if self._epoch != self._outbox.epoch:
            self._begin_window()
        self._replay_at = None
        while (ask := self._window.ask(len(self._direct), backlog=self._replay_at is None)) is not None:
            rows = self._outbox.peek(ask.after_id, ask.limit)
            if not rows and not ask.again:
                return
            floors = {session: self._outbox.floor(session) for session in {row.session for row in rows}}
            self._send(rows, ask, floors)

    def answered(self, event: Answered) -> None:
        """The broker's word on one publication."""
        self.answered_at = self._now()
        stored = event.token not in self._direct
        if stored:
            self._taken = event.outcome == "taken"
        self._direct.discard(event.token)
        topic = self._topics.pop(event.token, None)
        self._counters.unheard += event.outcome == "unheard"
        self._counters.refused += event.outcome == "refused"
        removed = self._window.answered(event.token, event.outcome)
        if removed is not None:
            self._outbox.delete([removed])
        if topic is not None:
            self._judge(topic, event, stored=stored)

    def acknowledged(self, ack: Ack) -> bool:
        """The collector's word; False when it speaks of messages that were never sent."""
        own = ack.acked_session == self._outbox.session
        if own and ack.upto > self._sent_seq:
            return False
        self._silences = 0
        self._tell()
        removed = self._outbox.acknowledge(ack.acked_session, ack.upto)
        self._counters.acknowledged += removed
        self._window.acknowledged(ack.acked_session, ack.upto, removed=removed, now=self._now())
        floor = self._outbox.floor(ack.acked_session)
        if floor > ack.upto + 1:  # what lies between was evicted; the collector must learn it
            self._window.send_again(ack.acked_session, floor)
        return True

    def _begin_window(self) -> None:
        self._epoch = self._outbox.epoch
        self._window.begin(newest=self._outbox.last_id, in_flight=self._in_flight_limit)

    def _send(self, rows: Sequence[Stored], ask: Ask, floors: Mapping[str, int]) -> None:
        for row in rows:
            if self._window.passes(row, ask):
                continue
            publication = self._letterhead.stored(row, floor=floors[row.session])
            if not ask.fresh and not ask.again and not self._may_replay(row):
                return
            token = self._link.publish(publication)
            self._topics[token] = publication.topic
            self._window.sent(row, token, ask, self._now())
            self._counters.sent += 1
            if row.session == self._outbox.session:
                self._sent_seq = max(self._sent_seq, row.seq)

    def _may_replay(self, row: Stored) -> bool:
        if not self._letterhead.historical(row) or self._replay.take(self._now()):
            return True
        self._replay_at = self._replay.again_at
        return False

    def _judge(self, topic: str, event: Answered, *, stored: bool) -> None:
        if event.outcome == "refused":
            self._refusals[topic] = f"the broker refuses {topic}: {event.reason}; its messages wait"
        elif event.outcome == "unheard" and self._confirm == "broker" and stored:
            self._refusals[topic] = f"nobody subscribes to {topic}; its messages wait"
        else:
            self._refusals.pop(topic, None)
        self._tell()

    def _tell(self) -> None:
        silent = self._confirm == "collector" and self._taken and self._silences >= SILENCES
        found = sorted(self._refusals.values())
        if silent:
            found.append(
                "the broker takes messages but no collector confirms them: is one running, "
                f"and may this device read {self._letterhead.topic('ack')}?"
            )
        self.problems = tuple(found)
