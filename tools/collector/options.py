"""The options by which ``collect`` and ``label`` reach the broker: those of the section ``mqtt``."""

import re
from collections.abc import Callable
from typing import Any, TypeVar

import click

from agent.errors import InputError
from agent.telemetry.options import MqttOptions, TlsOptions

F = TypeVar("F", bound=Callable[..., Any])

_ADDRESS = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[^:\[\]/\s]+))(?::(?P<port>[0-9]{1,5}))?")


def mqtt_options(command: F) -> F:
    """Add the options; the command receives them as keyword arguments for ``to_mqtt``."""
    for option in reversed(
        (
            click.option(
                "--mqtt", default="localhost", show_default=True, metavar="HOST[:PORT]", help="The broker."
            ),
            click.option(
                "--mqtt-version",
                type=click.Choice(["5", "3.1.1"]),
                default="5",
                show_default=True,
                help="MQTT version.",
            ),
            click.option("--username", help="Name to log in with."),
            click.option("--password-file", metavar="FILE", help="File whose first line is the password."),
            click.option("--tls", is_flag=True, help="Encrypt, trusting the system's authorities."),
            click.option("--ca", metavar="FILE", help="Encrypt, trusting the authorities in this file."),
            click.option(
                "--certificate", metavar="FILE", help="Own certificate, where the broker asks for one."
            ),
            click.option("--key", metavar="FILE", help="Private key of --certificate."),
        )
    ):
        command = option(command)
    return command


def to_mqtt(
    *,
    mqtt: str,
    mqtt_version: str,
    username: str | None,
    password_file: str | None,
    tls: bool,
    ca: str | None,
    certificate: str | None,
    key: str | None,
    client_id: str | None = None,
) -> MqttOptions:
    """The options as the section ``mqtt`` has them. Raises InputError with every problem."""
    address = _ADDRESS.fullmatch(mqtt)
    if address is None:
        raise InputError(f"--mqtt: expected HOST or HOST:PORT, got {mqtt!r}")
    encrypted = tls or ca is not None or certificate is not None or key is not None
    options = MqttOptions(
        host=address["six"] or address["host"],
        port=int(address["port"]) if address["port"] else None,
        version="3.1.1" if mqtt_version == "3.1.1" else "5",
        username=username,
        password_file=password_file,
        tls=TlsOptions(ca=ca, certificate=certificate, key=key) if encrypted else None,
        client_id=client_id,
        backoff_max_s=30.0,
    )
    problems = options.problems(root="mqtt")
    if problems:
        raise InputError(*(_as_options(problem) for problem in problems))
    return options


def _as_options(problem: str) -> str:
    """``mqtt.tls.key: needs mqtt.tls.certificate`` in the words of the command line."""
    spoken = re.sub(r"\bmqtt\.port\b", "--mqtt (its port)", problem)
    spoken = re.sub(r"\bmqtt\.host\b", "--mqtt", spoken)
    return re.sub(r"\bmqtt\.(?:tls\.)?([a-z_]+)", lambda found: "--" + found[1].replace("_", "-"), spoken)
