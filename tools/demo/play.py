"""Runs the demo: collector and agents as real processes, and labels that arrive later."""

import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from agent.errors import MachineError
from agent.telemetry.messages import Label
from agent.telemetry.options import MqttOptions
from tools.cli import LITEWATCH
from tools.collector.sender import send_labels
from tools.demo.broker import Broker
from tools.demo.prepare import SITE, Device

LABEL_DELAY_S = 3.0
"""How long after its frame a label comes."""
TICK_S = 0.5
ENDS_WITHIN_S = 15.0


@contextmanager
def running(command: Sequence[str], log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A process for as long as the context lasts; then SIGTERM, and it must end by itself."""
    with log.open("wb") as output:
        # A session of its own: Ctrl-C is for the demo, which ends its processes in the right order.
        process = subprocess.Popen(
            command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, start_new_session=True
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(ENDS_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def collector_command(database: Path, broker: Broker) -> Sequence[str]:
    address = f"{broker.host}:{broker.port}"
    mqtt = ("--mqtt", address, "--mqtt-version", broker.mqtt_version)
    return [*LITEWATCH, "collect", *mqtt, "--db", str(database)]


def agent_command(device: Device) -> Sequence[str]:
    return [*LITEWATCH, "run", "-c", str(device.config)]


def stream_labels(devices: Sequence[Device], broker: Broker, *, after_each: Callable[[], None]) -> None:
    """Send each frame's truth ``LABEL_DELAY_S`` after its turn, until all are sent."""
    version: Literal["5", "3.1.1"] = "5" if broker.mqtt_version == "5" else "3.1.1"
    options = MqttOptions(host=broker.host, port=broker.port, version=version)
    begin = time.monotonic()
    sent = dict.fromkeys((device.name for device in devices), 0)
    while any(sent[device.name] < len(device.truth) for device in devices):
        time.sleep(TICK_S)
        elapsed_s = time.monotonic() - begin - LABEL_DELAY_S
        for device in devices:
            due = device.truth[sent[device.name] : max(0, int(elapsed_s * device.fps))]
            if due:
                labels = tuple(Label(name=name, label=truth) for name, truth in due)
                send_labels(options, site=SITE, device=device.name, batches=[labels])
                sent[device.name] += len(due)
        after_each()


def check_alive(processes: Mapping[str, "subprocess.Popen[bytes]"], folder: Path) -> None:
    """Raises MachineError with the last words of a process that ended too early."""
    for name, process in processes.items():
        if process.poll() is not None:
            said = (folder / f"{name}.log").read_text(errors="replace")[-600:]
            raise MachineError(f"{name} ended with {process.returncode}: {said}")
