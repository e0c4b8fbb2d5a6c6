"""A device's telemetry against a real broker, as the agent's service puts it together."""

import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from broker import Broker

from agent.telemetry.clock import Clock
from agent.telemetry.identity import new_session
from agent.telemetry.letterhead import Letterhead
from agent.telemetry.mqtt import MqttLink
from agent.telemetry.options import MqttOptions, OutboxOptions
from agent.telemetry.outbox import Outbox
from agent.telemetry.telemetry import Telemetry

DEVICE, SITE = "cam-1", "lab"


def make_clock(**changes: Any) -> Clock:
    usual: dict[str, Any] = {
        "wall": time.time,
        "monotonic": time.monotonic,
        "boot_id": "boot-1",
        "synced": lambda: True,
    }
    return Clock(**usual | changes)


class Device:
    """One run of an agent's telemetry; a second on the same directory is the next run."""

    def __init__(
        self,
        directory: Path,
        broker: Broker,
        *,
        clock: Clock | None = None,
        outbox: dict[str, Any] | None = None,
        outbox_clock: Callable[[], float] = time.monotonic,
        replay_per_s: float = 1000.0,
        **mqtt: Any,
    ) -> None:
        version = "3.1.1" if broker.kind == "amqtt" else "5"
        place: dict[str, Any] = {"host": broker.host, "port": broker.port, "version": version}
        quick: dict[str, Any] = {"backoff_min_s": 0.05, "backoff_max_s": 0.2}
        often: dict[str, Any] = {"flush_interval_s": 0.1, "ack_timeout_s": 2.0}
        self.session = new_session()
        self.mqtt = MqttOptions(**place | quick | mqtt)
        options = OutboxOptions(**often | (outbox or {}))
        letterhead = Letterhead(device=DEVICE, site=SITE, session=self.session, clock=clock or make_clock())
        self.outbox = Outbox(
            directory / "outbox.db",
            session=self.session,
            max_bytes=options.max_bytes,
            flush_interval_s=options.flush_interval_s,
            clock=outbox_clock,
        )
        self.link = MqttLink(self.mqtt, client_id=f"litewatch-{SITE}-{DEVICE}")
        self.telemetry = Telemetry(
            letterhead=letterhead,
            outbox=self.outbox,
            link=self.link,
            mqtt=self.mqtt,
            options=options,
            replay_per_s=replay_per_s,
        )
        self.telemetry.start()

    def cut(self) -> None:
        """Tear the connection as a network does: no farewell."""
        assert self.link._connection is not None
        wire = self.link._connection._client.socket()
        assert isinstance(wire, socket.socket)
        wire.shutdown(socket.SHUT_RDWR)

    @property
    def held(self) -> int:
        """Messages in the outbox."""
        return self.telemetry.stats.outbox.messages
