"""The collector as its own process, as operators run it, and a client that plays the devices."""

import signal
import subprocess
from pathlib import Path
from typing import Any, ClassVar

import paho.mqtt.client as mqtt
import pytest
from broker import Broker, eventually
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from agent.telemetry import wire
from agent.telemetry.messages import Envelope, kind_of, topic
from tools.cli import LITEWATCH

# An environment for the device alone has no SQLAlchemy.
pytest.importorskip("sqlalchemy", reason="skipped: no SQLAlchemy (extra collector)")

ROOT = Path(__file__).resolve().parent.parent


def version_of(broker: Broker) -> str:
    return "3.1.1" if broker.kind == "amqtt" else "5"


class Collecting:
    """A ``litewatch collect`` that has been started; ``ready`` waits until it is subscribed."""

    started: ClassVar[list["Collecting"]] = []
    """All of them, so that a test that fails leaves none behind."""

    def __init__(self, folder: Path, broker: Broker, *options: str, version: str | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.database = folder / "collector.db"
        self._log = folder / f"collect-{len(list(folder.glob('collect-*')))}.log"
        chosen = ("--mqtt", f"{broker.host}:{broker.port}", "--mqtt-version", version or version_of(broker))
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [*LITEWATCH, "collect", "--db", str(self.database), *chosen, *options],
                cwd=ROOT,
                stderr=log,
                stdout=log,
            )
        self.started.append(self)

    def said(self) -> str:
        return self._log.read_text()

    def hears(self, text: str) -> "Collecting":
        """Wait until a line of the collector holds ``text``."""
        eventually(lambda: text in self.said() or self.process.poll() is not None, what=text)
        assert text in self.said()
        return self

    def ready(self) -> "Collecting":
        return self.hears("collecting from")

    def kill9(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> str:
        """SIGTERM; what it said last. It must end by itself, without an error."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(20) == 0, self.said()
        return self.said().splitlines()[-1]


class Devices:
    """Publishes what it is told to, as any device, and keeps the acks it is given."""

    def __init__(self, broker: Broker) -> None:
        self.acked: dict[str, int] = {}
        self.acks = 0
        self._confirmed = 0
        protocol = MQTTProtocolVersion.MQTTv311 if broker.kind == "amqtt" else MQTTProtocolVersion.MQTTv5
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=protocol)
        self.client.on_connect = lambda client, *_: client.subscribe("litewatch/1/+/+/ack", 1)
        self.client.on_message = self._heard
        subscribed: list[Any] = []
        self.client.on_subscribe = lambda *_: subscribed.append(1)
        self.client.connect(broker.host, broker.port)
        self.client.loop_start()
        eventually(lambda: subscribed, what="the devices' client is subscribed")

    def send(self, *messages: Envelope, retain: bool = False) -> None:
        for message in messages:
            place = topic(message.site, message.device, kind_of(message.body))
            self.raw(place, wire.encode(message), retain=retain)

    def raw(self, place: str, payload: bytes, *, retain: bool = False) -> None:
        """Publish; returns when the broker has it."""
        self.client.publish(place, payload, qos=1, retain=retain).wait_for_publish(20)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def _heard(self, _client: mqtt.Client, _userdata: Any, message: mqtt.MQTTMessage) -> None:
        ack = wire.decode(message.payload, kind="ack")
        assert message.topic == topic(ack.site, ack.device, "ack") and ack.seq == 0
        # Cumulative; of two collectors in a group the slower may still say less.
        self.acked[ack.body.acked_session] = max(ack.body.upto, self.acked.get(ack.body.acked_session, 0))
        self.acks += 1
