"""A real MQTT broker for tests, on a free loopback port: mosquitto, or amqtt (MQTT 3.1.1 only) without it.

A test module says ``pytest_plugins = ("broker",)`` to get the ``broker`` fixture, or calls
``start_broker`` itself. mosquitto runs with its default queue and with persistence.

(PYTEST_DONT_REWRITE: test modules import this before they name it as a plugin.)
"""

import asyncio
import getpass
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from tools.demo.broker import free_port

HOST = "127.0.0.1"
MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
DEADLINE_S = 20.0


@dataclass
class Broker:
    """A running broker process. ``restart`` brings it back on the same port and files."""

    host: str
    port: int
    kind: Literal["mosquitto", "amqtt"]
    command: list[str]
    log: Path
    process: subprocess.Popen[bytes] = field(init=False)

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self.command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + DEADLINE_S
        while not _listens(self.host, self.port):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError(f"the broker did not start:\n{self.log.read_text()}")
            time.sleep(0.01)

    def kill9(self) -> None:
        self.process.kill()
        self.process.wait()

    def restart(self) -> None:
        """Start again after ``stop`` or ``kill9`` (or stop and start)."""
        self.stop()
        self.start()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            self.kill9()


def start_broker(directory: Path, *, config_extra: str = "", port: int | None = None) -> Broker:
    """Start a broker whose files lie in ``directory``.

    ``config_extra`` is added to mosquitto's listener (``cafile …``, ``acl_file …``); a test that
    needs it is skipped where only amqtt is there.
    """
    directory.mkdir(parents=True, exist_ok=True)
    for _ in range(5):
        broker = _prepare(directory, port or free_port(), config_extra)
        try:
            broker.start()
        except RuntimeError:
            if port is not None or "already in use" not in broker.log.read_text():
                raise
        else:
            return broker
    raise RuntimeError("no free port found for the broker")


def eventually(condition: Callable[[], object], *, within_s: float = DEADLINE_S, what: str = "") -> None:
    """Poll until ``condition`` holds; fail the test after ``within_s``."""
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"did not happen within {within_s} s: {what or condition}")
        time.sleep(0.01)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    running = start_broker(tmp_path / "broker")
    yield running
    running.stop()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if MOSQUITTO is None:
        terminalreporter.write_line("mosquitto is not installed: broker tests ran on amqtt (MQTT 3.1.1 only)")


def _prepare(directory: Path, port: int, extra: str) -> Broker:
    log = directory / "broker.log"
    if MOSQUITTO is None:
        if extra:
            pytest.skip("needs mosquitto; only the embedded broker is here")
        return Broker(HOST, port, "amqtt", [sys.executable, __file__, HOST, str(port)], log)
    config = directory / "mosquitto.conf"
    anonymous = "" if "allow_anonymous" in extra else "allow_anonymous true\n"
    config.write_text(
        f"user {getpass.getuser()}\npersistence true\npersistence_location {directory}/\n"
        f"listener {port} {HOST}\n{anonymous}{extra}\n"
    )
    return Broker(HOST, port, "mosquitto", [MOSQUITTO, "-c", str(config)], log)


def _listens(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), timeout=1):
            return True
    except OSError:
        return False


async def _serve_amqtt(host: str, port: int) -> None:
    from amqtt.broker import Broker as Amqtt

    await Amqtt(
        {
            "listeners": {"default": {"type": "tcp", "bind": f"{host}:{port}"}},
            "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
        }
    ).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve_amqtt(sys.argv[1], int(sys.argv[2])))
