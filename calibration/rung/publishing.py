"""Sends the result of a check to the collector, from a session of its own.

Its own outbox and MQTT client id: the agent of this device may be running, and neither its outbox nor
its connection may be taken from it. For the same reason nothing is said here of the device's state.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import random

from agent.config import AgentConfig
from agent.device.clock import boot_id, clock_synced
from agent.errors import ConfigError, MachineError
from agent.telemetry import wire
from agent.telemetry.backoff import Backoff
from agent.telemetry.clock import Clock, format_utc
from agent.telemetry.letterhead import Letterhead, preprocess_to_json
from agent.telemetry.messages import Check, CheckRung, PreprocessInUse, kind_of
from agent.telemetry.mqtt import MqttLink
from agent.telemetry.options import MqttOptions
from agent.telemetry.outbox import Outbox
from agent.telemetry.publisher import Publisher
from agent.telemetry.session_file import remembered_session
from calibration.check_result import CheckResult

WITHIN_S = 30.0
STOP_WITHIN_S = 5.0
_POLL_S = 0.05


def message(result: CheckResult) -> Check:
    """The published part of a result."""
    return Check(
        verdict=result.verdict,
        cause=result.cause,
        rungs=tuple(
            CheckRung(
                name=rung.name,
                verdict=rung.verdict,
                inputs=rung.inputs,
                flips=rung.flips,
                accuracy=rung.accuracy,
            )
            for rung in result.rungs
        ),
        sentence=result.sentence,
    )


def publish(
    check: Check,
    config: AgentConfig,
    *,
    state: Path,
    fingerprint: str,
    within_s: float = WITHIN_S,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Deliver ``check`` and wait until whoever confirms for this device has it.

    Raises ConfigError without a section ``mqtt``, MachineError when it was not delivered in time: then
    it stays in the outbox and goes out with the next check that is published.
    """
    if config.mqtt is None:
        raise ConfigError("--publish: agent.yaml has no section mqtt")
    clock = Clock(wall=time.time, monotonic=time.monotonic, boot_id=boot_id(), synced=clock_synced)
    session = remembered_session(state / "check-session")
    outbox = Outbox(
        state / "check-outbox.db",
        session=session,
        max_bytes=config.outbox.max_bytes,
        flush_interval_s=config.outbox.flush_interval_s,
        clock=clock.monotonic,
    )
    outbox.append(
        kind_of(check),
        wire.body_json(check),
        created_at=format_utc(clock.wall()),
        boot_id=clock.boot_id,
        clock_synced=clock.synced(),
        urgent=True,
        preprocess=preprocess_to_json(PreprocessInUse(fingerprint=fingerprint, differs=())),
    )
    publisher = _publisher(config, config.mqtt, outbox, session, clock)
    publisher.start()
    try:
        deadline = clock.monotonic() + within_s
        while outbox.stats.messages and clock.monotonic() < deadline:
            sleep(_POLL_S)
        left, problems = outbox.stats.messages, publisher.problems
    finally:
        publisher.stop(STOP_WITHIN_S)
        outbox.close()
    if left:
        why = f": {'; '.join(problems)}" if problems else ""
        raise MachineError(f"--publish: not confirmed within {within_s:g} s, kept for the next time{why}")


def _publisher(
    config: AgentConfig, mqtt: MqttOptions, outbox: Outbox, session: str, clock: Clock
) -> Publisher:
    device = config.device
    client_id = f"{mqtt.client_id or f'litewatch-{device.site}-{device.id}'}-check"
    return Publisher(
        outbox=outbox,
        link=MqttLink(replace(mqtt, client_id=client_id), client_id=client_id),
        letterhead=Letterhead(device=device.id, site=device.site, session=session, clock=clock),
        backoff=Backoff(min_s=mqtt.backoff_min_s, max_s=mqtt.backoff_max_s, random=random),
        broker=mqtt.address,
        connect_timeout_s=mqtt.connect_timeout_s,
        confirm=config.outbox.confirm,
        ack_timeout_s=config.outbox.ack_timeout_s,
        inbound=lambda envelope: None,
        speaks_for_device=False,
    )
