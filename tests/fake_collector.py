"""FakeCollector: a stand-in for the real collector, to see what an agent sends and to answer at will.

It subscribes like the collector does and keeps everything in memory; acknowledging is up to the test
(``acks=True`` acknowledges what arrived without a hole, as the real one does after its commit).
"""

import threading
import time
from dataclasses import dataclass
from typing import Any

import paho.mqtt.client as paho
from broker import Broker, eventually
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from agent.telemetry import wire
from agent.telemetry.messages import KINDS, TOPIC_ROOT, Ack, Body, Envelope, kind_of, schema_name, topic

DEVICE, SITE = "cam-1", "lab"


@dataclass(frozen=True)
class Heard:
    """One message as it came."""

    kind: str
    retained: bool
    envelope: Envelope


class FakeCollector:
    """Connected when constructed; ``heard`` grows from paho's thread."""

    def __init__(self, broker: Broker, *, acks: bool = True, topics: str = f"{TOPIC_ROOT}/+/+/#") -> None:
        self.heard: list[Heard] = []
        self.acks = acks
        self._subscribed = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv311)
        self._client.on_connect = lambda client, *_: client.subscribe(topics, 1)
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._on_message
        self._client.connect(broker.host, broker.port)
        self._client.loop_start()
        eventually(self._subscribed.is_set, what="the fake collector's subscription")

    def of(self, kind: str, *, sequenced: bool = True) -> list[Envelope]:
        """Messages of a kind; ``sequenced``: from an outbox rather than a birth or Will."""
        return [
            heard.envelope
            for heard in list(self.heard)
            if heard.kind == kind and (heard.envelope.seq > 0) == sequenced
        ]

    def seqs(self, session: str) -> list[int]:
        """Every seq that came from the outbox, in order, repetitions included."""
        return [
            heard.envelope.seq
            for heard in list(self.heard)
            if heard.envelope.session == session and heard.envelope.seq > 0
        ]

    def send(self, body: Body, *, retain: bool = False, session: str = "collector") -> None:
        """Publish ``body`` to the device."""
        kind = kind_of(body)
        envelope = Envelope(
            schema=schema_name(kind),
            device=DEVICE,
            site=SITE,
            session=session,
            seq=0,
            sent_at="2026-01-01T00:00:00Z",
            boot_id="",
            clock_synced=False,
            historical=False,
            body=body,
        )
        self.send_bytes(kind, wire.encode(envelope), retain=retain)

    def send_bytes(self, kind: str, payload: bytes, *, retain: bool = False) -> None:
        self._client.publish(topic(SITE, DEVICE, kind), payload, qos=1, retain=retain)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _on_message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        kind = message.topic.rpartition("/")[2]
        if KINDS[kind].inbound or not message.payload:
            return
        envelope = wire.decode(bytes(message.payload), kind=kind)
        self.heard.append(Heard(kind, message.retain, envelope))
        if self.acks and envelope.seq > 0:
            self._acknowledge(envelope)

    def _acknowledge(self, envelope: Envelope) -> None:
        seen, upto = set(self.seqs(envelope.session)), max(0, envelope.floor - 1)
        while upto + 1 in seen:
            upto += 1
        self.send(Ack(acked_session=envelope.session, upto=upto))


def wait_quietly(seconds: float) -> None:
    """Let time pass in which nothing must happen; never used to wait for something that should."""
    time.sleep(seconds)
