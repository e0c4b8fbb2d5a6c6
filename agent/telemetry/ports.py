"""The two things delivery stands between: the outbox that keeps messages, the link that carries them.

A link runs in threads of its own and reports by posting events; nothing it posts is acted on in
its threads. ``connection`` numbers the connections of a session from 1 and marks every event, so
that what an abandoned connection still says is ignored.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

from agent.telemetry.messages import Envelope


@dataclass(frozen=True, kw_only=True, slots=True)
class Stored:
    """A message as the outbox keeps it. ``id`` orders messages over all sessions, oldest lowest.

    ``body`` and ``preprocess`` are JSON; ``created_s`` is the monotonic clock of boot ``boot_id``.
    """

    id: int
    session: str
    seq: int
    kind: str
    body: str
    created_at: str
    created_s: float
    boot_id: str
    clock_synced: bool
    preprocess: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class OutboxStats:
    """What the outbox holds now, and what became of it since the session began."""

    messages: int
    bytes: int
    pending: int
    """Messages not yet on disk."""
    committed_seq: int
    """Every message of this session up to this seq reached the disk."""
    evicted: int
    """Dropped, unconfirmed, to keep within ``max_bytes``."""
    set_aside: int
    """Damaged databases put aside so far."""
    oldest: Stored | None
    problem: str | None


class Outbox(Protocol):
    """Durable and bounded; safe to call from several threads. See ``telemetry.outbox``."""

    def append(
        self,
        kind: str,
        body_json: str,
        *,
        created_at: str,
        boot_id: str,
        clock_synced: bool,
        urgent: bool,
        preprocess: str | None = None,
    ) -> int: ...

    def peek(self, after_id: int, limit: int) -> Sequence[Stored]: ...

    def acknowledge(self, session: str, upto: int) -> int: ...

    def delete(self, ids: Iterable[int]) -> None: ...

    def floor(self, session: str) -> int: ...

    def flush(self) -> None: ...

    def flush_if_due(self) -> float | None: ...

    def close(self) -> None: ...

    @property
    def session(self) -> str: ...

    @property
    def last_id(self) -> int: ...

    @property
    def epoch(self) -> int: ...

    @property
    def stats(self) -> OutboxStats: ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Publication:
    """One message for the broker, always QoS 1. What MQTT 3.1.1 cannot say is left out there."""

    topic: str
    payload: bytes
    retain: bool = False
    correlation: bytes | None = None
    """The correlation data of the request that this answers (MQTT 5)."""
    expiry_s: int | None = None
    """After so long without delivery the broker may forget it (MQTT 5)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Connected:
    """The broker accepted the connection and every subscription; it takes ``in_flight`` at once."""

    connection: int
    in_flight: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Closed:
    """The connection failed or ended; ``problem`` says why in one readable line.

    ``taken_over``: the broker says that another client came with this device's id.
    """

    connection: int
    problem: str
    taken_over: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """The broker's word on one publication. ``unheard``: taken, but nobody subscribes."""

    connection: int
    token: int
    outcome: Literal["taken", "unheard", "refused"]
    reason: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Received:
    """A message for this device. Where and with what to answer is said by MQTT 5 only."""

    connection: int
    topic: str
    payload: bytes
    retained: bool
    response_topic: str | None = None
    correlation: bytes | None = None


Event: TypeAlias = Connected | Closed | Answered | Received


@dataclass(frozen=True, kw_only=True, slots=True)
class Inbound:
    """A readable message to this device, and where whoever sent it wants the answer.

    ``reply_to`` None: on the device's topic ``reply``.
    """

    envelope: Envelope
    reply_to: str | None = None
    correlation: bytes | None = None
    size: int = 0
    """Bytes of its payload."""

    @property
    def body(self) -> Any:
        return self.envelope.body


class LinkError(Exception):
    """There is no connection to publish on; a ``Closed`` event says or will say why."""


class Link(Protocol):
    """The way to the broker. It neither reconnects by itself nor keeps messages."""

    def open(
        self,
        connection: int,
        *,
        will: Publication | None,
        topics: Sequence[str],
        post: Callable[[Event], None],
    ) -> None:
        """Begin to connect and return at once; ``Connected`` or ``Closed`` follows.

        ``will`` is what the broker publishes when the connection ends out of order, if anything.
        """
        ...

    def publish(self, publication: Publication) -> int:
        """Hand over one publication; the token that its ``Answered`` will carry. Raises LinkError."""
        ...

    def subscribe(self, topic: str, *, kept: bool = False) -> None:
        """Hear one more topic on this connection, as far as the broker allows. Raises LinkError.

        ``kept``: as those of ``open``, what comes there while the device is away waits at the broker.
        """
        ...

    def unsubscribe(self, topic: str) -> None:
        """Hear it no longer. Raises LinkError."""
        ...

    def close(self) -> None:
        """End the connection in order (the broker discards the will); no event of it follows."""
        ...
