"""Why telemetry does not arrive: name, port, certificate, login, access rules, in that order."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

from tools.doctor.finding import Finding

SUBJECT = "broker"
Stage: TypeAlias = Literal["files", "name", "port", "silent", "tls", "login", "read", "write", "done"]
BAD_USER, NOT_AUTHORIZED, BANNED, BAD_CLIENT, UNSUPPORTED = 0x86, 0x87, 0x8A, 0x85, 0x84
NOT_YET_VALID, EXPIRED, WRONG_NAME, WRONG_ADDRESS = 9, 10, 62, 64
SELF_SIGNED, SELF_SIGNED_CHAIN, NO_ISSUER = 18, 19, 20
"""OpenSSL's X509_V_ERR_*."""
LOG = "tail /var/log/mosquitto/mosquitto.log  # on the broker"
CERTIFICATE = ("openssl x509 -noout -dates -issuer -in CERTIFICATE  # of mqtt.tls.certificate", LOG)


@dataclass(frozen=True, kw_only=True, slots=True)
class BrokerFacts:
    """How far one connection got. ``stage`` is where it stopped; ``done``: everything worked.

    ``code`` is the MQTT reason code of a refusal, or OpenSSL's number for a certificate.
    """

    host: str
    port: int
    version: str
    tls: bool
    own_certificate: bool
    username: str | None
    topic: str
    stage: Stage
    code: int | None = None
    said: str = ""
    """In the words of whoever refused."""
    refused: tuple[str, ...] = ()
    """Topics the broker does not let this device read."""
    heard: bool = True
    """Whether anybody subscribes to what the device publishes."""
    clock_synced: bool = True
    agent_running: bool = False
    """Then nobody logs in here: a broker may take the login for the client id, and end the agent's own
    connection."""
    agent_connected: bool | None = None
    """What the running agent says; None when it does not."""
    hidden: str = ""
    """A file that only root and the agent may read, for want of which nobody logged in; else ""."""


def examine(facts: BrokerFacts) -> list[Finding]:
    if facts.stage == "done":
        return [_by_the_agent(facts)] if facts.agent_running else _done(facts)
    stages = {
        "files": _files, "name": _name, "port": _port, "silent": _silent, "tls": _tls,
        "login": _login, "read": _read, "write": _write,
    }  # fmt: skip
    cause, *commands = stages[facts.stage](facts)
    return [
        Finding(subject=SUBJECT, verdict="wrong", cause=cause, commands=tuple(commands), detail=facts.said)
    ]


def _by_the_agent(facts: BrokerFacts) -> Finding:
    where = f"{facts.host}:{facts.port}"
    if facts.agent_connected is None:
        cause = f"{where} answers; the login is the running agent's, and it does not tell"
        return Finding(
            subject=SUBJECT, verdict="not checked", cause=cause, commands=("sudo litewatch doctor",)
        )
    if facts.agent_connected:
        return Finding(subject=SUBJECT, verdict="ok", cause=f"{where}: the running agent is connected")
    cause = f"{where} answers, and the running agent is not connected"
    return Finding(
        subject=SUBJECT, verdict="wrong", cause=cause, commands=("journalctl -u litewatch -n 50", LOG)
    )


def _done(facts: BrokerFacts) -> list[Finding]:
    where = f"{facts.host}:{facts.port}"
    if facts.hidden:
        cause = f"{where} answers; the login was not tried: {facts.hidden}"
        commands = ("sudo litewatch doctor -c /etc/litewatch/agent.yaml",)
        return [Finding(subject=SUBJECT, verdict="not checked", cause=cause, commands=commands)]
    found = [Finding(subject=SUBJECT, verdict="ok", cause=f"{where} takes this device's messages")]
    if facts.version != "5":
        cause = "whether the access rules let messages through cannot be known: MQTT 3.1.1 does not say"
        return [Finding(subject=SUBJECT, verdict="notice", cause=cause, commands=("set mqtt.version: '5'",))]
    if not facts.heard:
        cause = f"{where} takes this device's messages, and nobody is subscribed to them"
        commands = (f"litewatch collect --mqtt {where} --db fleet.db",)
        found = [Finding(subject=SUBJECT, verdict="notice", cause=cause, commands=commands)]
    return found


def _files(facts: BrokerFacts) -> tuple[str, ...]:
    return (facts.said, "ls -l the file, and check its path in agent.yaml")


def _name(facts: BrokerFacts) -> tuple[str, ...]:
    host = facts.host
    commands = [f"getent hosts {host}", "resolvectl status"]
    if host.endswith(".local"):
        commands.insert(0, "sudo apt install libnss-mdns  # names that end in .local need it")
    return (f"the name {host!r} cannot be resolved", *commands)


def _port(facts: BrokerFacts) -> tuple[str, ...]:
    where = f"{facts.host}:{facts.port}"
    if "refused" in facts.said.lower():
        return (
            f"{where} refuses the connection: no broker listens on that port",
            "systemctl status mosquitto  # on the broker",
            "set mqtt.port in agent.yaml",
        )
    return (
        f"{where} does not answer: a firewall, or a machine that is off",
        f"nc -vz {facts.host} {facts.port}",
    )


def _silent(facts: BrokerFacts) -> tuple[str, ...]:
    return (
        f"{facts.host}:{facts.port} accepts and does not answer: it hangs, or a firewall or proxy is between",
        "sudo systemctl restart mosquitto  # on the broker",
        f"nc -vz {facts.host} {facts.port}  # from another network, without the firewall or proxy",
        "check mqtt.port in agent.yaml",
    )


def _tls(facts: BrokerFacts) -> tuple[str, ...]:
    where = f"{facts.host}:{facts.port}"
    show = (
        f"openssl s_client -connect {where} -servername {facts.host} </dev/null"
        " | openssl x509 -noout -dates -subject -ext subjectAltName"
    )
    if facts.code in (NOT_YET_VALID, EXPIRED):
        when = "not valid yet" if facts.code == NOT_YET_VALID else "expired"
        clock = "" if facts.clock_synced else ", or this machine's clock is wrong"
        return (f"the broker's certificate is {when}{clock}", "date", "timedatectl", show)
    if facts.code in (WRONG_NAME, WRONG_ADDRESS):
        return (
            f"the broker's certificate is not for the name {facts.host!r}",
            "set mqtt.host to a name in the certificate",
            show,
        )
    if facts.code in (SELF_SIGNED, SELF_SIGNED_CHAIN, NO_ISSUER):
        return (
            "the broker's certificate is signed by an authority that this device does not know",
            "set mqtt.tls.ca to the file of that authority",
            show,
        )
    if facts.code is not None:
        return (f"the broker's certificate is not accepted: {facts.said}", show)
    return (
        f"{where} does not speak TLS",
        "set mqtt.port to the broker's TLS port (mostly 8883), or remove mqtt.tls",
    )


def _login(facts: BrokerFacts) -> tuple[str, ...]:
    who = "anonymous devices" if facts.username is None else f"user {facts.username!r}"
    if facts.code in (BAD_USER, NOT_AUTHORIZED, BANNED, BAD_CLIENT):
        commands = ("set mqtt.username and mqtt.password_file in agent.yaml",)
        if facts.username is not None:
            commands = (f"mosquitto_passwd /etc/mosquitto/passwd {facts.username}  # on the broker",)
        return (f"the broker refuses {who}: {facts.said}", *commands, LOG)
    if facts.code == UNSUPPORTED:
        return (f"the broker does not speak MQTT {facts.version}", "set mqtt.version: '3.1.1' in agent.yaml")
    if facts.code is not None:
        return (f"the broker refuses the connection: {facts.said}", LOG)
    if facts.tls:
        return (_unwelcome(facts), *CERTIFICATE)
    return (
        "the broker hangs up unanswered: another protocol, or a TLS port",
        "set mqtt.port, or add mqtt.tls: {} in agent.yaml",
        LOG,
    )


def _unwelcome(facts: BrokerFacts) -> str:
    """Certificates went well from this side; in TLS 1.3 the other side's verdict comes later."""
    if facts.own_certificate:
        return "the broker does not accept this device's certificate (expired, or of a foreign authority)"
    return "the broker hangs up after the TLS handshake: it wants a certificate of this device"


def _read(facts: BrokerFacts) -> tuple[str, ...]:
    topics = ", ".join(facts.refused)
    return (
        f"the broker's access rules do not let this device read {topics}",
        "see docs/broker.md for rules that work",
        LOG,
    )


def _write(facts: BrokerFacts) -> tuple[str, ...]:
    who = "an anonymous device" if facts.username is None else f"user {facts.username!r}"
    return (
        f"the broker's access rules do not let {who} write below {facts.topic}",
        "see docs/broker.md for rules that work",
        "check device.id and device.site: rules by pattern want the login to be the device's name",
    )
