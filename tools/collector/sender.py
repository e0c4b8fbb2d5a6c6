"""Sending labels: connected, published, and each publish's own answer read."""

import queue
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from agent.errors import MachineError
from agent.telemetry import wire
from agent.telemetry.identity import new_session
from agent.telemetry.messages import UNSEQUENCED, Envelope, Label, Labels, schema_name, topic
from agent.telemetry.options import MqttOptions
from tools.collector.admission import stamp
from tools.collector.client import REFUSED, connect_later, make_client, why_unreachable

NOBODY = 0x10
"""The broker took the message, and no agent is subscribed to it."""
WAIT_S = 15.0


def send_labels(
    options: MqttOptions,
    *,
    site: str,
    device: str,
    batches: Sequence[tuple[Label, ...]],
    wait_s: float = WAIT_S,
) -> None:
    """Publish each batch as one message. Raises WireError, before anything is sent, when one cannot be.

    Raises MachineError when the broker cannot be reached, refuses, or (MQTT 5) has no agent to give
    them to; some batches may have arrived by then.
    """
    payloads = [_payload(site, device, labels) for labels in batches]
    answers: queue.SimpleQueue[tuple[int, str]] = queue.SimpleQueue()
    client = make_client(options, client_id="", persistent=False)

    def connected(_client: Any, _userdata: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        answers.put((reason.value, str(reason)))

    def unreachable(_client: Any, _userdata: Any) -> None:
        answers.put((REFUSED, f"cannot be reached: {why_unreachable()}"))

    def lost(_client: Any, _userdata: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        answers.put((REFUSED, f"closed the connection ({reason})"))

    def published(_client: Any, _userdata: Any, _mid: int, reason: Any, _properties: Any) -> None:
        answers.put((reason.value, str(reason)))

    client.on_connect = connected
    client.on_connect_fail = unreachable
    client.on_disconnect = lost
    client.on_publish = published
    connect_later(client, options, session_expiry_s=0, receive_maximum=10)
    client.loop_start()
    try:
        _expect(answers, options.address, wait_s)
        for payload in payloads:
            client.publish(topic(site, device, "label"), payload, qos=1)
            _expect(
                answers, options.address, wait_s, nobody=f"no agent {device} of site {site} is subscribed"
            )
    finally:
        client.on_disconnect = None
        client.disconnect()
        client.loop_stop()


def _expect(
    answers: "queue.SimpleQueue[tuple[int, str]]", address: str, wait_s: float, *, nobody: str = ""
) -> None:
    try:
        value, told = answers.get(timeout=wait_s)
    except queue.Empty:
        raise MachineError(f"{address}: no answer within {wait_s:g} s") from None
    if value >= REFUSED or (value and not nobody):
        raise MachineError(f"{address}: {told}")
    if value == NOBODY:
        raise MachineError(f"{address}: {nobody}; the labels were not delivered")


def _payload(site: str, device: str, labels: tuple[Label, ...]) -> bytes:
    return wire.encode(
        Envelope(
            schema=schema_name("label"),
            device=device,
            site=site,
            session=new_session(),
            seq=UNSEQUENCED,
            sent_at=stamp(datetime.now(UTC)),
            boot_id="",
            clock_synced=False,
            historical=False,
            body=Labels(labels=labels),
        )
    )
