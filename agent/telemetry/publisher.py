"""The thread that empties the outbox: it alone connects, publishes, and acts on what comes back.

It sleeps on a condition until a message is committed, the link reports something, or the next
deadline comes (a commit, a reconnect, an overdue confirmation); it never polls.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

from agent.errors import WireError
from agent.telemetry import wire
from agent.telemetry.backoff import Backoff
from agent.telemetry.letterhead import Letterhead
from agent.telemetry.messages import KINDS, About, Ack, Envelope, PreprocessInUse, State, kind_of
from agent.telemetry.ports import Answered, Closed, Connected, Event, Link, LinkError, Outbox, Received
from agent.telemetry.sender import Counters, Sender

INBOUND = tuple(kind for kind, about in KINDS.items() if about.inbound)
STABLE_S = 10.0
"""A connection that lasted this long clears the backoff."""
FLAPS = 3
"""So many shorter ones in a row are a trouble of their own. Some brokers do not say that another
client took the connection over; a copied card shows itself only by this."""
FLAPPING = "; connections end at once again and again: is the device.id (or a copied card) used twice?"
ACK_WAIT_S = 1.0
"""At the end, how long to wait for the collector once the broker has everything."""
JOIN_S = 5.0

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Shared:
    """What other threads hand over, under the condition."""

    events: deque[Event] = field(default_factory=deque)
    retained: dict[str, tuple[State | About, PreprocessInUse | None]] = field(default_factory=dict)
    dirty: set[str] = field(default_factory=set)
    woken: bool = False
    stop_at: float | None = None


class Publisher:
    """``inbound`` is called from this thread with each message to the device that is no ack.

    ``broker`` is its address, for people to read. ``speaks_for_device``: whether the end of its
    connection means that the device is lost.
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
        inbound: Callable[[Envelope], None],
        speaks_for_device: bool = True,
    ) -> None:
        self.counters = Counters()
        self.link_problem: str | None = None
        self._outbox = outbox
        self._link = link
        self._letterhead = letterhead
        self._backoff = backoff
        self._broker = broker
        self._connect_timeout_s = connect_timeout_s
        self._inbound = inbound
        self._speaks_for_device = speaks_for_device
        self._sender = Sender(
            outbox=outbox,
            link=link,
            letterhead=letterhead,
            confirm=confirm,
            ack_timeout_s=ack_timeout_s,
            counters=self.counters,
        )
        self._now = letterhead.clock.monotonic
        self._phase: Literal["down", "connecting", "up"] = "down"
        self._phase_at = self._attempt_at = self._now()
        self._short_lived = 0
        self._shared = _Shared()
        self._condition = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="litewatch-publisher", daemon=True)

    @property
    def connected(self) -> bool:
        return self._phase == "up"

    @property
    def problems(self) -> tuple[str, ...]:
        """What keeps messages from arriving, each in one readable line."""
        link = self.link_problem
        return (*((link,) if link else ()), *self._sender.problems)

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
                self._publish_retained()
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
        return [self._sender.deadline, stop_at, holds, patience if waiting else None]

    def _finished(self) -> bool:
        stop_at, now = self._shared.stop_at, self._now()
        if stop_at is None:
            return False
        if self._phase != "up" or now >= stop_at:
            return True
        if self._shared.dirty or self._sender.in_flight:
            return False
        return not self._sender.unconfirmed or now >= self._sender.answered_at + ACK_WAIT_S

    def _care_for_connection(self) -> None:
        now = self._now()
        if self._phase == "connecting" and now >= self._phase_at + self._connect_timeout_s:
            self._end_connection(f"broker {self._broker}: no answer within {self._connect_timeout_s:g} s")
        elif self._phase == "down" and now >= self._attempt_at and self._shared.stop_at is None:
            self._connect(now)
        elif self._phase == "up" and self._short_lived and now >= self._phase_at + STABLE_S:
            self._connection_holds()

    def _connect(self, now: float) -> None:
        self.counters.connections += 1
        self._phase, self._phase_at = "connecting", now
        lost = State(state="lost", connection=self.counters.connections)
        self._link.open(
            self.counters.connections,
            will=self._letterhead.publication(lost, retain=True) if self._speaks_for_device else None,
            topics=[self._letterhead.topic(kind) for kind in INBOUND],
            post=self._post,
        )

    def _end_connection(self, problem: str) -> None:
        self._link.close()
        now = self._now()
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
        for kind, (body, preprocess) in due.items():
            if not self._sender.has_room:
                return  # the next answer brings us here again
            if isinstance(body, State):
                body = replace(body, connection=self.counters.connections)
            floor = self._outbox.floor(self._outbox.session)
            publication = self._letterhead.publication(body, retain=True, preprocess=preprocess, floor=floor)
            self._sender.publish(publication, kind)
            with self._condition:
                if self._shared.retained[kind] == due[kind]:
                    self._shared.dirty.discard(kind)

    def _post(self, event: Event) -> None:
        with self._condition:
            self._shared.events.append(event)
            self._condition.notify()

    def _handle_events(self) -> None:
        while True:
            with self._condition:
                if not self._shared.events:
                    return
                event = self._shared.events.popleft()
            if event.connection == self.counters.connections and self._phase != "down":
                self._handle(event)

    def _handle(self, event: Event) -> None:
        match event:
            case Connected():
                self._on_connected(event)
            case Closed():
                self._end_connection(event.problem)
            case Answered():
                self._sender.answered(event)
            case Received():
                self._on_received(event)

    def _on_connected(self, event: Connected) -> None:
        self._phase, self._phase_at = "up", self._now()
        if self._short_lived < FLAPS and self.link_problem is not None:
            _log.info("connected to the broker again")
            self.link_problem = None
        self._sender.begin(event.in_flight)
        with self._condition:
            self._shared.dirty = set(self._shared.retained)

    def _on_received(self, event: Received) -> None:
        kind = event.topic.rpartition("/")[2]
        try:
            if kind not in INBOUND:
                raise WireError("topic: no message for a device")
            if event.retained:
                raise WireError(f"{kind}: retained messages to a device are ignored")
            envelope = wire.decode(event.payload, kind=kind)
            if not isinstance(envelope.body, Ack):
                self._inbound(envelope)
            elif not self._sender.acknowledged(envelope.body):
                raise WireError(f"ack: upto {envelope.body.upto} was never sent")
        except WireError as error:
            self.counters.inbound_refused += 1
            _log.info("ignored a message on %s: %s", event.topic, error)
