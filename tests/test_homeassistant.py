"""The announcement to Home Assistant: what it says, what its templates make of real messages, and how it
comes and goes on a real broker."""

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from broker import Broker, eventually
from devices import DEVICE, SITE, Device
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from agent.telemetry.announcer import Announcer
from agent.telemetry.homeassistant import (
    BIRTH_TOPIC,
    STATES,
    Announced,
    announcement,
    discovery_topic,
    removal,
)
from agent.telemetry.ports import Publication
from agent.telemetry.topic_file import TopicFile

pytest_plugins = ("broker",)

MESSAGES = Path(__file__).parent / "fixtures" / "messages"
TOPIC = f"homeassistant/device/litewatch-{SITE}/{DEVICE}/config"


def announced(**changes: Any) -> Announced:
    usual: dict[str, Any] = {
        "site": SITE,
        "device": DEVICE,
        "agent": "0.4.0",
        "bundle": "door.tflite",
        "task": "classification",
        "window_s": 300.0,
        "health_s": 300.0,
        "flush_s": 120.0,
    }
    return Announced(**usual | changes)


def payload(**changes: Any) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(announcement(announced(**changes), prefix="homeassistant").payload)
    return made


def message(kind: str, body: dict[str, Any] | None = None, **envelope: Any) -> dict[str, Any]:
    """A stored example of a message, changed."""
    made: dict[str, Any] = json.loads((MESSAGES / f"{kind}.v1.json").read_text())
    made.update(envelope)
    made["body"] = made["body"] | (body or {})
    return made


def shown(
    name: str,
    value: dict[str, Any],
    *,
    key: str = "value_template",
    task: str = "classification",
    **this: Any,
) -> str:
    """What the component's template makes of a message, as Home Assistant would render it."""
    jinja2 = pytest.importorskip("jinja2", reason="Home Assistant's templates are Jinja's: needs jinja2")
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined)
    environment.globals |= {"as_datetime": datetime.fromisoformat, "timedelta": timedelta}
    environment.filters["to_json"] = json.dumps
    component = payload(task=task)["components"][name]
    template = component["availability"][0]["value_template"] if key == "availability" else component[key]
    rendered: str = environment.from_string(template).render(value_json=value, this=this)
    return rendered.strip()


def test_it_is_one_retained_message_that_a_broker_forgets_in_the_end() -> None:
    made = announcement(announced(), prefix="homeassistant")
    assert (made.topic, made.retain, made.expiry_s) == (TOPIC, True, 30 * 86_400)
    assert removal(made.topic).payload == b""
    assert removal(made.topic).retain


def test_it_names_the_device_its_origin_and_seven_things_to_see() -> None:
    made = payload()
    assert set(made) == {"device", "origin", "qos", "components"}
    assert made["device"]["identifiers"] == ["litewatch/lab/cam-1"]
    assert made["origin"] == {"name": "litewatch", "sw_version": "0.4.0"}
    assert {name: component["platform"] for name, component in made["components"].items()} == {
        "state": "sensor",
        "accuracy": "sensor",
        "estimated_accuracy": "sensor",
        "estimated_loss": "sensor",
        "drift": "binary_sensor",
        "temperature": "sensor",
        "last_inference": "sensor",
    }
    assert [component["unique_id"] for component in made["components"].values()] == [
        f"litewatch_lab_cam-1_{name}" for name in made["components"]
    ]
    assert {component["state_topic"] for component in made["components"].values()} == {
        "litewatch/1/lab/cam-1/state",
        "litewatch/1/lab/cam-1/window",
        "litewatch/1/lab/cam-1/health",
    }


def test_values_expire_and_the_state_stays() -> None:
    components = payload(window_s=600.0)["components"]
    assert {name: component.get("expire_after") for name, component in components.items()} == {
        "state": None,
        "accuracy": 1920,
        "estimated_accuracy": 1920,
        "estimated_loss": 1920,
        "drift": 1920,
        "temperature": 1020,
        "last_inference": 1020,
    }
    assert "availability" not in components["state"]
    assert all(components[name]["availability"] for name in components if name != "state")


@pytest.mark.parametrize(
    ("site", "device", "expected"),
    [
        ("lab", "cam-1", "homeassistant/device/litewatch-lab/cam-1/config"),
        ("lab", "cam.1", "homeassistant/device/litewatch-lab/cam_1-66498bf0/config"),
        ("lab", "cam_1", "homeassistant/device/litewatch-lab/cam_1/config"),
        ("halle süd", "ä", "homeassistant/device/litewatch-halle_s_d-85807463/_-33e6d73f/config"),
    ],
)
def test_topics_hold_only_what_home_assistant_takes(site: str, device: str, expected: str) -> None:
    assert discovery_topic("homeassistant", site, device) == expected


def test_a_regression_shows_its_error() -> None:
    component = payload(task="regression")["components"]["accuracy"]
    assert (component["name"], component.get("unit_of_measurement")) == ("Mean absolute error", None)
    assert "accuracy.mae" in component["value_template"]


@pytest.mark.parametrize("state", STATES)
def test_the_state_is_that_of_births_and_wills_only(state: str) -> None:
    assert shown("state", message("state", {"state": state}, seq=0)) == state
    assert shown("state", message("state", {"state": state}, seq=7), state="degraded") == "degraded"
    available = shown("drift", message("state", {"state": state}, seq=0), key="availability")
    assert available == ("offline" if state in ("lost", "stopped") else "online")
    assert shown("drift", message("state", {"state": state}, seq=7), key="availability") == ""


def test_problems_stand_beside_the_state() -> None:
    told = message("state", {"problems": ["source: it's away"]}, seq=0)
    said = json.loads(shown("state", told, key="json_attributes_template", attributes={}))
    assert said == {"problems": ["source: it's away"]}
    old = message("state", {"problems": []}, seq=3)
    kept = json.loads(shown("state", old, key="json_attributes_template", attributes=said))
    assert kept == said


@pytest.mark.parametrize(
    ("accuracy", "historical", "expected"),
    [
        ({"n": 100, "accuracy": 0.8437, "low": 0.8, "high": 0.9}, False, "84.37"),
        ({"n": 100, "accuracy": 0.0, "low": 0.0, "high": 0.1}, False, "0.0"),
        ({"n": 100, "accuracy": 0.8437, "low": 0.8, "high": 0.9}, True, ""),
        ({"n": 100, "accuracy": None}, False, ""),
        (None, False, ""),
    ],
)
def test_accuracy_is_in_percent_and_absent_without_labels(
    accuracy: dict[str, Any] | None, historical: bool, expected: str
) -> None:
    told = message("window", {"accuracy": accuracy}, historical=historical)
    assert shown("accuracy", told) == expected


ESTIMATE = {
    "kind": "accuracy",
    "value": 0.8124,
    "low": 0.741,
    "high": 0.876,
    "reference": 0.91,
    "method": "replay",
    "abstained": "",
}
NOTHING = {"value": None, "low": None, "high": None, "method": "", "abstained": "too few frames"}


@pytest.mark.parametrize(
    ("estimate", "historical", "accuracy", "loss"),
    [
        (ESTIMATE, False, "81.24", "9.76"),
        (ESTIMATE | {"reference": None}, False, "81.24", "None"),
        (ESTIMATE | NOTHING, False, "None", "None"),
        (ESTIMATE | {"method": "agreement with the undisturbed model, trees"}, False, "None", "None"),
        (ESTIMATE, True, "", ""),
        (None, False, "", ""),
    ],
)
def test_what_is_estimated_without_labels(
    estimate: dict[str, Any] | None, historical: bool, accuracy: str, loss: str
) -> None:
    told = message("window", {"estimate": estimate}, historical=historical)
    assert (shown("estimated_accuracy", told), shown("estimated_loss", told)) == (accuracy, loss)


def test_a_window_of_an_older_agent_has_no_estimate() -> None:
    told = message("window", historical=False)
    del told["body"]["estimate"]
    assert shown("estimated_accuracy", told) == ""


def test_the_interval_and_the_method_stand_beside_the_estimate() -> None:
    def attributes(told: dict[str, Any], before: dict[str, Any]) -> Any:
        return json.loads(
            shown("estimated_accuracy", told, key="json_attributes_template", attributes=before)
        )

    first = attributes(message("window", {"estimate": ESTIMATE}, historical=False), {})
    assert first == {"low": 74.1, "high": 87.6, "reference": 91.0, "method": "replay", "abstained": ""}
    late = message("window", {"estimate": ESTIMATE | {"low": 0.1}}, historical=True)
    assert attributes(late, first) == first
    assert attributes(late, {}) == dict.fromkeys(first)
    silent = attributes(message("window", {"estimate": ESTIMATE | NOTHING}, historical=False), first)
    assert silent == {
        "low": None,
        "high": None,
        "reference": 91.0,
        "method": "",
        "abstained": "too few frames",
    }


def test_a_regressions_estimate_is_its_squared_error() -> None:
    components = payload(task="regression")["components"]
    assert components["estimated_accuracy"]["name"] == "Estimated mean squared error"
    assert "unit_of_measurement" not in components["estimated_accuracy"]
    assert "estimated_loss" not in components
    estimate = ESTIMATE | {"kind": "mse", "value": 51.25, "low": 44.0, "high": 58.5, "reference": 32.0}
    told = message("window", {"estimate": estimate}, historical=False)
    assert shown("estimated_accuracy", told, task="regression") == "51.25"
    said = shown("estimated_accuracy", told, key="json_attributes_template", task="regression", attributes={})
    assert json.loads(said)["high"] == 58.5


@pytest.mark.parametrize(
    ("tests", "expected"),
    [
        ([(1e-6, 1e-4)], "ON"),
        ([(0.5, 1e-4)], "OFF"),
        ([(0.01, 1e-4)], ""),
        ([(0.5, 1e-4), (1e-6, 1e-4)], "ON"),
        ([], ""),
    ],
)
def test_drift_is_raised_cleared_or_left_as_it_was(tests: list[tuple[float, float]], expected: str) -> None:
    told = message("window", {"drift": [{"p": p, "alpha": alpha} for p, alpha in tests]}, historical=False)
    assert shown("drift", told) == expected


def test_temperature_and_last_inference_come_from_health() -> None:
    told = message(
        "health",
        {"soc_temperature_c": 61.5, "last_inference_age_s": 2.5},
        created_at="2026-01-31T12:00:00.000Z",
        historical=False,
    )
    assert shown("temperature", told) == "61.5"
    assert shown("last_inference", told) == "2026-01-31T11:59:57.500000+00:00"
    nothing = message("health", {"soc_temperature_c": None, "last_inference_age_s": None}, historical=False)
    assert (shown("temperature", nothing), shown("last_inference", nothing)) == ("", "None")


class Home:
    """Home Assistant's part on the broker: reads discovery topics, says that it has come."""

    def __init__(self, broker: Broker) -> None:
        self.heard: list[tuple[str, bytes]] = []
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv311)
        self._client.on_connect = lambda client, *_: client.subscribe("homeassistant/device/#", 1)
        self._client.on_message = lambda _client, _data, said: self.heard.append(
            (said.topic, bytes(said.payload))
        )
        subscribed: list[int] = []
        self._client.on_subscribe = lambda *_: subscribed.append(1)
        self._client.connect(broker.host, broker.port)
        self._client.loop_start()
        eventually(lambda: subscribed, what="Home Assistant's subscription")

    def come(self) -> None:
        self._client.publish(BIRTH_TOPIC, b"online", qos=1)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def home(broker: Broker) -> Iterator[Callable[[], Home]]:
    made: list[Home] = []

    def make() -> Home:
        made.append(Home(broker))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_it_comes_again_with_home_assistant_and_goes_for_good(
    tmp_path: Path, broker: Broker, home: Callable[[], Home]
) -> None:
    device = Device(tmp_path, broker)
    try:
        made = announcement(announced(), prefix="homeassistant")
        first = home()
        device.telemetry.set_announcement(made, birth_topic=BIRTH_TOPIC)
        eventually(lambda: (TOPIC, made.payload) in first.heard, what="the announcement")
        later = home()
        eventually(lambda: later.heard == [(TOPIC, made.payload)], what="the retained announcement")
        later.come()
        eventually(lambda: len(later.heard) >= 2, what="the announcement after the birth message")
        assert set(later.heard) == {(TOPIC, made.payload)}
        device.telemetry.set_announcement(removal(made.topic), birth_topic=None)
        eventually(lambda: later.heard[-1] == (TOPIC, b""), what="the removal")
    finally:
        device.telemetry.stop(2.0)
    stranger = home()
    stranger.come()
    device = Device(tmp_path, broker)
    try:
        eventually(lambda: device.telemetry.stats.connected, what="the next run's connection")
        assert stranger.heard == []
    finally:
        device.telemetry.stop(2.0)


class Told:
    """Remembers what telemetry is told; stands in for it."""

    def __init__(self) -> None:
        self.said: list[tuple[Publication | None, str | None]] = []

    def set_announcement(self, publication: Publication | None, *, birth_topic: str | None) -> None:
        self.said.append((publication, birth_topic))


def test_switched_off_while_the_device_was_off_it_is_taken_back_once(tmp_path: Path) -> None:
    wanted = announcement(announced(), prefix="homeassistant")
    memory = TopicFile(tmp_path / "announced")
    first, second, third = Told(), Told(), Told()
    Announcer(telemetry=first, memory=memory, wanted=wanted)
    assert first.said == [(wanted, BIRTH_TOPIC)]
    off = Announcer(telemetry=second, memory=memory, wanted=None)
    for connected in (False, True, False, True):
        off.look(connected=connected)
    assert second.said == [(removal(wanted.topic), None)]
    off.look(connected=True)
    off.look(connected=True)
    assert second.said == [(removal(wanted.topic), None), (None, None)]
    Announcer(telemetry=third, memory=memory, wanted=None).look(connected=True)
    assert third.said == [(None, None)]
    assert list(tmp_path.iterdir()) == []


def test_under_a_new_topic_the_old_one_goes_first(tmp_path: Path) -> None:
    before = announcement(announced(), prefix="homeassistant")
    after = announcement(announced(), prefix="ha")
    memory, told = TopicFile(tmp_path / "announced"), Told()
    memory.write(before.topic)
    changed = Announcer(telemetry=told, memory=memory, wanted=after)
    changed.look(connected=True)
    changed.look(connected=True)
    assert told.said == [(removal(before.topic), None), (after, BIRTH_TOPIC)]
    assert memory.read() == after.topic


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"homeassistant/#", b"a\x00b", b"one\ntwo"])
def test_a_damaged_memory_is_no_memory(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "announced").write_bytes(content)
    assert TopicFile(tmp_path / "announced").read() is None


def test_a_memory_that_cannot_be_written_is_no_end(tmp_path: Path) -> None:
    TopicFile(tmp_path / "missing" / "announced").write("a/b")
    assert TopicFile(tmp_path / "missing" / "announced").read() is None
