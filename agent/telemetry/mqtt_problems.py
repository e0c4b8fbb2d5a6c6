"""Why there is no connection to the broker, each in one readable line that says what to look at."""

import socket
import ssl
from collections.abc import Sequence
from typing import Protocol

from agent.telemetry.options import MqttOptions

BAD_CREDENTIALS, NOT_AUTHORIZED, UNSUPPORTED_VERSION = 0x86, 0x87, 0x84
TAKEN_OVER = 0x8E


class Reason(Protocol):
    """A reason code of MQTT 5, also made up by paho for 3.1.1."""

    @property
    def value(self) -> int: ...


class FileProblemError(Exception):
    """A file the options name cannot be used: its message is the problem."""


def trouble_text(error: Exception, options: MqttOptions) -> str:
    """An attempt to connect that raised."""
    broker = f"broker {options.address}"
    if isinstance(error, FileProblemError):
        return str(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{broker}: its certificate is not accepted: {_certificate(error, options)}"
    if isinstance(error, ssl.SSLError):
        return f"{broker}: TLS failed ({error.reason or error}); is this its TLS port?"
    if isinstance(error, socket.gaierror):
        return f"{broker}: the name {options.host!r} cannot be resolved ({error.strerror})"
    if isinstance(error, TimeoutError):
        return f"{broker}: no answer within {options.connect_timeout_s:g} s"
    if isinstance(error, ConnectionRefusedError):
        return f"{broker}: connection refused; is the broker running?"
    return f"{broker}: {getattr(error, 'strerror', None) or error or type(error).__name__}"


def refused_text(reason: Reason, options: MqttOptions) -> str:
    """The broker answered, and said no."""
    broker = f"broker {options.address}"
    if reason.value in (BAD_CREDENTIALS, NOT_AUTHORIZED):
        who = "anonymous devices" if options.username is None else f"user {options.username!r}"
        hint = "set mqtt.username" if options.username is None else "check the password and its access rules"
        return f"{broker}: refuses {who}: {str(reason).lower()}; {hint}"
    if reason.value == UNSUPPORTED_VERSION:
        return f"{broker}: does not speak MQTT {options.version}; set mqtt.version"
    return f"{broker}: refuses the connection: {str(reason).lower()}"


def certificate_text(alert: str, options: MqttOptions) -> str:
    """The broker ended TLS with an alert: nearly always about this device's own certificate."""
    broker = f"broker {options.address}"
    if "certificate" not in alert and alert not in ("unknown ca", "decrypt error", "access denied"):
        return f"{broker}: ends TLS ({alert})"
    if options.tls is None or options.tls.certificate is None:
        return (
            f"{broker}: wants a certificate of this device ({alert}); "
            "set mqtt.tls.certificate and mqtt.tls.key"
        )
    return (
        f"{broker}: refuses this device's certificate ({alert}); "
        "check mqtt.tls.certificate, its dates and who signed it"
    )


def unanswered_text(options: MqttOptions) -> str:
    """The broker hung up on our first packet."""
    tls = "with" if options.tls else "without"
    return (
        f"broker {options.address}: closed the connection unanswered; "
        f"is this its port {tls} TLS, and does it speak MQTT {options.version}?"
    )


def ended_text(reason: Reason, options: MqttOptions) -> str:
    """A connection that stood and ended."""
    if reason.value == TAKEN_OVER:
        return (
            f"broker {options.address}: another client took over this device's id; "
            "is the device.id (or a copied card) used twice?"
        )
    return f"broker {options.address}: connection lost ({str(reason).lower()})"


def subscription_text(topics: Sequence[str], options: MqttOptions) -> str:
    """The device may not hear its own topics, so nothing would ever be confirmed."""
    return f"broker {options.address}: refuses to let this device read {', '.join(topics)}"


def _certificate(error: ssl.SSLCertVerificationError, options: MqttOptions) -> str:
    said = error.verify_message.rstrip(".")
    if "not yet valid" in said or "expired" in said:
        return f"{said}; is this machine's clock right?"
    if "issuer" in said or "self-signed" in said or "self signed" in said:
        return f"{said}; check mqtt.tls.ca"
    return said
