"""``litewatch command`` against a device on a real broker, and against the agent of this machine."""

import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty
from typing import Any

import click
import pytest
from broker import Broker, eventually, start_broker
from devices import DEVICE, SITE, Device
from test_control import Recorded

from agent.control import Control, MonitorChanges
from agent.device.control_socket import Ask, ControlSocket
from agent.errors import InputError, MachineError
from tools.commands.command import command, parse_settings

pytest_plugins = ("broker",)


class Obeying:
    """A device whose main loop answers every command."""

    def __init__(
        self, directory: Path, broker: Broker, fails: Exception | None = None, **options: Any
    ) -> None:
        self.controls = Recorded(fails)
        self.device = Device(directory, broker, **options)
        eventually(lambda: self.device.telemetry.stats.connected)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._loop)
        self._thread.start()

    def _loop(self) -> None:
        control = Control(self.controls)
        telemetry = self.device.telemetry
        while not self._ended.is_set():
            try:
                inbound = telemetry.inbox.get(timeout=0.05)
            except Empty:
                continue
            telemetry.reply(inbound, control.answer(inbound.body))

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        self.device.telemetry.stop(0.0)


@pytest.fixture
def obeying(tmp_path: Path, broker: Broker) -> Iterator[Callable[..., Obeying]]:
    made: list[Obeying] = []

    def make(*fails: Exception, at: Broker | None = None, **options: Any) -> Obeying:
        made.append(Obeying(tmp_path / "device", at or broker, *fails, **options))
        return made[-1]

    (tmp_path / "device").mkdir()
    yield make
    for one in made:
        one.close()


def run(*arguments: str) -> int:
    """The exit status."""
    try:
        status: int = command.main(list(arguments), standalone_mode=False)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    return status


def sent(broker: Broker, *arguments: str) -> int:
    version = "5" if broker.kind == "mosquitto" else "3.1.1"
    place = ("--mqtt", f"{broker.host}:{broker.port}", "--device", DEVICE, "--site", SITE)
    how = () if "--mqtt-version" in arguments else ("--mqtt-version", version)
    return run(*arguments, *place, *how)


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_a_command_is_sent_and_its_reply_shown(
    obeying: Callable[..., Obeying], broker: Broker, capsys: pytest.CaptureFixture[str], version: str
) -> None:
    if version == "5" and broker.kind != "mosquitto":
        pytest.skip("needs mosquitto")
    one = obeying()
    settings = ("set", "sample_every=5", "window.samples=500", "window.interval_s=60")
    assert sent(broker, *settings, "--json", "--mqtt-version", version) == 0
    assert one.controls.told == [MonitorChanges(sample_every=5, window_samples=500, window_interval_s=60.0)]
    reply = json.loads(capsys.readouterr().out)
    assert reply["ok"]
    assert reply["result"] == {"sample_every": 5, "window": {"samples": 500, "interval_s": 60}}


def test_a_refusal_is_exit_status_1_with_its_reasons(
    obeying: Callable[..., Obeying], broker: Broker, capsys: pytest.CaptureFixture[str]
) -> None:
    obeying(MachineError("a check runs already"))
    assert sent(broker, "check") == 1
    assert capsys.readouterr().err == "refused: a check runs already\n"


def test_nobody_there_is_told_at_once_where_the_broker_can(broker: Broker) -> None:
    if broker.kind != "mosquitto":
        pytest.skip("MQTT 3.1.1 cannot tell")
    with pytest.raises(MachineError, match="no agent of that name is subscribed"):
        sent(broker, "pause", "--timeout", "20")


def test_a_device_that_does_not_answer_is_told_in_time(tmp_path: Path, broker: Broker) -> None:
    deaf = Device(tmp_path, broker)
    try:
        eventually(lambda: deaf.telemetry.stats.connected)
        with pytest.raises(MachineError, match=r"^lab/cam-1: no reply within 1 s$"):
            sent(broker, "pause", "--timeout", "1")
    finally:
        deaf.telemetry.stop(0.0)


def test_a_broker_that_is_not_there_is_told(tmp_path: Path) -> None:
    gone = start_broker(tmp_path / "gone")
    gone.stop()
    with pytest.raises(MachineError, match="cannot be reached: connection refused"):
        sent(gone, "pause")


@pytest.mark.parametrize(
    ("arguments", "problems"),
    [
        (("pause",), ("--device: required, or --local", "--site: required, or --local")),
        (("pause", "--local", "--device", "d"), ("--local: leave out --device and --site",)),
        (
            ("set", "=1", "a", "b.c=1", "b=2", "--local"),
            (
                "=1: expected KEY=VALUE, each key once",
                "a: expected KEY=VALUE, each key once",
                "b=2: expected KEY=VALUE, each key once",
            ),
        ),
    ],
)
def test_wrong_usage_is_told_whole(arguments: tuple[str, ...], problems: tuple[str, ...]) -> None:
    with pytest.raises(InputError) as caught:
        run(*arguments)
    assert caught.value.problems == problems


def test_settings_are_written_as_in_agent_yaml() -> None:
    assert parse_settings(("a=1", "b.c=2.5", "b.d=true", "e=word", "f=")) == (
        {"a": 1, "b": {"c": 2.5, "d": True}, "e": "word", "f": None},
        [],
    )


def test_the_agent_of_this_machine_is_asked_without_a_broker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    control = Control(Recorded())

    def answer(ask: Ask) -> None:
        ask.answer(control.answer(ask.command, local=True))

    here = ControlSocket(tmp_path / "control.sock", post=answer)
    here.start()
    try:
        assert run("canary", "--local") == 0
        assert capsys.readouterr().err == "runs: 8\nmismatches: 0\n"
        assert run("pause", "--local") == 0
        assert capsys.readouterr().err == "done\n"
        assert run("reboot", "--local") == 1
    finally:
        here.close()
    with pytest.raises(MachineError, match=r"no agent of this machine listens at .*control\.sock"):
        run("pause", "--local")
