"""The way from a session to its collector: outbox, publisher and link, as agent.yaml wants them."""

from typing import TYPE_CHECKING

from agent.config import AgentConfig
from agent.sections import DeviceConfig
from agent.startup import Session
from agent.telemetry.options import MqttOptions
from agent.telemetry.ports import Link

if TYPE_CHECKING:
    from agent.telemetry.telemetry import Telemetry


def open_telemetry(config: AgentConfig, session: Session) -> "Telemetry":
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
        link=NoLink() if config.mqtt is None else _link(config.mqtt, device),
        mqtt=mqtt,
        options=options,
        replay_per_s=options.replay_per_s,
    )
    telemetry.start()
    telemetry.set_state("starting")
    return telemetry


def _link(mqtt: MqttOptions, device: DeviceConfig) -> Link:
    # Imported here: an agent without a broker does without its library.
    from agent.telemetry.mqtt import MqttLink

    return MqttLink(mqtt, client_id=f"litewatch-{device.site}-{device.id}")
