"""Encoded images or sensor readings that others publish on an MQTT topic.

The feed's own thread does the protocol: nothing is kept between the broker and the frame buffer. What
the broker has retained is not taken, for nobody knows how old it is.
"""

import math
import ssl
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from agent.contracts import Frame, Skipped
from agent.errors import SourceError
from agent.sources.naming import live_name
from agent.sources.release import Held
from agent.sources.rows import JsonFormat, RowError, read_json
from agent.telemetry.options import MQTT_PORT, MQTT_TLS_PORT, TlsOptions

WAKE_S = 0.1
FAILURE = 0x80
ENVELOPE_BYTES = 70_000
"""Of a message beside its payload: the longest topic, and some properties."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Mqtt:
    """Messages of a topic, named by the topic and the time they arrived, or by their own id."""

    topic: str
    """Where the frames are published; ``+`` and ``#`` stand for several topics."""
    payload: Literal["image", "json"] = "image"
    """``image``: an encoded image file; ``json``: a list of numbers, or an object that holds them."""
    columns: tuple[str, ...] = ()
    """Of ``json``: the vector's elements by key; none: a bare list, or the key ``values``."""
    id_column: str = "id"
    """Of ``json``: the key that names a reading, where there is one."""
    host: str = "localhost"
    """The broker."""
    port: int | None = None
    """Default: 1883, or 8883 with ``tls``."""
    version: Literal["5", "3.1.1", 5] = "5"
    """The MQTT version."""
    username: str | None = None
    """The user at the broker."""
    password_file: str | None = None
    """File whose first line is the password; read at each connection."""
    tls: TlsOptions | None = None
    """Encryption of the connection; an empty mapping uses the system's authorities."""
    client_id: str | None = None
    """Default: one that the broker chooses."""
    qos: Literal[0, 1] = 0
    """1: the broker sends again what was lost on the way."""
    keepalive_s: int = 15
    """A connection on which nothing came for half as long again is lost."""
    connect_timeout_s: float = 10.0
    """A broker that has not answered after this is tried again later."""
    silence_s: float | None = None
    """A topic without a message for so long is a lost source; none: it may be silent."""
    max_bytes: int = 16 * 1024 * 1024
    """A larger message is skipped; on MQTT 5 the broker already keeps it back."""

    @property
    def live(self) -> bool:
        return True

    @property
    def fps(self) -> float | None:
        return None

    @property
    def tcp_port(self) -> int:
        return self.port if self.port is not None else MQTT_TLS_PORT if self.tls else MQTT_PORT

    @property
    def shown(self) -> str:
        return f"broker {self.host}:{self.tcp_port}, topic {self.topic}"

    def problems(self) -> list[str]:
        """Options that make no sense, by name."""
        ranges = {
            "port": (self.tcp_port, 1, 65_535),
            "keepalive_s": (self.keepalive_s, 5, 3_600),
            "connect_timeout_s": (self.connect_timeout_s, 0.1, 120),
            "silence_s": (1.0 if self.silence_s is None else self.silence_s, 0.1, 31 * 86_400),
            "max_bytes": (self.max_bytes, 1, 256 * 1024 * 1024),
        }
        found = [
            f"{name}: must be from {low:g} to {high:g}, got {value:g}"
            for name, (value, low, high) in ranges.items()
            if not (math.isfinite(value) and low <= value <= high)
        ]
        if not self.host.strip():
            found.append("host: must not be empty")
        if not _is_filter(self.topic):
            found.append(f"topic: must be a topic, with + and # only as whole levels, got {self.topic!r}")
        if self.payload == "image" and self.columns:
            found.append("columns: an image has none; set payload: json")
        if len(set(self.columns)) < len(self.columns):
            found.append("columns: one is named twice")
        if self.password_file is not None and self.username is None:
            found.append("password_file: needs username")
        return found + list(self.tls.problems("tls") if self.tls else ())

    def open(self) -> "MqttFeed":
        """Raises SourceError for a broker that is away or silent, or refuses us or the topic."""
        return MqttFeed(self)


class MqttFeed:
    """The connection, with the topic subscribed."""

    resumes = False

    def __init__(self, source: Mqtt) -> None:
        self._source = source
        self._read = _reader(source)
        self._arrived: deque[Frame | Skipped] = deque()
        self._subscribed = False
        self._refused = ""
        self._client = _client(source)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_message = self._on_message
        self._client.on_disconnect = self._on_disconnect
        self._held = Held(self._end)
        try:
            self._connect()
        except BaseException:
            self._held.close()
            raise

    def __iter__(self) -> Iterator[Frame | Skipped]:
        try:
            yield from self._items()
        finally:
            self._held.close()

    def close(self) -> None:
        self._held.close()

    def _items(self) -> Iterator[Frame | Skipped]:
        silence_s = self._source.silence_s
        heard_s = time.monotonic()
        while True:
            with self._held as there:
                if not there or self._held.closed:
                    return
                try:
                    self._turn()
                except SourceError:
                    if self._held.closed:
                        return
                    raise
            if self._arrived:
                heard_s = time.monotonic()
            elif silence_s is not None and time.monotonic() - heard_s >= silence_s:
                raise SourceError(f"{self._source.shown}: no message for {silence_s:g} s")
            while self._arrived:
                yield self._arrived.popleft()

    def _connect(self) -> None:
        source = self._source
        deadline_s = time.monotonic() + source.connect_timeout_s
        try:
            _set_credentials(self._client, source)
            self._client.connect(source.host, source.tcp_port, source.keepalive_s, properties=_limits(source))
        except SourceError:
            raise
        except Exception as error:  # names, sockets, certificates: each library raises its own
            why = getattr(error, "verify_message", None) or getattr(error, "strerror", None) or error
            raise SourceError(f"{source.shown}: cannot be reached: {why}") from error
        while not self._subscribed:
            self._turn()
            if time.monotonic() >= deadline_s:
                raise SourceError(f"{source.shown}: no answer within {source.connect_timeout_s:g} s")

    def _turn(self) -> None:
        """Take what has come, and send what is due. Raises SourceError when the connection is over."""
        result = self._client.loop(WAKE_S)
        if self._refused:
            raise SourceError(f"{self._source.shown}: {self._refused}")
        if result != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise SourceError(f"{self._source.shown}: the connection was lost")

    def _on_connect(
        self, client: paho.Client, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any
    ) -> None:
        if reason.is_failure:
            self._refused = f"refuses the connection: {str(reason).lower()}"
        else:
            client.subscribe(self._source.topic, self._source.qos)

    def _on_subscribe(
        self, _client: paho.Client, _data: Any, _mid: int, reasons: list[ReasonCode], _properties: Any
    ) -> None:
        if reasons and reasons[0].value >= FAILURE:
            self._refused = f"refuses to let us read it: {str(reasons[0]).lower()}"
        self._subscribed = True

    def _on_disconnect(
        self, _client: paho.Client, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any
    ) -> None:
        self._refused = self._refused or f"the connection was lost ({str(reason).lower()})"

    def _on_message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        captured_ns = time.monotonic_ns()
        if message.retain:
            return
        try:
            topic = message.topic
        except UnicodeDecodeError:
            return
        name = live_name(topic, captured_ns)
        if len(message.payload) > self._source.max_bytes:
            reason = f"larger than max_bytes ({self._source.max_bytes:,} bytes)"
            self._arrived.append(Skipped(name=name, reason=reason))
            return
        self._arrived.append(self._read(bytes(message.payload), captured_ns, name))

    def _end(self) -> None:
        client = self._client
        client.disconnect()
        # Together with us they would be a circle, and its sockets open until garbage is looked for.
        client.on_connect = client.on_subscribe = client.on_message = client.on_disconnect = None


Reader = Callable[[bytes, int, str], Frame | Skipped]


def _reader(source: Mqtt) -> Reader:
    """From a message's payload, time and name to a frame."""
    if source.payload == "image":
        return lambda payload, captured_ns, name: Frame(payload=payload, captured_ns=captured_ns, name=name)
    layout = JsonFormat(columns=source.columns, id_column=source.id_column)

    def read(payload: bytes, captured_ns: int, name: str) -> Frame | Skipped:
        try:
            record = read_json(payload.decode("utf-8"))
            row = layout.of({"values": record} if isinstance(record, list) and not source.columns else record)
        except UnicodeDecodeError:
            return Skipped(name=name, reason="no UTF-8")
        except RowError as error:
            return Skipped(name=name, reason=str(error))
        return Frame(payload=row.values, captured_ns=captured_ns, name=row.id or name)

    return read


def _client(source: Mqtt) -> paho.Client:
    five = str(source.version) == "5"
    client = paho.Client(
        CallbackAPIVersion.VERSION2,
        client_id=source.client_id or "",
        clean_session=None if five else True,
        protocol=MQTTProtocolVersion.MQTTv5 if five else MQTTProtocolVersion.MQTTv311,
        reconnect_on_failure=False,
    )
    client.connect_timeout = source.connect_timeout_s
    return client


def _limits(source: Mqtt) -> Properties | None:
    """What the broker may send, where it can be told."""
    if str(source.version) != "5":
        return None
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho leaves it untyped
    properties.MaximumPacketSize = source.max_bytes + ENVELOPE_BYTES
    return properties


def _set_credentials(client: paho.Client, source: Mqtt) -> None:
    if source.username is not None:
        client.username_pw_set(source.username, _password(source.password_file))
    if source.tls is not None:
        try:
            context = ssl.create_default_context(cafile=source.tls.ca)
            if source.tls.certificate is not None:
                context.load_cert_chain(source.tls.certificate, source.tls.key)
        except OSError as error:  # ssl.SSLError is one
            raise SourceError(f"source.tls: its files cannot be used: {error.strerror or error}") from None
        client.tls_set_context(context)


def _password(file: str | None) -> str | None:
    if file is None:
        return None
    try:
        return Path(file).read_text(encoding="utf-8").split("\n", 1)[0].rstrip("\r")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "not UTF-8"
        raise SourceError(f"source.password_file: {file} cannot be read: {why}") from None


def _is_filter(topic: str) -> bool:
    """Whether this is a topic filter (MQTT 5, section 4.7)."""
    levels = topic.split("/")
    wild = all(level in ("+", "#") or not set(level) & {"+", "#"} for level in levels)
    return bool(topic) and len(topic.encode()) <= 65_535 and wild and "#" not in levels[:-1]
