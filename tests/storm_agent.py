"""An agent for the storm: numbered messages, and a log of what was certainly committed.

    python tests/storm_agent.py DIRECTORY HOST PORT MQTT_VERSION

Message n has seq n + 1 (seq 1 is the state). ``committed.log`` gets a line ``<session> <seq>`` after a
commit: everything of the session up to that seq is on disk. On SIGTERM it emits no more, delivers what
it holds and ends.
"""

import os
import signal
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from broker import Broker  # noqa: E402  # after the path is set
from devices import Device  # noqa: E402

from agent.telemetry.messages import Alarm, Body, Window  # noqa: E402

INTERVAL_S = 0.004
ALARM_EVERY = 10


def message(number: int) -> tuple[Body, bool]:
    """The message of a number, and whether it is urgent."""
    if number % ALARM_EVERY == 0:
        return Alarm(
            alarm="drift", status="raised", severity="notice", cause="", summary="", evidence={"n": number}
        ), True
    return Window(
        opened_at="", closed_at="", duration_s=0, frames=number, samples=0, features=(), groups={}
    ), False


def main(directory: Path, host: str, port: int, version: str) -> None:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    options = {"flush_interval_s": 0.2, "ack_timeout_s": 1.0}
    device = Device(
        directory, Broker(host, port, "mosquitto", [], directory), outbox=options, version=version
    )
    log = os.open(directory / "committed.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    device.telemetry.set_state("online")
    number = logged = 0

    def note() -> None:
        nonlocal logged
        committed = device.outbox.stats.committed_seq
        if committed > logged:
            os.write(log, f"{device.session} {committed}\n".encode())
            logged = committed

    while not stop.wait(INTERVAL_S):
        number += 1
        body, urgent = message(number)
        device.telemetry.emit(body, urgent=urgent)
        note()
    device.telemetry.flush()
    note()
    while device.held:
        time.sleep(0.05)
    device.telemetry.stop(5.0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4])
