"""The way from a session to its collector: outbox, publisher and link, as agent.yaml wants them."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from agent.config import AgentConfig
from agent.sections import DeviceConfig
from agent.startup import Session
from agent.telemetry.options import MqttOptions
from agent.telemetry.ports import Link

if TYPE_CHECKING:
    from agent.telemetry.telemetry import Telemetry


def open_telemetry(config: AgentConfig, session: Session, environment: Mapping[str, str]) -> "Telemetry":
    """The session's telemetry, started, its state ``starting``. Raises OutboxError."""
    # Imported here, on the thread that opens it.
    from agent.telemetry.letterhead import Letterhead
    from agent.telemetry.no_link import NoLink
    from agent.telemetry.outbox import Outbox
    from agent.telemetry.telemetry import Telemetry

    device, options = config.device, config.outbox
    mqtt = config.mqtt or MqttOptions(host="", backoff_max_s=3600)
    outbox = Outbox(
        options.path or session.state / "outbox.db",
        session=session.id,
        max_bytes=options.max_bytes,
        flush_interval_s=options.flush_interval_s,
        clock=session.clock.monotonic,
    )
    telemetry = Telemetry(
        letterhead=Letterhead(device=device.id, site=device.site, session=session.id, clock=session.clock),
        outbox=outbox,
        link=NoLink() if config.mqtt is None else _link(config.mqtt, device, environment),
        mqtt=mqtt,
        options=options,
        replay_per_s=options.replay_per_s,
    )
    telemetry.start()
    telemetry.set_state("starting")
    return telemetry


def _link(mqtt: MqttOptions, device: DeviceConfig, environment: Mapping[str, str]) -> Link:
    # Imported here: an agent without a broker does without its library.
    from agent.telemetry.mqtt import MqttLink

    folder = environment.get("CREDENTIALS_DIRECTORY")
    if folder:
        mqtt = _with_credentials(mqtt, Path(folder))
    return MqttLink(mqtt, client_id=f"litewatch-{device.site}-{device.id}")


def _with_credentials(mqtt: MqttOptions, folder: Path) -> MqttOptions:
    """Relative paths are looked up among systemd's credentials first. The unit loads the directory
    ``secrets``, and systemd calls the file ``secrets/key`` in it ``secrets_key``."""

    def found(path: str | None) -> str | None:
        credential = folder / path.replace("/", "_") if path else folder
        return str(credential) if credential.is_file() else path

    tls = mqtt.tls
    if tls is not None:
        tls = replace(tls, ca=found(tls.ca), certificate=found(tls.certificate), key=found(tls.key))
    return replace(mqtt, password_file=found(mqtt.password_file), tls=tls)
