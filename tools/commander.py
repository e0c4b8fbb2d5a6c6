"""Sending one command to one device over the broker, and waiting for its reply.

The reply is awaited on the device's own topic ``reply``, which whoever may send commands may read; it
is known by its correlation data (MQTT 5) or its transaction (3.1.1).
"""

import queue
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import paho.mqtt.client as paho
from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from agent.errors import MachineError, WireError
from agent.telemetry import wire
from agent.telemetry.clock import format_utc
from agent.telemetry.identity import new_session
from agent.telemetry.messages import UNSEQUENCED, Command, Envelope, Reply, schema_name, topic
from agent.telemetry.options import MqttOptions
from tools.collector.client import REFUSED, connect_later, make_client, why_unreachable

NOBODY = 0x10
"""The broker took the message, and no agent is subscribed to it."""


def command_device(
    options: MqttOptions, *, site: str, device: str, command: str, arguments: dict[str, Any], wait_s: float
) -> Reply:
    """What the device answers. Raises WireError for a command that cannot be sent, MachineError when
    broker or device do not answer: then the command, if it is still on its way, expires (MQTT 5)."""
    transaction = uuid4().hex
    payload = _payload(site, device, Command(command=command, arguments=arguments, transaction=transaction))
    asking = _Asking(options, answers=topic(site, device, "reply"), transaction=transaction, wait_s=wait_s)
    try:
        return asking.ask(topic(site, device, "command"), payload, device=f"{site}/{device}")
    finally:
        asking.close()


class _Asking:
    """One connection, one question."""

    def __init__(self, options: MqttOptions, *, answers: str, transaction: str, wait_s: float) -> None:
        self._address = options.address
        self._answers = answers
        self._transaction = transaction
        self._wait_s = wait_s
        self._told: queue.SimpleQueue[Reply | MachineError | None] = queue.SimpleQueue()
        self._client = client = make_client(options, client_id="", persistent=False)
        client.on_connect = self._on_connect
        client.on_connect_fail = lambda *_: self._fail(f"cannot be reached: {why_unreachable()}")
        client.on_disconnect = lambda _c, _u, _f, reason, _p: self._fail(f"closed the connection ({reason})")
        client.on_subscribe = self._on_subscribe
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        connect_later(client, options, session_expiry_s=0, receive_maximum=10)
        client.loop_start()

    def ask(self, place: str, payload: bytes, *, device: str) -> Reply:
        self._await(f"{self._address}: no answer within {self._wait_s:g} s")
        self._client.publish(place, payload, qos=1, properties=self._how())
        reply = self._await(f"{device}: no reply within {self._wait_s:g} s")
        assert reply is not None
        return reply

    def close(self) -> None:
        self._client.on_disconnect = None
        self._client.disconnect()
        self._client.loop_stop()

    def _how(self) -> Properties | None:
        if self._client.protocol != MQTTProtocolVersion.MQTTv5:
            return None
        how = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho leaves it untyped
        how.ResponseTopic = self._answers
        how.CorrelationData = self._transaction.encode()
        how.MessageExpiryInterval = max(1, round(self._wait_s))
        return how

    def _await(self, otherwise: str) -> Reply | None:
        try:
            told = self._told.get(timeout=self._wait_s)
        except queue.Empty:
            raise MachineError(otherwise) from None
        if isinstance(told, MachineError):
            raise told
        return told

    def _fail(self, why: str) -> None:
        self._told.put(MachineError(f"{self._address}: {why}"))

    def _on_connect(
        self, client: paho.Client, _data: Any, _flags: Any, reason: Any, _properties: Any
    ) -> None:
        if reason.value >= REFUSED:
            self._fail(str(reason))
        else:
            client.subscribe(self._answers, 1)

    def _on_subscribe(
        self, _client: paho.Client, _data: Any, _mid: int, reasons: Any, _properties: Any
    ) -> None:
        if any(reason.value >= REFUSED for reason in reasons):
            self._fail(f"refuses to let this client read {self._answers}")
        else:
            self._told.put(None)

    def _on_publish(self, _client: paho.Client, _data: Any, _mid: int, reason: Any, _properties: Any) -> None:
        if reason.value >= REFUSED:
            self._fail(f"refuses the command: {reason}")
        elif reason.value == NOBODY:
            self._fail("no agent of that name is subscribed; the command was not delivered")

    def _on_message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        try:
            envelope = wire.decode(bytes(message.payload), kind="reply")
        except WireError:
            return
        ours = getattr(message.properties, "CorrelationData", None) == self._transaction.encode()
        if ours or envelope.body.transaction == self._transaction:
            self._told.put(envelope.body)


def _payload(site: str, device: str, command: Command) -> bytes:
    return wire.encode(
        Envelope(
            schema=schema_name("command"),
            device=device,
            site=site,
            session=new_session(),
            seq=UNSEQUENCED,
            sent_at=format_utc(datetime.now(UTC).timestamp()),
            boot_id="",
            clock_synced=False,
            historical=False,
            body=command,
        )
    )
