"""The thread that empties the outbox: it alone connects, publishes, and acts on what comes back.

It sleeps on a condition until a message is committed, the link reports something, or the next
deadline comes (a commit, a reconnect, an overdue confirmation); it never polls.
"""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from agent.telemetry.backoff import Backoff
from agent.telemetry.intake import Intake, Verdict
from agent.telemetry.letterhead import Letterhead
from agent.telemetry.listening import Listening
from agent.telemetry.messages import About, PreprocessInUse, Reply, State, kind_of
from agent.telemetry.ports import (
    Answered,
    Closed,
    Connected,
    Event,
    Inbound,
    Link,
    LinkError,
    Outbox,
    Publication,
    Received,
)
from agent.telemetry.reception import INBOUND, Reception
from agent.telemetry.replies import Addressed, Replies
from agent.telemetry.rivals import Rivals
from agent.telemetry.sender import REPLAY_PER_S, Counters, Sender

ACKS_ONLY = ("ack",)
ANNOUNCEMENT = "announcement"
GONE = b"offline"
"""What an application says on its birth topic when it leaves: no reason to announce anything."""
STABLE_S = 10.0
"""A connection that lasted this long clears the backoff."""
FLAPS = 3
"""So many shorter ones in a row are a trouble of their own. Some brokers do not say that another
client took the connection over; a copied card shows itself only by this."""
FLAPPING = "; connections end at once again and again: is the device.id (or a copied card) used twice?"
ACK_WAIT_S = 1.0
"""At the end, how long to wait for the collector once the broker has everything."""
JOIN_S = 5.0
EVENTS = 100
EVENTS_S = 0.05
"""So many events at most, and for so long, before the device itself has its say again."""
FLOODED = "more is sent to this device than it can take: labels or commands were dropped"
FLOODED_S = 60.0
"""So long after the last dropped message that is told."""

_log = logging.getLogger(__name__)


_Retained: TypeAlias = tuple[State | About, PreprocessInUse | None] | Publication


@dataclass(slots=True)
class _Shared:
    """What other threads hand over, under the condition."""

    events: Intake
    retained: dict[str, _Retained] = field(default_factory=dict)
    dirty: set[str] = field(default_factory=set)
    replies: Replies = field(default_factory=Replies)
    birth_topic: str | None = None
    woken: bool = False
    stop_at: float | None = None


class Publisher:
    """Called from this thread: ``inbound`` with each label and command, ``refused`` with a command that
    cannot be one and its problems, ``undelivered`` with a reply that the broker would not take to
    whoever asked.

    ``broker`` is its address, for people to read. ``speaks_for_device``: whether the end of its
    connection means that the device is lost; who does not speak for it hears acks only.
    """

    def __init__(
        self,
        *,
        outbox: Outbox,
        link: Link,
        letterhead: Letterhead,
        backoff: Backoff,
        broker: str,
        connect_timeout_s: float,
        confirm: Literal["collector", "broker"],
        ack_timeout_s: float,
        inbound: Callable[[Inbound], None],
        refused: Callable[[Received, tuple[str, ...]], None] = lambda event, problems: None,
        undelivered: Callable[[Reply], None] = lambda reply: None,
        speaks_for_device: bool = True,
        replay_per_s: float = REPLAY_PER_S,
    ) -> None:
        self.counters = Counters()
        self.link_problem: str | None = None
        self._outbox = outbox
        self._link = link
        self._letterhead = letterhead
        self._backoff = backoff
        self._broker = broker
        self._connect_timeout_s = connect_timeout_s
        self._undelivered = undelivered
        self._speaks_for_device = speaks_for_device
        self._sender = Sender(
            outbox=outbox,
            link=link,
            letterhead=letterhead,
            confirm=confirm,
            ack_timeout_s=ack_timeout_s,
            counters=self.counters,
            replay_per_s=replay_per_s,
        )
        self._reception = Reception(
            letterhead=letterhead,
            counters=self.counters,
            deliver=inbound,
            acknowledged=self._sender.acknowledged,
            refuse=refused,
        )
        self._now = letterhead.clock.monotonic
        self._phase: Literal["down", "connecting", "up"] = "down"
        self._phase_at = self._attempt_at = self._now()
        self._short_lived = 0
        self._rivals = Rivals(letterhead.session)
        self._own_state = letterhead.topic("state")
        label_topic = letterhead.topic("label")
        self._listening = Listening(link, label_topic=label_topic)
        self._shared = _Shared(events=Intake(label_topic=label_topic, now=self._now()))
        self._flooded_until = self._now()
        self._condition = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="litewatch-publisher", daemon=True)

    @property
    def connected(self) -> bool:
        return self._phase == "up"

    @property
    def problems(self) -> tuple[str, ...]:
        """What keeps messages from arriving, each in one readable line."""
        link = self.link_problem
        flooded = FLOODED if self._now() < self._flooded_until else None
        return tuple(problem for problem in (link, *self._sender.problems, flooded) if problem)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """There is something new in the outbox."""
        with self._condition:
            self._shared.woken = True
            self._condition.notify()

    def retain(self, body: State | About, preprocess: PreprocessInUse | None) -> None:
        """Keep ``body`` as the retained message of its topic, now and after each connect."""
        kind = kind_of(body)
        with self._condition:
            self._shared.retained[kind] = (body, preprocess)
            self._shared.dirty.add(kind)
            self._shared.woken = True
            self._condition.notify()

    def rebirth(self) -> None:
        """Publish everything that is retained once more."""
        with self._condition:
            self._shared.dirty = set(self._shared.retained)
            self._shared.woken = True
            self._condition.notify()

    def announce(self, publication: Publication | None, *, birth_topic: str | None) -> None:
        """Keep ``publication`` on its topic, now, after each connect and after each birth message."""
        with self._condition:
            self._shared.retained.pop(ANNOUNCEMENT, None)
            self._shared.dirty.discard(ANNOUNCEMENT)
            if publication is not None:
                self._shared.retained[ANNOUNCEMENT] = publication
                self._shared.dirty.add(ANNOUNCEMENT)
            self._shared.birth_topic = birth_topic
            self._shared.woken = True
            self._condition.notify()

    def reply(self, addressed: Addressed) -> None:
        """Send a reply to the topic on which it is awaited."""
        with self._condition:
            self._shared.replies.put(addressed)
            self._shared.woken = True
            self._condition.notify()

    def count_dropped(self, verdict: Verdict = Verdict.NO_ROOM) -> None:
        """A message to this device was thrown away: counted, and told for a while."""
        with self._condition:
            self.counters.inbound_dropped += verdict is Verdict.NO_ROOM
            self.counters.labels_limited += verdict is Verdict.TOO_FAST
            self._flooded_until = self._now() + FLOODED_S

    def stop(self, timeout_s: float) -> None:
        """Send what can be sent within ``timeout_s``, then disconnect in order and end the thread."""
        with self._condition:
            self._shared.stop_at = self._now() + timeout_s
            self._shared.woken = True
            self._condition.notify()
        if self._thread.is_alive():
            self._thread.join(timeout_s + JOIN_S)

    def _run(self) -> None:
        while True:
            try:
                sleep_s = self._step()
                finished = self._finished()
            except Exception:  # a defect of ours must neither end delivery nor spin
                _log.exception("the publisher failed and begins anew")
                self._end_connection("the publisher failed; its log says why")
                finished, sleep_s = self._shared.stop_at is not None, 1.0
            if finished:
                self._link.close()
                self._phase = "down"
                return
            with self._condition:
                if not self._shared.events and not self._shared.woken:
                    self._condition.wait(sleep_s)
                self._shared.woken = False

    def _step(self) -> float | None:
        """Do what is due; how long the thread may sleep."""
        self._handle_events()
        flush_s = self._outbox.flush_if_due()
        self._care_for_connection()
        if self._phase == "up":
            try:
                self._listen(self._now())
                self._publish_retained()
                self._shared.replies.send(self._sender)
                self._sender.publish_stored()
            except LinkError:
                pass  # what was not sent stays where it is; the Closed event follows
        now, deadlines = self._now(), self._deadlines()
        waits = [max(0.0, deadline - now) for deadline in deadlines if deadline is not None]
        return min(waits if flush_s is None else [*waits, flush_s], default=None)

    def _deadlines(self) -> list[float | None]:
        stop_at = self._shared.stop_at
        if self._phase == "down":
            return [self._attempt_at, stop_at]
        if self._phase == "connecting":
            return [self._phase_at + self._connect_timeout_s, stop_at]
        patience = self._sender.answered_at + ACK_WAIT_S
        waiting = stop_at is not None and patience > self._now()
        holds = self._phase_at + STABLE_S if self._short_lived else None
        labels_at = self._listening.labels_again_at
        return [self._sender.deadline, stop_at, holds, labels_at, patience if waiting else None]

    def _finished(self) -> bool:
        stop_at, now = self._shared.stop_at, self._now()
        if stop_at is None:
            return False
        if self._phase == "down" or now >= stop_at:
            return True
        if self._phase == "connecting":
            return not self._shared.dirty
        if self._shared.dirty or self._shared.replies.waiting or self._sender.in_flight:
            return False
        return not self._sender.unconfirmed or now >= self._sender.answered_at + ACK_WAIT_S

    def _care_for_connection(self) -> None:
        now = self._now()
        if self._phase == "connecting" and now >= self._phase_at + self._connect_timeout_s:
            self._end_connection(f"broker {self._broker}: no answer within {self._connect_timeout_s:g} s")
        elif self._phase == "down" and now >= self._attempt_at and self._may_connect(now):
            self._connect(now)
        elif self._phase == "up" and self._short_lived and now >= self._phase_at + STABLE_S:
            self._connection_holds()

    def _may_connect(self, now: float) -> bool:
        """Who stops makes no more attempts, except the first, to say why it stops."""
        stop_at, first = self._shared.stop_at, self.counters.connections == 0
        return stop_at is None or (first and now < stop_at and bool(self._shared.dirty))

    def _connect(self, now: float) -> None:
        self.counters.connections += 1
        self._phase, self._phase_at = "connecting", now
        lost = State(state="lost", connection=self.counters.connections)
        self._link.open(
            self.counters.connections,
            will=self._letterhead.publication(lost, retain=True) if self._speaks_for_device else None,
            topics=[
                self._letterhead.topic(kind) for kind in (INBOUND if self._speaks_for_device else ACKS_ONLY)
            ],
            post=self._post,
        )

    def _end_connection(self, problem: str) -> None:
        self._link.close()
        now = self._now()
        self._shared.replies.connection_lost()
        if self._phase == "up":
            self._short_lived += 1
            if now - self._phase_at >= STABLE_S:
                self._connection_holds()
        if self._short_lived >= FLAPS:
            problem += FLAPPING
        self._phase, self._phase_at = "down", now
        self._attempt_at = now + self._backoff.next_s()
        if problem != self.link_problem:
            _log.warning("%s", problem)
        self.link_problem = problem

    def _connection_holds(self) -> None:
        self._backoff.reset()
        self._short_lived = 0
        self.link_problem = None

    def _publish_retained(self) -> None:
        with self._condition:
            due = {kind: self._shared.retained[kind] for kind in self._shared.dirty}
        for kind, kept in due.items():
            if not self._sender.has_room:
                return  # the next answer brings us here again
            self._sender.publish(kept if isinstance(kept, Publication) else self._birth(*kept))
            with self._condition:
                if self._shared.retained.get(kind) == kept:
                    self._shared.dirty.discard(kind)

    def _birth(self, body: State | About, preprocess: PreprocessInUse | None) -> Publication:
        if isinstance(body, State):
            body = replace(body, connection=self.counters.connections)
        floor = self._outbox.floor(self._outbox.session)
        return self._letterhead.publication(body, retain=True, preprocess=preprocess, floor=floor)

    def _listen(self, now: float) -> None:
        """Hear what else is wanted on this connection; a broker that refuses it is no hindrance."""
        if not self._speaks_for_device:
            return
        birth = self._shared.birth_topic
        self._listening.hear({self._own_state, birth} if birth else {self._own_state})
        self._listening.measure(now, dropped=self.counters.labels_limited)

    def _post(self, event: Event) -> None:
        """In the link's thread."""
        with self._condition:
            verdict = self._shared.events.put(event, self._now())
            if verdict is Verdict.KEPT:
                self._condition.notify()
                return
        self.count_dropped(verdict)

    def _handle_events(self) -> None:
        until = self._now() + EVENTS_S
        for _ in range(EVENTS):
            with self._condition:
                event = self._shared.events.take()
            if event is None:
                return
            if event.connection == self.counters.connections and self._phase != "down":
                self._handle(event)
            if self._now() >= until:
                return

    def _handle(self, event: Event) -> None:
        match event:
            case Connected():
                self._on_connected(event)
            case Closed():
                self.counters.takeovers += event.taken_over
                self._end_connection(event.problem)
            case Answered():
                self._sender.answered(event)
                refused = self._shared.replies.answered(event)
                if refused is not None:
                    self._undelivered(refused)
            case Received():
                self._on_received(event)

    def _on_connected(self, event: Connected) -> None:
        self._phase, self._phase_at = "up", self._now()
        if self._short_lived < FLAPS and self.link_problem is not None:
            _log.info("connected to the broker again")
            self.link_problem = None
        self._sender.begin(event.in_flight)
        self._listening.begin(dropped=self.counters.labels_limited)
        with self._condition:
            self._shared.dirty = set(self._shared.retained)

    def _on_received(self, event: Received) -> None:
        if event.topic == self._own_state:
            self.counters.takeovers += self._rivals.heard(event.payload)
        elif event.topic != self._shared.birth_topic:
            self._reception.take(event)
        elif event.payload != GONE:
            with self._condition:
                self._shared.dirty |= {ANNOUNCEMENT} & self._shared.retained.keys()
