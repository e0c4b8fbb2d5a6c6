"""The sections ``mqtt`` and ``outbox`` of agent.yaml. Paths are not opened here."""

import math
from dataclasses import dataclass
from typing import Literal

from agent.telemetry.messages import IDENTIFIER_LENGTH

MQTT_PORT, MQTT_TLS_PORT = 1883, 8883


@dataclass(frozen=True, kw_only=True, slots=True)
class TlsOptions:
    """Encryption of the connection to the broker."""

    ca: str | None = None
    """File of the authorities trusted to sign the broker's certificate; default: the system's."""
    certificate: str | None = None
    """File of this device's own certificate, where the broker asks for one."""
    key: str | None = None
    """File of the private key of ``certificate``."""

    def problems(self, root: str = "mqtt.tls") -> tuple[str, ...]:
        if self.key is not None and self.certificate is None:
            return (f"{root}.key: needs {root}.certificate",)
        if self.certificate is not None and self.key is None:
            return (f"{root}.certificate: needs {root}.key",)
        return ()


@dataclass(frozen=True, kw_only=True, slots=True)
class HomeAssistantOptions:
    """Announces the device to Home Assistant on the same broker."""

    enabled: bool = False
    prefix: str = "homeassistant"
    """Home Assistant's discovery prefix."""

    def problems(self, root: str = "mqtt.home_assistant") -> tuple[str, ...]:
        bad = not self.prefix or any(char in "+#" for char in self.prefix) or self.prefix.startswith("$")
        return (f"{root}.prefix: must be a topic without wildcards, got {self.prefix!r}",) if bad else ()


@dataclass(frozen=True, kw_only=True, slots=True)
class MqttOptions:
    """How to reach the MQTT broker."""

    host: str = "localhost"
    port: int | None = None
    """Default: 1883, or 8883 with ``tls``."""
    version: Literal["5", "3.1.1", 5] = "5"
    """The MQTT version; 3.1.1 cannot report messages a broker refuses."""
    username: str | None = None
    password_file: str | None = None
    """File whose first line is the password; it is read at each connection."""
    tls: TlsOptions | None = None
    client_id: str | None = None
    """Default: litewatch-<site>-<device>."""
    keepalive_s: int = 30
    connect_timeout_s: float = 10.0
    backoff_min_s: float = 1.0
    """The first wait after a lost connection is drawn between 0 and this; it doubles each time."""
    backoff_max_s: float = 120.0
    in_flight: int = 20
    """Messages sent to the broker and not yet acknowledged by it."""
    commands: bool = True
    """Whether the device takes commands from the broker."""
    home_assistant: HomeAssistantOptions = HomeAssistantOptions()

    @property
    def tcp_port(self) -> int:
        return self.port if self.port is not None else MQTT_TLS_PORT if self.tls else MQTT_PORT

    @property
    def address(self) -> str:
        return f"{self.host}:{self.tcp_port}"

    def problems(self, root: str = "mqtt") -> tuple[str, ...]:
        """Every value out of range, by its dotted path."""
        found = [
            _range(f"{root}.port", self.tcp_port, 1, 65_535),
            _range(f"{root}.keepalive_s", self.keepalive_s, 5, 3_600),
            _range(f"{root}.connect_timeout_s", self.connect_timeout_s, 0.1, 120),
            _range(f"{root}.backoff_min_s", self.backoff_min_s, 0.01, 60),
            _range(f"{root}.backoff_max_s", self.backoff_max_s, self.backoff_min_s, 3_600),
            _range(f"{root}.in_flight", self.in_flight, 1, 1_000),
        ]
        if not self.host.strip():
            found.append(f"{root}.host: must not be empty")
        if self.password_file is not None and self.username is None:
            found.append(f"{root}.password_file: needs {root}.username")
        if self.client_id is not None and not 1 <= len(self.client_id.encode()) <= 2 * IDENTIFIER_LENGTH:
            found.append(f"{root}.client_id: expected 1 to {2 * IDENTIFIER_LENGTH} bytes")
        tls = self.tls.problems(f"{root}.tls") if self.tls else ()
        home = self.home_assistant.problems(f"{root}.home_assistant")
        return (*(problem for problem in found if problem), *tls, *home)


@dataclass(frozen=True, kw_only=True, slots=True)
class OutboxOptions:
    """Where messages wait until the collector has them."""

    path: str | None = None
    """The database file; default: outbox.db in the agent's state directory."""
    max_bytes: int = 64 * 1024 * 1024
    """Beyond this the oldest messages are dropped, alarms last."""
    flush_interval_s: float = 120.0
    """How often ordinary messages are committed to disk; alarms and state changes are at once."""
    confirm: Literal["collector", "broker"] = "collector"
    """Whose word deletes a message: the collector's, after its own commit, or only the broker's."""
    ack_timeout_s: float = 60.0
    """Unconfirmed messages are sent again after this; it grows while nobody answers."""
    replay_per_s: float = 20.0
    """What waited more than ten minutes goes out no faster."""

    def problems(self, root: str = "outbox") -> tuple[str, ...]:
        """Every value out of range, by its dotted path."""
        found = (
            _range(f"{root}.max_bytes", self.max_bytes, 1024 * 1024, 2**40),
            _range(f"{root}.flush_interval_s", self.flush_interval_s, 0.1, 3_600),
            _range(f"{root}.ack_timeout_s", self.ack_timeout_s, 1, 3_600),
            _range(f"{root}.replay_per_s", self.replay_per_s, 0.1, 10_000),
        )
        return tuple(problem for problem in found if problem)


def _range(path: str, value: float, low: float, high: float) -> str | None:
    if math.isfinite(value) and low <= value <= high:
        return None
    return f"{path}: expected {low:g} to {high:g}, got {value:g}"
