"""A paho client for the server side: the options of ``MqttOptions``, and refusals in plain words."""

import ssl
import sys
from pathlib import Path

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from agent.errors import InputError
from agent.telemetry.options import MqttOptions

REFUSED = 0x80
"""The smallest reason code that means no."""
LARGEST_PACKET = 16 * 1024 * 1024
"""The broker keeps anything larger to itself; between this and ``wire.MAX_BYTES`` lies the quarantine."""


def make_client(
    options: MqttOptions, *, client_id: str, persistent: bool, manual_ack: bool = False
) -> mqtt.Client:
    """A client that is not yet connected. InputError names every file it cannot read."""
    five = str(options.version) == "5"
    client = mqtt.Client(
        CallbackAPIVersion.VERSION2,
        client_id=client_id,
        clean_session=None if five else not persistent,
        protocol=MQTTProtocolVersion.MQTTv5 if five else MQTTProtocolVersion.MQTTv311,
        manual_ack=manual_ack,
    )
    client.connect_timeout = options.connect_timeout_s
    client.reconnect_delay_set(
        min_delay=max(1, int(options.backoff_min_s)), max_delay=int(options.backoff_max_s)
    )
    problems = [*_set_password(client, options), *_set_tls(client, options)]
    if problems:
        raise InputError(*problems)
    return client


def connect_later(
    client: mqtt.Client, options: MqttOptions, *, session_expiry_s: int, receive_maximum: int
) -> None:
    """Say where to connect; the client's own thread does it, again and again."""
    if client.protocol != MQTTProtocolVersion.MQTTv5:
        client.connect_async(options.host, options.tcp_port, options.keepalive_s)
        return
    properties = _properties(
        PacketTypes.CONNECT,
        SessionExpiryInterval=session_expiry_s,
        ReceiveMaximum=receive_maximum,
        MaximumPacketSize=LARGEST_PACKET,
    )
    client.connect_async(
        options.host,
        options.tcp_port,
        options.keepalive_s,
        clean_start=session_expiry_s == 0,
        properties=properties,
    )


def why_unreachable() -> str:
    """Inside ``on_connect_fail``: the error paho is handling, which it does not pass on."""
    error = sys.exc_info()[1]
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not accepted: {error.verify_message}"
    if isinstance(error, TimeoutError):
        return "no answer"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or "no connection"


def expiring(client: mqtt.Client, seconds: int) -> Properties | None:
    """What makes the broker forget an undelivered message; MQTT 3.1.1 knows nothing like it."""
    if client.protocol != MQTTProtocolVersion.MQTTv5:
        return None
    return _properties(PacketTypes.PUBLISH, MessageExpiryInterval=seconds)


def _properties(packet: int, **values: int) -> Properties:
    properties = Properties(packet)  # type: ignore[no-untyped-call]  # paho leaves it untyped
    for name, value in values.items():
        setattr(properties, name, value)
    return properties


def _set_password(client: mqtt.Client, options: MqttOptions) -> list[str]:
    if options.username is None:
        return []
    password = None
    if options.password_file is not None:
        try:
            password = Path(options.password_file).read_text(encoding="utf-8").split("\n", 1)[0].rstrip("\r")
        except (OSError, UnicodeDecodeError) as error:
            return [f"--password-file: {options.password_file} cannot be read ({error})"]
    client.username_pw_set(options.username, password)
    return []


def _set_tls(client: mqtt.Client, options: MqttOptions) -> list[str]:
    tls = options.tls
    if tls is None:
        return []
    context = ssl.create_default_context()
    problems = []
    if tls.ca is not None:
        try:
            context.load_verify_locations(tls.ca)
        except OSError as error:  # ssl.SSLError is one
            problems.append(f"--ca: {tls.ca} cannot be used ({error})")
    if tls.certificate is not None:
        try:
            context.load_cert_chain(tls.certificate, tls.key)
        except OSError as error:
            problems.append(f"--certificate, --key: {tls.certificate} cannot be used ({error})")
    client.tls_set_context(context)
    return problems
