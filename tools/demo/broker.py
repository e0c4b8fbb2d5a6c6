"""A broker for the demo: mosquitto where it is installed, otherwise the embedded amqtt.

``python -m tools.demo.broker HOST PORT`` runs the embedded one.
"""

import asyncio
import getpass
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from agent.errors import MachineError

HOST = "127.0.0.1"
STARTS_WITHIN_S = 15.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Broker:
    """A running broker; ``name`` says which one it is, ``mqtt_version`` what it speaks."""

    name: str
    host: str
    port: int
    mqtt_version: str


@contextmanager
def local_broker(folder: Path, *, port: int | None = None) -> Iterator[Broker]:
    """Run a broker on a loopback port for as long as the context lasts. Raises MachineError."""
    port = port or free_port()
    mosquitto = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
    if mosquitto:
        broker = Broker(name="mosquitto", host=HOST, port=port, mqtt_version="5")
        command = [mosquitto, "-c", str(_mosquitto_config(folder, port))]
    elif find_spec("amqtt"):
        broker = Broker(name="amqtt", host=HOST, port=port, mqtt_version="3.1.1")
        command = [sys.executable, "-m", "tools.demo.broker", HOST, str(port)]
    else:
        raise MachineError("no MQTT broker here: apt install mosquitto, or pip install 'litewatch[demo]'")
    log = folder / "broker.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, start_new_session=True
        )
    try:
        _wait_until_listening(process, port, log)
        yield broker
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port() -> int:
    """A port nobody listens on, below those that systems give to outgoing connections: a broker that
    stops and starts again finds it still free."""
    while True:
        with socket.socket() as probe:
            port = 16_384 + secrets.randbelow(16_384)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
            return port


def _mosquitto_config(folder: Path, port: int) -> Path:
    config = folder / "mosquitto.conf"
    # Started by root, mosquitto would become a user who cannot read the demo's folder.
    config.write_text(f"user {getpass.getuser()}\nlistener {port} {HOST}\nallow_anonymous true\n")
    return config


def _wait_until_listening(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    deadline = time.monotonic() + STARTS_WITHIN_S
    while True:
        try:
            socket.create_connection((HOST, port), timeout=1).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise MachineError(f"the broker did not start: {log.read_text()[-400:]}") from None
            time.sleep(0.02)
        else:
            return


async def _serve_amqtt(host: str, port: int) -> None:
    from amqtt.broker import Broker as Amqtt

    listeners = {"default": {"type": "tcp", "bind": f"{host}:{port}"}}
    plugins = {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}}
    await Amqtt({"listeners": listeners, "plugins": plugins}).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve_amqtt(sys.argv[1], int(sys.argv[2])))
