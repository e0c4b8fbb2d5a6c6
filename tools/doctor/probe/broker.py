"""One connection to the broker, stage by stage, until something refuses.

It logs in as the device does but under a client id of its own (the agent may be connected), keeps no
session on the broker, and publishes one empty, unretained message on the topic ``about``: readers take
that for nothing. Where an agent runs nobody logs in: see ``BrokerFacts.agent_running``.
"""

import queue
import socket
import ssl
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from agent.sections import DeviceConfig
from agent.telemetry.messages import TOPIC_ROOT
from agent.telemetry.options import MqttOptions, TlsOptions
from tools.doctor.tree.broker import BrokerFacts

ANSWER_S = 10.0
REFUSED = 0x80
UNHEARD = 0x10
READ = ("label", "command", "ack")


class _FileProblemError(Exception):
    """A file that agent.yaml names cannot be used."""


class _HiddenError(Exception):
    """A file that this user may not read."""


def look(
    options: MqttOptions,
    device: DeviceConfig,
    *,
    clock_synced: bool,
    agent_running: bool = False,
    agent_connected: bool | None = None,
) -> BrokerFacts:
    """``agent_running``: names, ports and certificates are looked at, and nobody logs in."""
    facts = BrokerFacts(
        host=options.host,
        port=options.tcp_port,
        version=str(options.version),
        tls=options.tls is not None,
        own_certificate=options.tls is not None and options.tls.certificate is not None,
        username=options.username,
        topic=f"{TOPIC_ROOT}/{device.site}/{device.id}",
        stage="done",
        clock_synced=clock_synced,
        agent_running=agent_running,
        agent_connected=agent_connected,
    )
    password, context = None, None
    try:
        context = _context(options.tls) if options.tls else None
        password = None if agent_running else _password(options.password_file)
    except _HiddenError as error:
        facts = replace(facts, hidden=str(error))
    except _FileProblemError as error:
        return replace(facts, stage="files", said=str(error))
    facts = _reach(facts, options, context)
    if facts.stage != "done" or facts.hidden or agent_running:
        return facts
    client_id = options.client_id or f"litewatch-{device.site}-{device.id}"
    with _Login(options, f"{client_id}-doctor", password, context) as login:
        return login.examine(facts)


def _reach(facts: BrokerFacts, options: MqttOptions, context: ssl.SSLContext | None) -> BrokerFacts:
    """Name, port and certificate, without MQTT."""
    try:
        socket.getaddrinfo(options.host, options.tcp_port, type=socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        return replace(facts, stage="name", said=str(getattr(error, "strerror", None) or error))
    try:
        link = socket.create_connection((options.host, options.tcp_port), timeout=options.connect_timeout_s)
    except OSError as error:
        return replace(facts, stage="port", said=error.strerror or str(error))
    with link:
        return _shake_hands(facts, link, context) if context else facts


def _shake_hands(facts: BrokerFacts, link: socket.socket, context: ssl.SSLContext) -> BrokerFacts:
    try:
        with context.wrap_socket(link, server_hostname=facts.host):
            return facts
    except ssl.SSLCertVerificationError as error:
        return replace(facts, stage="tls", code=error.verify_code, said=error.verify_message)
    except TimeoutError as error:
        return replace(facts, stage="silent", said=str(error))
    except OSError as error:  # ssl.SSLError is one
        said = str(error)
        # An alert is an answer in TLS: it is this device that the broker does not like.
        return replace(facts, stage="login" if "alert" in said.lower() else "tls", said=said)


@dataclass(frozen=True, slots=True)
class _Event:
    what: str
    codes: tuple[int, ...] = ()
    said: str = ""


class _Login:
    """One MQTT connection. paho's thread posts what happens; ``examine`` waits for it."""

    def __init__(
        self, options: MqttOptions, client_id: str, password: str | None, context: ssl.SSLContext | None
    ) -> None:
        five = str(options.version) == "5"
        self._events: queue.SimpleQueue[_Event] = queue.SimpleQueue()
        self._said = ""
        self._options = options
        self._client = client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=None if five else True,
            protocol=MQTTProtocolVersion.MQTTv5 if five else MQTTProtocolVersion.MQTTv311,
            reconnect_on_failure=False,
        )
        client.connect_timeout = options.connect_timeout_s
        if options.username is not None:
            client.username_pw_set(options.username, password)
        if context is not None:
            client.tls_set_context(context)
        client.on_connect = lambda *all_: self._post("connected", [all_[3]])
        client.on_subscribe = lambda *all_: self._post("subscribed", all_[3])
        client.on_publish = lambda *all_: self._post("published", [all_[3]])
        client.on_disconnect = lambda *all_: self._events.put(_Event("gone"))
        client.on_log = self._log

    def __enter__(self) -> "_Login":
        return self

    def __exit__(self, *_: object) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def examine(self, facts: BrokerFacts) -> BrokerFacts:
        try:
            self._client.connect(self._options.host, self._options.tcp_port)
        except TimeoutError as error:
            return replace(facts, stage="silent", said=str(error))
        except OSError as error:
            return replace(facts, stage="login", said=str(error))
        self._client.loop_start()
        try:
            return self._converse(facts)
        except TimeoutError as error:
            return replace(facts, stage="silent", said=str(error))

    def _converse(self, facts: BrokerFacts) -> BrokerFacts:
        event = self._wait("connected")
        if event is None or event.codes[0] >= REFUSED:
            code = event.codes[0] if event else None
            return replace(facts, stage="login", code=code, said=event.said if event else self._said)
        topics = [f"{facts.topic}/{kind}" for kind in READ]
        self._client.subscribe([(topic, 1) for topic in topics])
        event = self._wait("subscribed")
        if event is None:
            return replace(facts, stage="read", refused=tuple(topics), said="the connection ended")
        refused = [topic for topic, code in zip(topics, event.codes, strict=False) if code >= REFUSED]
        if refused:
            return replace(
                facts, stage="read", refused=tuple(refused), code=max(event.codes), said=event.said
            )
        return self._write(facts)

    def _write(self, facts: BrokerFacts) -> BrokerFacts:
        self._client.publish(f"{facts.topic}/about", b"", qos=1, retain=False)
        event = self._wait("published")
        if event is None:
            return replace(facts, stage="write", said="the connection ended")
        if event.codes[0] >= REFUSED:
            return replace(facts, stage="write", code=event.codes[0], said=event.said)
        return replace(facts, heard=event.codes[0] != UNHEARD)

    def _post(self, what: str, reasons: Any) -> None:
        codes = tuple(int(reason.value) for reason in reasons)
        worst = max(reasons, key=lambda reason: reason.value)
        self._events.put(_Event(what, codes, f"{str(worst).lower()} (0x{worst.value:02x})"))

    def _log(self, _client: paho.Client, _data: Any, _level: int, text: str) -> None:
        if "SSL" in text or "socket" in text:
            self._said = text

    def _wait(self, what: str) -> _Event | None:
        """That event; None when the connection ended. Raises TimeoutError when nothing came."""
        until = time.monotonic() + ANSWER_S
        while (left_s := until - time.monotonic()) > 0:
            try:
                event = self._events.get(timeout=left_s)
            except queue.Empty:
                break
            if event.what == what:
                return event
            if event.what == "gone":
                return None
        raise TimeoutError(f"no answer within {ANSWER_S:g} s")


def _password(file: str | None) -> str | None:
    if file is None:
        return None
    try:
        return Path(file).read_text(encoding="utf-8").split("\n", 1)[0].rstrip("\r")
    except PermissionError:
        raise _HiddenError(f"mqtt.password_file: this user may not read {file}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise _FileProblemError(f"mqtt.password_file: {file} cannot be read: {_why(error)}") from None


def _context(tls: TlsOptions) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=tls.ca)
    except PermissionError:
        raise _HiddenError(f"mqtt.tls.ca: this user may not read {tls.ca}") from None
    except OSError as error:
        raise _FileProblemError(f"mqtt.tls.ca: {tls.ca} cannot be used: {_why(error)}") from None
    if tls.certificate is not None:
        try:
            context.load_cert_chain(tls.certificate, tls.key)
        except PermissionError:
            files = " or ".join(filter(None, (tls.certificate, tls.key)))
            raise _HiddenError(f"mqtt.tls.certificate: this user may not read {files}") from None
        except OSError as error:
            files = f"{tls.certificate} with {tls.key}"
            raise _FileProblemError(f"mqtt.tls.certificate: {files} cannot be used: {_why(error)}") from None
    return context


def _why(error: Exception) -> str:
    return str(getattr(error, "reason", None) or getattr(error, "strerror", None) or error).lower()
