"""Requester: whoever sends commands with MQTT 5's response topic and correlation data, and reads replies."""

import threading
from dataclasses import dataclass
from typing import Any

import paho.mqtt.client as paho
from broker import Broker, eventually
from devices import DEVICE, SITE
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from agent.telemetry import wire
from agent.telemetry.messages import Command, Envelope, Reply, schema_name, topic


@dataclass(frozen=True)
class Answer:
    """One reply as it came."""

    topic: str
    correlation: bytes | None
    envelope: Envelope

    @property
    def reply(self) -> Reply:
        body = self.envelope.body
        assert isinstance(body, Reply)
        return body


def command_payload(command: Command, *, device: str = DEVICE, site: str = SITE) -> bytes:
    return wire.encode(
        Envelope(
            schema=schema_name("command"),
            device=device,
            site=site,
            session="requester",
            seq=0,
            sent_at="2026-01-01T00:00:00Z",
            boot_id="",
            clock_synced=False,
            historical=False,
            body=command,
        )
    )


class Requester:
    """Connected and subscribed to ``answers`` when constructed."""

    def __init__(self, broker: Broker, *, answers: str = "answers/me") -> None:
        self.answers: list[Answer] = []
        self._topic = answers
        self._subscribed = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        self._client.on_connect = lambda client, *_: client.subscribe(answers, 1)
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._on_message
        self._client.connect(broker.host, broker.port)
        self._client.loop_start()
        eventually(self._subscribed.is_set, what="the requester's subscription")

    def ask(self, command: Command, *, correlation: bytes | None = None, **how: Any) -> None:
        self.send(command_payload(command), correlation=correlation, **how)

    def send(
        self,
        payload: bytes,
        *,
        correlation: bytes | None = None,
        response_topic: str | None = None,
        retain: bool = False,
    ) -> None:
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho leaves it untyped
        properties.ResponseTopic = self._topic if response_topic is None else response_topic
        if correlation is not None:
            properties.CorrelationData = correlation
        self._client.publish(topic(SITE, DEVICE, "command"), payload, 1, retain, properties)

    def publish(self, place: str, payload: bytes, *, retain: bool = False) -> None:
        self._client.publish(place, payload, 1, retain)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        envelope = wire.decode(bytes(message.payload), kind="reply")
        correlation = getattr(message.properties, "CorrelationData", None)
        self.answers.append(Answer(message.topic, correlation, envelope))
