"""The collector's side of the broker: what arrives goes into a bounded queue, acks go out.

Nothing is acknowledged to the broker until ``confirm`` says so. Should the queue be full, the
network thread waits, which holds back the broker (MQTT 5: at most ``RECEIVE_MAXIMUM`` messages on
their way), and with it nobody's memory but its own.

In a group, collectors on one database share the numbered messages; each hears every birth and Will
itself, because shared subscriptions carry no retained messages and promise no order.
"""

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import paho.mqtt.client as mqtt
from paho.mqtt.subscribeoptions import SubscribeOptions

from agent.telemetry import wire
from agent.telemetry.messages import KINDS, TOPIC_ROOT, UNSEQUENCED, Ack, Envelope, schema_name, topic
from agent.telemetry.options import MqttOptions
from tools.collector.admission import stamp
from tools.collector.client import REFUSED, connect_later, expiring, make_client, why_unreachable
from tools.collector.inbox import Inbound, Inbox
from tools.collector.progress import AckDue

RECEIVE_MAXIMUM = 2000
"""Messages the broker may have on the way to us, unacknowledged; beyond that it queues (1,000 by default)."""
SESSION_EXPIRY_S = 7 * 24 * 3600
ACK_EXPIRY_S = 60
TAKEN_OVER = 0x8E
_POLL_S = 0.2


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """One line of what the collector does. ``event`` names it for machines."""

    event: str
    text: str
    site: str = ""
    device: str = ""


class Subscriber:
    """A client that connects, again and again, until closed. ``on_event`` is called from its thread.

    ``dropped`` counts the unconfirmed (QoS 0) messages the queue had no room for. Raises InputError
    when a password or certificate cannot be read.
    """

    def __init__(
        self,
        options: MqttOptions,
        *,
        client_id: str,
        on_event: Callable[[Event], None],
        group: str | None = None,
        persistent: bool = True,
    ) -> None:
        self.dropped = 0
        self._address = options.address
        self._group = group
        self._on_event = on_event
        self._inbox = Inbox()
        self._closing = threading.Event()
        self._connection = 0
        self._announced = 0
        self._complained = ""
        self._client = make_client(options, client_id=client_id, persistent=persistent, manual_ack=True)
        self._client.on_connect = self._connected
        self._client.on_connect_fail = self._unreachable
        self._client.on_disconnect = self._disconnected
        self._client.on_subscribe = self._subscribed
        self._client.on_message = self._received
        expiry = SESSION_EXPIRY_S if persistent else 0
        connect_later(self._client, options, session_expiry_s=expiry, receive_maximum=RECEIVE_MAXIMUM)

    def open(self) -> None:
        self._client.loop_start()

    def refresh(self) -> None:
        """Hear every retained state and about again: a broker under load may have dropped one."""
        if self._client.is_connected():
            self._client.subscribe(self._subscriptions())

    def close(self) -> None:
        self._closing.set()
        self._client.disconnect()
        self._client.loop_stop()

    def take(self, limit: int, *, timeout_s: float = _POLL_S) -> list[Inbound]:
        """What has gathered, at most ``limit``; waits for the first."""
        return self._inbox.take(limit, timeout_s=timeout_s)

    def confirm(self, batch: Iterable[Inbound]) -> None:
        """Tell the broker that these need not be sent again."""
        for message in batch:
            # A packet id means nothing on another connection; the broker sends those again anyway.
            if message.qos and message.connection == self._connection:
                self._client.ack(message.mid, message.qos)

    def acknowledge(self, due: AckDue) -> None:
        """Tell a device how far it may delete; while not connected it is told when it sends again."""
        if not self._client.is_connected():
            return
        envelope = Envelope(
            schema=schema_name("ack"),
            device=due.device,
            site=due.site,
            session=due.session,
            seq=UNSEQUENCED,
            sent_at=stamp(datetime.now(UTC)),
            boot_id="",
            clock_synced=False,
            historical=False,
            body=Ack(acked_session=due.session, upto=due.upto),
        )
        place = topic(due.site, due.device, "ack")
        properties = expiring(self._client, ACK_EXPIRY_S)
        self._client.publish(place, wire.encode(envelope), qos=1, properties=properties)

    def _received(self, _client: mqtt.Client, _userdata: Any, message: mqtt.MQTTMessage) -> None:
        try:
            place = message.topic
        except UnicodeDecodeError:
            place = "(a topic that is not UTF-8)"
        inbound = Inbound(
            topic=place,
            payload=bytes(message.payload),
            retained=message.retain,
            mid=message.mid,
            qos=message.qos,
            connection=self._connection,
            received_at=stamp(datetime.now(UTC)),
        )
        # Whoever sends without confirmation cannot be held back, nor may fill the others' room.
        while not self._inbox.put(inbound, timeout_s=_POLL_S if message.qos else 0):
            if self._closing.is_set():
                return
            if not message.qos:
                self.dropped += 1
                return

    def _connected(
        self, client: mqtt.Client, _userdata: Any, _flags: Any, reason: Any, _properties: Any
    ) -> None:
        if reason.is_failure:
            self._complain(f"{self._address} refuses: {reason}; trying again")
            return
        self._connection += 1
        client.subscribe(self._subscriptions())

    def _subscriptions(self) -> Any:
        filters = [f"{TOPIC_ROOT}/+/+/#"]
        if self._group is not None:
            kinds = {kind: about.retained for kind, about in KINDS.items() if not about.inbound}
            filters = [
                f"{TOPIC_ROOT}/+/+/{kind}" if retained else f"$share/{self._group}/{TOPIC_ROOT}/+/+/{kind}"
                for kind, retained in kinds.items()
            ]
        if self._client.protocol != mqtt.MQTTv5:
            return [(one, 1) for one in filters]
        # Our own acks need not come back; for shared subscriptions the standard forbids the option.
        return [(one, SubscribeOptions(qos=1, noLocal=not one.startswith("$share/"))) for one in filters]

    def _subscribed(
        self, _client: mqtt.Client, _userdata: Any, _mid: int, reasons: Any, _properties: Any
    ) -> None:
        refused = sorted({str(reason) for reason in reasons if reason.value >= REFUSED})
        if refused:
            self._complain(f"{self._address} refuses the subscription: {', '.join(refused)}")
            return
        self._complained = ""
        if self._announced == self._connection:
            return
        self._announced = self._connection
        shared = f" in group {self._group}" if self._group else ""
        self._on_event(Event(event="subscribed", text=f"collecting from {self._address}{shared}"))

    def _disconnected(
        self, _client: mqtt.Client, _userdata: Any, _flags: Any, reason: Any, _properties: Any
    ) -> None:
        if self._closing.is_set():
            return
        if reason.value == TAKEN_OVER:
            self._complain(f"another client took our id over at {self._address}: give --client-id")
        else:
            self._complain(f"lost {self._address} ({reason}); trying again")

    def _unreachable(self, _client: mqtt.Client, _userdata: Any) -> None:
        self._complain(f"{self._address} cannot be reached: {why_unreachable()}; trying again")

    def _complain(self, text: str) -> None:
        """Each trouble once, until something else happens."""
        if text != self._complained:
            self._complained = text
            self._on_event(Event(event="broker", text=text))
