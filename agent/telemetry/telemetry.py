"""What the rest of the agent sees of telemetry: emit messages, set the state, read the inbox."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from random import random as uniform

from agent.errors import OutboxError, WireError
from agent.telemetry import wire
from agent.telemetry.backoff import Backoff
from agent.telemetry.clock import format_utc
from agent.telemetry.inbox import Inbox
from agent.telemetry.letterhead import Letterhead, preprocess_to_json
from agent.telemetry.messages import (
    About,
    Body,
    Command,
    DeviceState,
    PreprocessInUse,
    Reply,
    State,
    kind_of,
)
from agent.telemetry.options import MqttOptions, OutboxOptions
from agent.telemetry.ports import Inbound, Link, Outbox, OutboxStats, Publication, Received
from agent.telemetry.publisher import Publisher
from agent.telemetry.replies import Addressed
from agent.telemetry.reply_address import reply_topic, transaction_in
from agent.telemetry.sender import REPLAY_PER_S, Counters

PROBLEMS = 50
"""Most problems in one state; the last of them then says how many more there are."""
PROBLEM_CHARS = 500
NO_COMMANDS = "mqtt.commands is false in agent.yaml: this device takes no commands from the broker"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class TelemetryStats:
    """``problems`` are everything that keeps messages from being kept or from arriving."""

    connected: bool
    counters: Counters
    outbox: OutboxStats
    oldest_age_s: float | None
    problems: tuple[str, ...]

    @property
    def takeovers(self) -> int:
        """Times another client came with this device's identity: a copied card."""
        return self.counters.takeovers


class Telemetry:
    """Safe to call from several threads. The outbox belongs to it from here on and is closed by ``stop``."""

    def __init__(
        self,
        *,
        letterhead: Letterhead,
        outbox: Outbox,
        link: Link,
        mqtt: MqttOptions,
        options: OutboxOptions,
        replay_per_s: float = REPLAY_PER_S,
        random: Callable[[], float] = uniform,
    ) -> None:
        self.inbox = Inbox()
        self._commands = mqtt.commands
        self._letterhead = letterhead
        self._outbox = outbox
        self._preprocess: PreprocessInUse | None = None
        self._state: State | None = None
        self._publisher = Publisher(
            outbox=outbox,
            link=link,
            letterhead=letterhead,
            backoff=Backoff(min_s=mqtt.backoff_min_s, max_s=mqtt.backoff_max_s, random=random),
            broker=mqtt.address,
            connect_timeout_s=mqtt.connect_timeout_s,
            confirm=options.confirm,
            ack_timeout_s=options.ack_timeout_s,
            inbound=self._deliver,
            refused=self._refuse,
            undelivered=self._keep,
            replay_per_s=replay_per_s,
        )

    def start(self) -> None:
        """Begin to connect and to send."""
        self._publisher.start()

    def emit(self, body: Body, *, urgent: bool = False) -> None:
        """Keep ``body`` for delivery; an urgent one is committed to disk at once.

        Raises WireError when the body cannot be sent (not finite, too large) and OutboxError after
        ``stop``.
        """
        text = wire.body_json(body)
        clock, preprocess = self._letterhead.clock, self._preprocess
        self._outbox.append(
            kind_of(body),
            text,
            created_at=format_utc(clock.wall()),
            boot_id=clock.boot_id,
            clock_synced=clock.synced(),
            urgent=urgent,
            preprocess=None if preprocess is None else preprocess_to_json(preprocess),
        )
        self._publisher.wake()

    def set_state(self, state: DeviceState, problems: tuple[str, ...] = ()) -> None:
        """Say what the device can do now: kept like an alarm, and retained on its topic.

        Saying the same again does nothing. Of ``problems`` the first are said, each shortened.
        Raises WireError, and changes nothing, when they cannot be sent.
        """
        problems = _sayable(problems)
        new = State(state=state, connection=self._publisher.counters.connections, problems=problems)
        old = self._state
        if old is not None and (old.state, old.problems) == (state, problems):
            return
        wire.body_json(new)  # what cannot be sent must neither be retained nor count as said
        self._state = new
        self._publisher.retain(new, self._preprocess)
        self.emit(new, urgent=True)

    def set_about(self, about: About) -> None:
        """Say what runs here: retained, and said again after each connect."""
        wire.body_json(about)
        self._publisher.retain(about, self._preprocess)

    def say_state_again(self) -> None:
        """Say state, about and announcement once more on their topics."""
        self._publisher.rebirth()

    def set_preprocess(self, preprocess: PreprocessInUse | None) -> None:
        """Which preprocessing makes the numbers of every message from now on."""
        self._preprocess = preprocess

    def set_announcement(self, publication: Publication | None, *, birth_topic: str | None) -> None:
        """What another application on this broker is told of the device: published now, after each
        connect, and whenever that application says on ``birth_topic`` that it has come. None: nothing
        more; what a retained one left behind goes with an empty retained payload first."""
        self._publisher.announce(publication, birth_topic=birth_topic)

    def reply(self, inbound: Inbound, reply: Reply) -> None:
        """Answer: to the topic its sender named (MQTT 5), else kept for the topic ``reply``.

        An answer that cannot be sent is said to be so; one that comes after ``stop`` is lost.
        """
        self._answer(reply, inbound.reply_to, inbound.correlation)

    def flush(self) -> None:
        """Commit everything that waits to the disk, now."""
        self._outbox.flush()
        self._publisher.wake()

    @property
    def stats(self) -> TelemetryStats:
        outbox = self._outbox.stats
        problems = self._publisher.problems
        return TelemetryStats(
            connected=self._publisher.connected,
            counters=self._publisher.counters,
            outbox=outbox,
            oldest_age_s=None if outbox.oldest is None else self._letterhead.age_s(outbox.oldest),
            problems=problems if outbox.problem is None else (*problems, outbox.problem),
        )

    def stop(self, timeout_s: float) -> None:
        """Say ``stopped``, commit, send what can be sent in time, disconnect, close the outbox."""
        self.set_state("stopped")
        self._publisher.stop(timeout_s)
        self._outbox.close()

    def _deliver(self, inbound: Inbound) -> None:
        body = inbound.body
        if isinstance(body, Command) and not self._commands:
            self.reply(inbound, Reply(transaction=body.transaction, ok=False, problems=(NO_COMMANDS,)))
        elif not self.inbox.offer(inbound):
            self._publisher.count_dropped()

    def _refuse(self, event: Received, problems: tuple[str, ...]) -> None:
        reply = Reply(transaction=transaction_in(event.payload), ok=False, problems=_sayable(problems))
        self._answer(reply, event.response_topic, event.correlation)

    def _answer(self, reply: Reply, asked: str | None, correlation: bytes | None) -> None:
        topic = reply_topic(asked, own=self._letterhead.topic("reply"))
        try:
            wire.body_json(reply)
        except WireError as error:
            said = tuple(f"the answer cannot be sent: {problem}" for problem in error.problems)
            reply = Reply(transaction=None, ok=False, problems=_sayable(said))
        if topic is None:
            self._keep(reply)
            return
        publication = self._letterhead.answer(reply, to=topic, correlation=correlation)
        self._publisher.reply(Addressed(reply=reply, publication=publication))

    def _keep(self, reply: Reply) -> None:
        try:
            self.emit(reply, urgent=True)
        except OutboxError as error:
            _log.warning("a reply was lost: %s", error)


def _sayable(problems: tuple[str, ...]) -> tuple[str, ...]:
    """As many and as long as fit in a message that people read."""
    said = tuple(
        problem if len(problem) <= PROBLEM_CHARS else f"{problem[: PROBLEM_CHARS - 1]}…"
        for problem in problems[:PROBLEMS]
    )
    if len(problems) <= PROBLEMS:
        return said
    return (*said[:-1], f"and {len(problems) - PROBLEMS + 1} more problems")
