"""The agent as nobody sees it: delegates that vanish, configs that are bad, commands from afar."""

import json
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
import standin
import yaml
from broker import Broker, eventually, start_broker
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from agent.device.control_socket import ask
from tools.cli import LITEWATCH

pytestmark = [pytest.mark.runtime, pytest.mark.timeout(120)]
ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny classifier with its Edge TPU twin, the golden pictures beside it."""
    return standin.standin_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture
def device(tmp_path: Path, bundle: Path) -> Iterator["Unattended"]:
    broker = start_broker(tmp_path / "broker")
    made = Unattended(tmp_path, bundle, broker)
    yield made
    made.kill()
    made.ear.loop_stop()
    broker.stop()


class Unattended:
    """A device as systemd runs it: STATE_DIRECTORY, a config that says nothing of it, a paced source."""

    def __init__(self, folder: Path, bundle: Path, broker: Broker) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.state.mkdir()
        self.log = folder / "log"
        shutil.copy(bundle, folder / "bundle.tflite")
        pictures = next(bundle.parent.glob("golden*/*.png")).parent
        self.config: dict[str, Any] = {
            "device": {"id": "cam-1", "site": "lab"},
            "model": {"bundle": "bundle.tflite"},
            "source": {"kind": "directory", "path": str(pictures), "loop": True, "fps": 50},
            "monitor": {"sample_every": 1, "window": {"samples": 20}, "false_alarms_per_month": 1000},
            "health": {"interval_s": 0.5},
            "mqtt": {"host": broker.host, "port": broker.port, "backoff_min_s": 0.05, "backoff_max_s": 1},
            "outbox": {"flush_interval_s": 0.1, "confirm": "broker"},
        }
        if broker.kind == "amqtt":
            self.config["mqtt"]["version"] = "3.1.1"
        self.process: subprocess.Popen[bytes] | None = None
        self.heard: list[tuple[str, dict[str, Any]]] = []
        self.ear = paho.Client(CallbackAPIVersion.VERSION2)
        self.ear.on_message = self._hear
        self.ear.on_connect = lambda client, *_: client.subscribe("litewatch/1/lab/#", 1)
        self.ear.connect(broker.host, broker.port)
        self.ear.loop_start()

    def _hear(self, _client: paho.Client, _data: Any, message: paho.MQTTMessage) -> None:
        if message.topic.endswith("/command"):
            return
        envelope = json.loads(message.payload)
        if envelope["seq"]:  # the outbox's own, each once; what is retained is said beside it
            self.heard.append((message.topic.rpartition("/")[2], envelope))

    def start(self, *, text: str | None = None) -> "Unattended":
        path = self.folder / "agent.yaml"
        path.write_text(yaml.safe_dump(self.config) if text is None else text)
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "STATE_DIRECTORY": str(self.state)}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*LITEWATCH, "run", "-c", str(path)], env=environment, stdout=log, stderr=log
            )
        return self

    def ready(self) -> "Unattended":
        self.until(lambda: bool(self.bodies("health")), "it runs")
        return self

    def stop(self) -> int:
        assert self.process is not None
        self.process.terminate()
        return self.process.wait(30)

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(30)

    def until(self, condition: Callable[[], object], what: str, *, within_s: float = 40.0) -> None:
        try:
            eventually(condition, within_s=within_s, what=what)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log.read_text()[-3000:]}") from None

    def bodies(self, kind: str) -> list[dict[str, Any]]:
        """In the order of their making; sent twice, counted once."""
        told = {
            (envelope["session"], envelope["seq"]): envelope
            for topic, envelope in self.heard
            if topic == kind
        }
        return [told[identity]["body"] for identity in sorted(told)]

    def problems(self) -> list[str]:
        states = self.bodies("state")
        return list(states[-1]["problems"]) if states else []

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        request = {"command": command, "arguments": arguments}
        return dict(ask(self.state / "control.sock", request, timeout_s=20))


def test_a_lost_delegate_degrades_and_comes_back(device: Unattended) -> None:
    switch = device.folder / "switch"
    switch.write_text("ok")
    device.config["model"]["delegate"] = standin.as_yaml(standin.library(), switch=str(switch))
    device.start().ready()
    assert device.problems() == []
    assert device.bodies("health")[-1]["delegate"] == "external"
    switch.write_text("segfault")
    device.until(lambda: device.bodies("health")[-1]["delegate"] == "cpu", "the CPU runs", within_s=10)
    (said,) = [problem for problem in device.problems() if problem.startswith("delegate")]
    assert "signal 11" in said
    assert said.endswith("the CPU runs the model")
    lost = device.bodies("health")[-1]
    assert (lost["frames_lost"], lost["failovers"]) == (1, 1)
    before = lost["inferences"]
    device.until(lambda: device.bodies("health")[-1]["inferences"] > before, "frames go on")
    switch.write_text("ok")
    device.until(lambda: device.bodies("health")[-1]["delegate"] == "external", "it is back", within_s=30)
    device.until(lambda: device.problems() == [], "and the device online")
    assert device.stop() == 0


def test_a_delegate_that_is_absent_at_the_start_is_no_reason_not_to_start(device: Unattended) -> None:
    switch = device.folder / "switch"
    switch.write_text("absent")
    device.config["model"]["delegate"] = standin.as_yaml(standin.library(), switch=str(switch))
    device.start().ready()
    assert any(problem.startswith("delegate: ") for problem in device.problems())
    assert device.bodies("health")[-1]["delegate"] == "cpu"
    switch.write_text("ok")
    device.until(lambda: device.bodies("health")[-1]["delegate"] == "external", "it came", within_s=30)


def test_a_delegate_that_computes_wrongly_is_a_hardware_alarm_and_no_drift(device: Unattended) -> None:
    switch = device.folder / "switch"
    switch.write_text("ok")
    device.config["model"]["delegate"] = standin.as_yaml(standin.library(), switch=str(switch))
    device.config["monitor"]["canary"] = {"interval_s": 1, "inputs": 2}
    device.start().ready()
    device.until(lambda: device.bodies("health")[-1]["canary_blessed"] == 2, "the device is blessed")
    switch.write_text("off_by_one")
    device.until(lambda: device.bodies("alarm"), "the alarm")
    alarm = device.bodies("alarm")[0]
    assert (alarm["alarm"], alarm["cause"], alarm["severity"]) == ("hardware", "hardware", "critical")
    device.until(lambda: device.bodies("health")[-1]["delegate"] == "cpu", "the CPU runs the model")
    assert not any(alarm["alarm"] == "drift" for alarm in device.bodies("alarm"))


def test_commands_of_programs_on_this_machine(device: Unattended) -> None:
    device.start().ready()
    assert device.ask("nonsense")["problems"][0].startswith("command: unknown command 'nonsense'")
    assert device.ask("pause")["ok"]
    device.until(lambda: device.bodies("health")[-1]["paused"], "paused")
    paused = device.bodies("health")[-1]["inferences"]
    count = len(device.bodies("health"))
    device.until(lambda: len(device.bodies("health")) > count + 1, "health goes on")
    assert device.bodies("health")[-1]["inferences"] == paused
    assert device.ask("resume")["ok"]
    device.until(lambda: device.bodies("health")[-1]["inferences"] > paused, "frames again")
    device.until(lambda: device.ask("canary")["ok"], "the canary is ready")
    report = device.ask("canary")["result"]
    assert (report["inputs"], report["blessed"], report["mismatches"]) == (8, 8, [])
    refused = device.ask("sample")
    assert refused["problems"] == ["capture.enabled: is false on this device: no frame is ever kept"]
    assert device.ask("set", window={"samples": 5000})["problems"][0].startswith(
        "monitor.window.samples: 5000"
    )
    assert device.ask("set", window={"samples": 25}, sample_every=2)["ok"]
    device.until(
        lambda: any(window["samples"] == 25 for window in device.bodies("window")), "windows of another size"
    )
    assert device.ask("commission")["ok"]
    assert device.ask("rebirth")["ok"]
    assert device.stop() == 0


def test_the_newest_size_of_a_window_is_learned_by_one_thread(device: Unattended) -> None:
    device.start().ready()
    assert device.process is not None
    tasks = Path(f"/proc/{device.process.pid}/task")
    before = len(list(tasks.iterdir()))
    for samples in (21, 22, 23, 24, 25, 26):
        assert device.ask("set", window={"samples": samples})["ok"]
    assert len(list(tasks.iterdir())) <= before + 2
    device.until(
        lambda: any(window["samples"] == 26 and window["drift"] for window in device.bodies("window")),
        "windows of the newest size are tested",
    )


def test_a_check_beside_the_agent_is_published_by_it(device: Unattended) -> None:
    """Two connections of one login would end each other on the shipped broker configuration."""
    device.start().ready()
    state = device.ask("state")["result"]
    assert (state["device"], state["site"], state["state"]) == ("cam-1", "lab", "online")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "STATE_DIRECTORY": str(device.state)}
    path = str(device.folder / "agent.yaml")
    command = [*LITEWATCH, "check", "-c", path, "--inputs", "8", "--publish", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=100)
    assert "handed to the running agent" in done.stderr, done.stderr
    verdict = json.loads(done.stdout)["verdict"]
    device.until(lambda: device.bodies("check"), "the check")
    (check,) = device.bodies("check")
    assert check["verdict"] == verdict
    refused = device.ask("publish", check={"verdict": "fine"})
    assert refused["problems"] and not refused["ok"]


def test_a_sample_is_kept_only_where_capture_is_on(device: Unattended) -> None:
    device.config["capture"] = {"enabled": True, "random_every": None, "low_confidence_below": None}
    device.start().ready()
    reply = device.ask("sample")
    assert reply["ok"], reply
    frame = reply["result"]["frame"]
    assert {path.name for path in (device.state / "samples").iterdir()} == {f"{frame}.jpg", f"{frame}.json"}


def test_sighup_applies_a_valid_config_under_the_same_process_id(device: Unattended) -> None:
    device.start().ready()
    process = device.process
    assert process is not None
    device.config["monitor"]["window"]["samples"] = 22
    (device.folder / "agent.yaml").write_text(yaml.safe_dump(device.config))
    process.send_signal(signal.SIGHUP)
    device.until(lambda: any(w["samples"] == 22 for w in device.bodies("window")), "the new windows")
    assert process.poll() is None
    assert [body["state"] for body in device.bodies("state")][-4:] == [
        "online",
        "stopped",
        "starting",
        "online",
    ]
    assert device.stop() == 0


def test_sighup_refuses_a_bad_config_and_goes_on(device: Unattended) -> None:
    device.start().ready()
    assert device.process is not None
    good = (device.folder / "agent.yaml").read_text()
    (device.folder / "agent.yaml").write_text(good.replace("sample_every: 1", "sample_every: none"))
    device.process.send_signal(signal.SIGHUP)
    device.until(lambda: device.problems(), "the refusal")
    assert device.problems() == [
        "config: the new one is refused: agent.yaml: monitor.sample_every: expected int, got 'none'"
    ]
    before = device.bodies("health")[-1]["inferences"]
    device.until(lambda: device.bodies("health")[-1]["inferences"] > before, "it goes on")
    (device.folder / "agent.yaml").write_text(good)
    device.process.send_signal(signal.SIGHUP)
    device.until(lambda: device.bodies("state")[-1]["state"] == "online", "and is well with a good one")


@pytest.mark.parametrize("broken", ["config", "bundle"])
def test_a_bad_new_config_or_bundle_never_bricks_a_device(device: Unattended, broken: str) -> None:
    device.start().ready()
    device.until(lambda: (device.state / "last-good" / "agent.yaml").exists(), "the good ones are kept")
    assert device.stop() == 0
    if broken == "bundle":
        (device.folder / "bundle.tflite").write_bytes(b"half a download")
        device.start()
    else:
        device.start(text="device: {id: cam-1}\nmodle: {}\n")
    device.until(lambda: device.bodies("state")[-1]["state"] == "degraded", "degraded")
    device.until(lambda: any("last good one runs" in problem for problem in device.problems()), "it says so")
    runs = len(device.bodies("health"))
    device.until(lambda: len(device.bodies("health")) > runs, "and runs")
    assert device.bodies("health")[-1]["inferences"] > 0
    assert device.stop() == 0


def test_without_a_good_one_a_bad_config_ends_with_2(device: Unattended) -> None:
    device.start(text="device: {id: cam-1}\nmodle: {}\n")
    assert device.process is not None
    assert device.process.wait(30) == 2
    assert "modle: unknown section" in device.log.read_text()
    assert "Traceback" not in device.log.read_text()


def test_a_command_by_mqtt_is_answered_where_its_sender_asks(device: Unattended) -> None:
    if device.config["mqtt"].get("version") == "3.1.1":
        pytest.skip("skipped: needs MQTT 5; only the embedded broker is here")
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    got: list[tuple[bool, bytes]] = []
    client.on_message = lambda _c, _d, message: got.append(
        (json.loads(message.payload)["body"]["ok"], message.properties.CorrelationData)
    )
    device.start().ready()
    client.connect(device.config["mqtt"]["host"], device.config["mqtt"]["port"])
    client.loop_start()
    try:
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.ResponseTopic = "answers/me"
        properties.CorrelationData = b"17"
        subscribed = threading.Event()
        client.on_subscribe = lambda *_: subscribed.set()
        client.subscribe("answers/me", 1)
        assert subscribed.wait(20)
        topic = "litewatch/1/lab/cam-1/command"
        envelope = device.heard[0][1]
        envelope = envelope | {"schema": "litewatch.command/1", "seq": 0, "body": {"command": "pause"}}
        client.publish(topic, json.dumps(envelope), qos=1, properties=properties)
        client.publish(topic, b"{not json", qos=1, properties=properties)
        device.until(lambda: len(got) == 2, "both answers")
        assert sorted(got) == [(False, b"17"), (True, b"17")]
        assert device.stop() == 0
    finally:
        client.loop_stop()


def test_labels_outlive_a_pulled_plug_and_kept_frames_can_be_labelled_after_it(device: Unattended) -> None:
    device.config["capture"] = {"enabled": True, "random_every": 2, "per_hour": 3600, "publish": True}
    device.config["monitor"]["window"] |= {"interval_s": 0.5}
    device.start().ready()
    device.until(lambda: len(device.bodies("sample")) >= 4, "four kept frames")
    early, late = (body["frame"] for body in device.bodies("sample")[:2])
    host, port = device.config["mqtt"]["host"], device.config["mqtt"]["port"]
    sending = [*LITEWATCH, "label", "--device", "cam-1", "--site", "lab", "--mqtt", f"{host}:{port}"]
    sending += ["--mqtt-version", device.config["mqtt"].get("version", "5"), "--label", "0", "--frame"]

    def labelled() -> int:
        windows = [body["accuracy"] for body in device.bodies("window")]
        return windows[-1]["n"] if windows and windows[-1] else 0

    subprocess.run([*sending, early], check=True, cwd=ROOT, capture_output=True)
    device.until(lambda: labelled() == 1, "the first label")
    device.kill()
    device.heard.clear()
    device.start()
    device.until(lambda: labelled() == 1, "the label of before")
    subprocess.run([*sending, late], check=True, cwd=ROOT, capture_output=True)
    device.until(lambda: labelled() == 2, "a label for a frame kept before")
    assert device.bodies("health")[-1]["labels_unknown"] == 0
    assert device.stop() == 0
