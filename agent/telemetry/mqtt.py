"""The link to the broker by paho-mqtt, MQTT 5 or 3.1.1.

Each connection is a client of its own: paho keeps what it could not deliver in memory and sends it
later, but here only the outbox may do that. paho's own reconnecting is off for the same reason.
The broker keeps the device's subscriptions for a day, so that labels sent meanwhile arrive.
"""

import contextlib
import logging
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from agent.telemetry.mqtt_problems import (
    TAKEN_OVER,
    FileProblemError,
    certificate_text,
    ended_text,
    refused_text,
    subscription_text,
    trouble_text,
    unanswered_text,
)
from agent.telemetry.options import MqttOptions, TlsOptions
from agent.telemetry.ports import Answered, Closed, Connected, Event, LinkError, Publication, Received
from agent.telemetry.tls_alert import alert_in, read_alert
from agent.telemetry.wire import MAX_BYTES

SESSION_EXPIRY_S = 24 * 3600
PACKET_BYTES = MAX_BYTES + 4096
"""The largest packet a broker may send us (MQTT 5)."""
RECEIVE_MAXIMUM = 20
"""Most confirmed messages a broker may have on their way to us (MQTT 5); the rest waits with it."""
CLOSE_S = 2.0
"""How long to wait until the farewell is on its way."""
UNHEARD = 0x10
FAILURE = 0x80

_log = logging.getLogger(__name__)


class MqttLink:
    """One broker, as ``options`` describe it; see ``ports.Link``."""

    def __init__(self, options: MqttOptions, *, client_id: str) -> None:
        self._options = options
        self._client_id = options.client_id or client_id
        self._connection: _Connection | None = None

    def open(
        self,
        connection: int,
        *,
        will: Publication | None,
        topics: Sequence[str],
        post: Callable[[Event], None],
    ) -> None:
        """Begin to connect and return at once; ``Connected`` or ``Closed`` follows."""
        self.close()
        self._connection = _Connection(self._options, self._client_id, connection, topics, post)
        self._connection.start(will)

    def publish(self, publication: Publication) -> int:
        """Hand over one publication; the token that its ``Answered`` will carry. Raises LinkError."""
        if self._connection is None:
            raise LinkError("no connection")
        return self._connection.publish(publication)

    def subscribe(self, topic: str, *, kept: bool = False) -> None:
        """Hear one more topic on this connection, as far as the broker allows. Raises LinkError."""
        if self._connection is None:
            raise LinkError("no connection")
        self._connection.subscribe(topic, kept=kept)

    def unsubscribe(self, topic: str) -> None:
        """Hear it no longer. Raises LinkError."""
        if self._connection is None:
            raise LinkError("no connection")
        self._connection.unsubscribe(topic)

    def close(self) -> None:
        """End the connection in order; no event of it follows."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class _Connection:
    """One connection from its first packet to its last. Callbacks run in paho's thread."""

    def __init__(
        self,
        options: MqttOptions,
        client_id: str,
        number: int,
        topics: Sequence[str],
        post: Callable[[Event], None],
    ) -> None:
        self._options = options
        self._five = str(options.version) == "5"
        self._number = number
        self._subscription: int | None = None
        self._topics = topics
        self._post_event = post
        self._lock = threading.Lock()
        self._over = False
        self._accepted = False
        self._in_flight = options.in_flight
        self._gone = threading.Event()
        self._alert: str | None = None
        self._client = _make_client(options, client_id)

    def start(self, will: Publication | None) -> None:
        """Connect in a thread: names, sockets and certificates take their time."""
        if will is not None:
            self._client.will_set(will.topic, will.payload, qos=1, retain=True)
        self._client.on_socket_open = self._on_socket_open
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_publish = self._on_publish
        self._client.on_message = self._on_message
        self._client.on_disconnect = self._on_disconnect
        threading.Thread(target=self._connect, name="litewatch-mqtt-connect", daemon=True).start()

    def publish(self, publication: Publication) -> int:
        info = self._client.publish(
            publication.topic,
            publication.payload,
            qos=1,
            retain=publication.retain,
            properties=_publish_properties(publication) if self._five else None,
        )
        _require(info.rc)
        return info.mid

    def subscribe(self, topic: str, *, kept: bool) -> None:
        _require(
            (self._client.subscribe(self._lasting([topic])) if kept else self._client.subscribe(topic))[0]
        )

    def unsubscribe(self, topic: str) -> None:
        _require(self._client.unsubscribe(topic)[0])

    def close(self) -> None:
        with self._lock:
            self._over = True
        # Also before the broker has answered: its farewell revokes the will, should it answer yet.
        farewell = self._client.disconnect() == MQTTErrorCode.MQTT_ERR_SUCCESS
        if farewell and not self._gone.wait(CLOSE_S):
            self._shut()

    def _shut(self) -> None:
        """Nobody reads at the other end: end it here, or thread and socket stay until the keepalive."""
        sock = self._client.socket()
        if isinstance(sock, socket.socket):
            with contextlib.suppress(OSError):
                # Of the plain socket: TLS has its own way, which must not meet the other thread's reading.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def _connect(self) -> None:
        try:
            _set_credentials(self._client, self._options)
            if self._five:
                self._client.connect(
                    self._options.host,
                    self._options.tcp_port,
                    self._options.keepalive_s,
                    clean_start=False,
                    properties=_connect_properties(),
                )
            else:
                self._client.connect(self._options.host, self._options.tcp_port, self._options.keepalive_s)
        except Exception as error:  # whatever stops one attempt is a problem to show, not an end
            alert = self._alert or alert_in(error)
            refused = certificate_text(alert, self._options) if alert else None
            self._closed(refused or trouble_text(error, self._options))
            return
        with self._lock:
            over = self._over
        if over:
            self._client.disconnect()
        self._client.loop_start()

    def _on_socket_open(self, _client: paho.Client, _data: Any, sock: Any) -> None:
        self._alert = read_alert(sock)

    def _on_connect(
        self, client: paho.Client, _data: Any, _flags: Any, reason: ReasonCode, properties: Properties | None
    ) -> None:
        if reason.is_failure:
            self._closed(refused_text(reason, self._options))
            return
        self._accepted = True
        if self._over:
            client.disconnect()
            return
        limit = getattr(properties, "ReceiveMaximum", None)
        self._in_flight = min(self._in_flight, limit) if limit else self._in_flight
        _, self._subscription = client.subscribe(self._lasting(self._topics))

    def _lasting(self, topics: Sequence[str]) -> list[Any]:
        """Subscriptions to what the broker keeps while the device is away."""
        if not self._five:
            return [(topic, 1) for topic in topics]
        # As published: who retains a command while the device listens is not to be obeyed either.
        how = SubscribeOptions(qos=1, retainAsPublished=True)
        return [(topic, how) for topic in topics]

    def _on_subscribe(
        self, _client: paho.Client, _data: Any, mid: int, reasons: Sequence[ReasonCode], _properties: Any
    ) -> None:
        if mid != self._subscription:
            if any(reason.value >= FAILURE for reason in reasons):
                _log.warning("broker %s: refuses an additional subscription", self._options.address)
            return
        refused = [
            topic for topic, reason in zip(self._topics, reasons, strict=False) if reason.value >= FAILURE
        ]
        if refused:
            self._closed(subscription_text(refused, self._options))
            return
        self._post(Connected(connection=self._number, in_flight=self._in_flight))

    def _on_publish(
        self, _client: paho.Client, _data: Any, mid: int, reason: ReasonCode, _properties: Any
    ) -> None:
        value = reason.value
        outcome: Literal["taken", "unheard", "refused"] = (
            "refused" if value >= FAILURE else "unheard" if value == UNHEARD else "taken"
        )
        text = f"{str(reason).lower()} (0x{value:02x})"
        self._post(Answered(connection=self._number, token=mid, outcome=outcome, reason=text))

    def _on_message(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:
            return
        asked = message.properties
        self._post(
            Received(
                connection=self._number,
                topic=topic,
                payload=bytes(message.payload),
                retained=message.retain,
                response_topic=getattr(asked, "ResponseTopic", None),
                correlation=getattr(asked, "CorrelationData", None),
            )
        )

    def _on_disconnect(
        self, _client: paho.Client, _data: Any, _flags: Any, reason: ReasonCode, _properties: Any
    ) -> None:
        if self._accepted:
            self._closed(ended_text(reason, self._options), taken_over=reason.value == TAKEN_OVER)
        else:
            refused = certificate_text(self._alert, self._options) if self._alert else None
            self._closed(refused or unanswered_text(self._options))
        self._gone.set()

    def _closed(self, problem: str, *, taken_over: bool = False) -> None:
        self._post(Closed(connection=self._number, problem=problem, taken_over=taken_over))

    def _post(self, event: Event) -> None:
        with self._lock:
            if self._over:
                return
            self._over = isinstance(event, Closed)
        self._post_event(event)


def _make_client(options: MqttOptions, client_id: str) -> paho.Client:
    five = str(options.version) == "5"
    client = paho.Client(
        CallbackAPIVersion.VERSION2,
        client_id=client_id,
        clean_session=None if five else False,
        protocol=MQTTProtocolVersion.MQTTv5 if five else MQTTProtocolVersion.MQTTv311,
        reconnect_on_failure=False,
    )
    client.connect_timeout = options.connect_timeout_s
    client.max_inflight_messages_set(options.in_flight)
    client.suppress_exceptions = True  # else one defect of ours ends paho's thread, and nobody notices
    client.on_log = _on_log
    return client


def _on_log(_client: paho.Client, _data: Any, level: int, text: str) -> None:
    if level == paho.MQTT_LOG_ERR and text.startswith("Caught exception"):
        _log.error("%s", text)


def _connect_properties() -> Properties:
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho leaves it untyped
    properties.SessionExpiryInterval = SESSION_EXPIRY_S
    properties.MaximumPacketSize = PACKET_BYTES
    properties.ReceiveMaximum = RECEIVE_MAXIMUM
    return properties


def _publish_properties(publication: Publication) -> Properties | None:
    if publication.correlation is None and publication.expiry_s is None:
        return None
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]  # paho leaves it untyped
    if publication.correlation is not None:
        properties.CorrelationData = publication.correlation
    if publication.expiry_s is not None:
        properties.MessageExpiryInterval = publication.expiry_s
    return properties


def _require(code: MQTTErrorCode) -> None:
    if code != MQTTErrorCode.MQTT_ERR_SUCCESS:
        raise LinkError(paho.error_string(code))


def _set_credentials(client: paho.Client, options: MqttOptions) -> None:
    """Read the files the options name, anew for each connection. Raises FileProblemError."""
    if options.username is not None:
        client.username_pw_set(options.username, _password(options.password_file))
    if options.tls is not None:
        client.tls_set_context(_tls_context(options.tls))


def _password(file: str | None) -> str | None:
    if file is None:
        return None
    try:
        return Path(file).read_text(encoding="utf-8").split("\n", 1)[0].rstrip("\r")
    except (OSError, UnicodeDecodeError) as error:
        raise FileProblemError(f"mqtt.password_file: {file} cannot be read: {_why(error)}") from None


def _tls_context(tls: TlsOptions) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=tls.ca)
    except OSError as error:  # ssl.SSLError is one
        raise FileProblemError(f"mqtt.tls.ca: {tls.ca} cannot be used: {_why(error)}") from None
    if tls.certificate is not None:
        try:
            context.load_cert_chain(tls.certificate, tls.key)
        except OSError as error:
            files = f"{tls.certificate} with {tls.key}"
            raise FileProblemError(f"mqtt.tls.certificate: {files} cannot be used: {_why(error)}") from None
    return context


def _why(error: Exception) -> str:
    reason = getattr(error, "reason", None) if isinstance(error, ssl.SSLError) else None
    return str(reason or getattr(error, "strerror", None) or error).lower().replace("_", " ")
