"""The collector against a real broker: stored once, acknowledged after the commit, never stopped."""

import random
import shutil
import sqlite3
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from broker import Broker, eventually, free_port, start_broker
from collecting import Collecting, Devices, version_of
from devices import Device
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from seeded_telemetry import AT, HEALTH, SESSIONS, about, alarm, envelope, health, state
from test_collector_admission import HOSTILE

from agent.telemetry import wire
from agent.telemetry.options import MqttOptions
from tools.collector.collector import Collector
from tools.collector.inbox import Inbound, Inbox
from tools.collector.store import Store
from tools.collector.subscriber import Event, Subscriber

pytest_plugins = ("broker",)


@pytest.fixture(autouse=True)
def nothing_is_left_running() -> Iterator[None]:
    yield
    while Collecting.started:
        Collecting.started.pop().kill9()


@pytest.fixture
def start() -> Iterator[Callable[..., Broker]]:
    """``start_broker``, stopped at the end."""
    started: list[Broker] = []

    def starting(directory: Path, **options: Any) -> Broker:
        started.append(start_broker(directory, **options))
        return started[-1]

    yield starting
    for broker in started:
        broker.stop()


@pytest.fixture
def devices(broker: Broker) -> Iterator[Devices]:
    client = Devices(broker)
    yield client
    client.close()


@pytest.fixture
def collecting(tmp_path: Path, broker: Broker) -> Collecting:
    return Collecting(tmp_path / "collector", broker).ready()


def rows(database: Path, query: str) -> list[Any]:
    connection = sqlite3.connect(database)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def stored(database: Path) -> list[int]:
    return [seq for (seq,) in rows(database, "SELECT seq FROM messages ORDER BY device, session, seq")]


def newest_state(database: Path) -> str:
    found = rows(database, "SELECT envelope FROM newest WHERE slot = 'state'")
    return str(wire.decode(found[0][0], kind="state").body.state) if found else ""


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_stored_once_and_acknowledged(tmp_path: Path, broker: Broker, devices: Devices, version: str) -> None:
    if version == "5" and version_of(broker) != "5":
        pytest.skip("needs mosquitto; the embedded broker speaks MQTT 3.1.1 only")
    collecting = Collecting(tmp_path / "c", broker, version=version).ready()
    devices.send(*(health(seq, floor=1) for seq in (1, 2, 3, 2, 1)))
    eventually(lambda: devices.acked.get(SESSIONS[1]) == 3, what="ack of 3")
    before = devices.acks
    devices.send(health(2, floor=1))  # the device missed the ack
    eventually(lambda: devices.acks > before, what="an ack for a duplicate")
    assert stored(collecting.database) == [1, 2, 3]
    assert collecting.stop() == "stopped: 3 stored, 3 duplicates, 0 quarantined"


def test_hostile_payloads_end_in_the_quarantine_and_nothing_stops(
    collecting: Collecting, devices: Devices
) -> None:
    corpus = {name: case for name, case in HOSTILE.items() if "//" not in case[0]}
    for topic, payload, _ in corpus.values():
        devices.raw(topic, payload)
    devices.raw("litewatch/1/lab/cam-1/command", b"\xff not for the collector")
    devices.send(health(1))
    eventually(lambda: devices.acked.get(SESSIONS[1]) == 1, what="a valid message after them")
    found = rows(collecting.database, "SELECT topic, size, reason FROM quarantine ORDER BY id")
    assert [(topic, size) for topic, size, _ in found] == [
        (topic, len(payload)) for topic, payload, _ in corpus.values()
    ]
    for (_, _, told), (_, _, reason) in zip(found, corpus.values(), strict=True):
        assert told.startswith(reason)
    assert "refused, the last from litewatch/1/" in collecting.said()
    assert collecting.said().count("\n") < 5


def test_nothing_from_the_network_moves_the_cursor(collecting: Collecting, devices: Devices) -> None:
    devices.send(state("degraded", 1, problems=("\x1b[2J\x1b[31mall is well\r\n",)))
    collecting.hears("all is well")
    assert "\x1b" not in collecting.said()
    assert "lab/cam-1: degraded; �[2J�[31mall is well��" in collecting.said()


def test_a_stale_death_does_not_overrule_the_living(collecting: Collecting, devices: Devices) -> None:
    devices.send(state("online", 2, session=SESSIONS[2]), retain=True)
    devices.send(
        state("lost", 1, session=SESSIONS[2]),
        state("lost", 7, session=SESSIONS[1]),
        health(1, session=SESSIONS[2]),
        retain=False,
    )
    eventually(lambda: devices.acked.get(SESSIONS[2]) == 1)
    assert newest_state(collecting.database) == "online"
    devices.send(state("lost", 2, session=SESSIONS[2]))
    eventually(lambda: newest_state(collecting.database) == "lost")


def test_births_from_before_the_collector_are_learnt(
    tmp_path: Path, broker: Broker, devices: Devices
) -> None:
    devices.send(state("online", 1), envelope(about(), 0), retain=True)
    for group in ((), ("--group", "fleet")):
        if group and version_of(broker) != "5":
            continue
        collecting = Collecting(tmp_path / "-".join(("c", *group)), broker, *group).ready()
        eventually(lambda c=collecting: len(rows(c.database, "SELECT slot FROM newest")) == 2)
        assert newest_state(collecting.database) == "online"
        collecting.stop()


def test_eviction_on_the_device_is_a_gap_and_does_not_stop_the_acks(
    collecting: Collecting, devices: Devices
) -> None:
    devices.send(health(1, floor=1), health(5, floor=1))
    eventually(lambda: devices.acked.get(SESSIONS[1]) == 1)
    devices.send(health(6, floor=5))
    eventually(lambda: devices.acked.get(SESSIONS[1]) == 6)
    assert rows(collecting.database, "SELECT upto, stored, lost FROM sessions") == [(6, 3, 3)]


def test_what_was_not_committed_is_sent_again_by_the_broker(
    tmp_path: Path, broker: Broker, devices: Devices
) -> None:
    """Killed before it could commit: the broker was told nothing, so nobody needs to publish again."""
    if version_of(broker) != "5":
        pytest.skip("needs mosquitto; the embedded broker forgets sessions")
    first = Collecting(tmp_path / "c", broker).ready()
    blocker = sqlite3.connect(first.database, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    devices.send(*(health(seq, floor=1) for seq in range(1, 6)))
    first.kill9()
    blocker.execute("ROLLBACK")
    blocker.close()
    assert stored(first.database) == [] and devices.acked == {}
    second = Collecting(tmp_path / "c", broker).ready()
    eventually(lambda: devices.acked.get(SESSIONS[1]) == 5)
    assert stored(second.database) == [1, 2, 3, 4, 5]
    second.stop()


def test_whatever_was_acknowledged_survives_kill_9(tmp_path: Path, broker: Broker, devices: Devices) -> None:
    """Killed at random moments under load; a device that resends what is not acknowledged loses nothing."""
    chance = random.Random(20260101)
    total, block = 900, 150
    for top in range(block, total + 1, block):
        collecting = Collecting(tmp_path / "c", broker).ready()
        acked = devices.acked.get(SESSIONS[1], 0)
        devices.send(*(health(seq, floor=acked + 1) for seq in range(acked + 1, top + 1)))
        goal = chance.randrange(acked, top)
        eventually(lambda goal=goal: devices.acked.get(SESSIONS[1], 0) >= goal)
        collecting.kill9()
        here = stored(collecting.database)
        assert here[: devices.acked.get(SESSIONS[1], 0)] == list(
            range(1, devices.acked.get(SESSIONS[1], 0) + 1)
        )
    last = Collecting(tmp_path / "c", broker).ready()
    acked = devices.acked.get(SESSIONS[1], 0)
    devices.send(*(health(seq, floor=acked + 1) for seq in range(acked + 1, total + 1)))
    eventually(lambda: devices.acked.get(SESSIONS[1]) == total)
    assert stored(last.database) == list(range(1, total + 1))
    assert rows(last.database, "SELECT upto, stored, lost FROM sessions") == [(total, total, 0)]
    last.stop()


def test_a_group_shares_the_work_and_the_prefix_still_advances(
    tmp_path: Path, broker: Broker, devices: Devices
) -> None:
    if version_of(broker) != "5":
        pytest.skip("needs mosquitto; the embedded broker has no shared subscriptions")
    pair = [Collecting(tmp_path / "c", broker, "--group", "fleet").ready() for _ in range(2)]
    devices.send(state("online", 1))
    devices.send(*(health(seq, floor=1) for seq in range(1, 301)))
    eventually(lambda: devices.acked.get(SESSIONS[1]) == 300, what="ack of all")
    eventually(lambda: all("lab/cam-1: online" in one.said() for one in pair), what="both hear the birth")
    assert stored(pair[0].database) == list(range(1, 301))
    shares = [int(one.stop().split()[1]) - 1 for one in pair]
    assert sum(shares) == 300 and min(shares) > 50


def test_one_of_a_group_may_die(tmp_path: Path, broker: Broker, devices: Devices) -> None:
    if version_of(broker) != "5":
        pytest.skip("needs mosquitto; the embedded broker has no shared subscriptions")
    pair = [Collecting(tmp_path / "c", broker, "--group", "fleet").ready() for _ in range(2)]
    devices.send(*(health(seq, floor=1) for seq in range(1, 101)))
    pair[0].kill9()
    acked = devices.acked.get(SESSIONS[1], 0)

    def resend_until_all_are_in() -> bool:
        now = devices.acked.get(SESSIONS[1], 0)
        if now < 200:
            devices.send(*(health(seq, floor=now + 1) for seq in range(now + 1, 201)))
        return devices.acked.get(SESSIONS[1]) == 200

    eventually(resend_until_all_are_in, what=f"ack of 200, from {acked}")
    assert stored(pair[1].database) == list(range(1, 201))
    pair[1].stop()


def test_a_broker_that_is_down_is_told_once_and_waited_for(
    tmp_path: Path, start: Callable[..., Broker]
) -> None:
    port = free_port()
    absent = Broker("127.0.0.1", port, "mosquitto", [], tmp_path / "none.log")
    collecting = Collecting(tmp_path / "c", absent)
    complaint = f"127.0.0.1:{port} cannot be reached: connection refused; trying again"
    collecting.hears(complaint)
    broker = start(tmp_path / "broker", port=port)
    if broker.kind != "mosquitto":
        pytest.skip("needs mosquitto; the embedded broker speaks MQTT 3.1.1 only")
    collecting.ready()
    assert collecting.said().count(complaint) == 1
    client = Devices(broker)
    client.send(health(1))
    eventually(lambda: client.acked.get(SESSIONS[1]) == 1)
    client.close()

    broker.kill9()
    collecting.hears(f"lost 127.0.0.1:{port}")
    broker.restart()
    eventually(lambda: collecting.said().count("collecting from") == 2)
    collecting.stop()


def test_a_broker_that_refuses_says_why(tmp_path: Path, start: Callable[..., Broker]) -> None:
    passwords = tmp_path / "passwords"
    passwords.write_text("")
    broker = start(tmp_path / "broker", config_extra=f"allow_anonymous false\npassword_file {passwords}")
    secret = tmp_path / "secret"
    secret.write_text("wrong\n")
    collecting = Collecting(tmp_path / "c", broker, "--username", "fleet", "--password-file", str(secret))
    collecting.hears(f"127.0.0.1:{broker.port} refuses: Not authorized; trying again")
    collecting.stop()


def answer_to(broker: Broker, login: str, place: str) -> str:
    """The broker's word on a message that ``login`` publishes."""
    told: list[str] = []
    client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    client.username_pw_set(login, "sesame")
    client.on_connect = lambda *_: client.publish(f"litewatch/1/{place}", b"x", qos=1)
    client.on_publish = lambda _c, _u, _mid, reason, _p: told.append(str(reason))
    client.connect(broker.host, broker.port)
    client.loop_start()
    eventually(lambda: told, what=f"an answer to {place}")
    client.disconnect()
    client.loop_stop()
    return told[0]


def test_tls(tmp_path: Path, start: Callable[..., Broker]) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("skipped: no openssl")
    for name in ("good", "other"):
        made = f"-keyout {tmp_path}/{name}.key -out {tmp_path}/{name}.pem -days 2 -nodes"
        kind = "-newkey ec -pkeyopt ec_paramgen_curve:P-256"
        names = f"-subj /CN={name} -addext subjectAltName=IP:127.0.0.1"
        subprocess.run(f"openssl req -x509 {kind} {made} {names}".split(), check=True, capture_output=True)
    extra = f"certfile {tmp_path}/good.pem\nkeyfile {tmp_path}/good.key"
    broker = start(tmp_path / "broker", config_extra=extra)
    trusting = Collecting(tmp_path / "a", broker, "--ca", str(tmp_path / "good.pem")).ready()
    trusting.stop()
    doubting = Collecting(tmp_path / "b", broker, "--ca", str(tmp_path / "other.pem"))
    doubting.hears(
        "cannot be reached: its certificate is not accepted: self-signed certificate; trying again"
    )
    doubting.stop()


@contextmanager
def in_this_process(path: Path, broker: Broker) -> Iterator[list[Event]]:
    """A collector on a thread; what it told."""
    events: list[Event] = []
    store, stop = Store(str(path)), threading.Event()
    options = MqttOptions(
        host=broker.host, port=broker.port, version="3.1.1" if version_of(broker) == "3.1.1" else "5"
    )
    subscriber = Subscriber(options, client_id="collector-under-test", on_event=events.append)
    collector = Collector(store, subscriber, on_event=events.append)
    thread = threading.Thread(target=collector.run, args=(stop,))
    thread.start()
    try:
        eventually(lambda: any(event.event == "subscribed" for event in events))
        yield events
    finally:
        stop.set()
        thread.join()
        store.close()


def test_a_database_that_refuses_is_waited_for(
    tmp_path: Path, broker: Broker, devices: Devices, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tools.collector.database.BUSY_TIMEOUT_S", 0.05)
    path = tmp_path / "collector.db"
    with in_this_process(path, broker) as events:
        blocker = sqlite3.connect(path, isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        devices.send(health(1), health(2))
        eventually(lambda: any(event.event == "database" for event in events))
        assert devices.acked == {}
        blocker.execute("ROLLBACK")
        blocker.close()
        eventually(lambda: devices.acked.get(SESSIONS[1]) == 2)
    told = next(event.text for event in events if event.event == "database")
    assert told == "the database refused a batch: database is locked; trying again"
    assert stored(path) == [1, 2]


def test_births_a_busy_broker_dropped_are_heard_again(
    tmp_path: Path, broker: Broker, devices: Devices, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tools.collector.collector.REFRESH_S", 0.2)
    path = tmp_path / "collector.db"
    with in_this_process(path, broker) as events:
        devices.send(state("online", 1), retain=True)
        eventually(lambda: newest_state(path) == "online")
        connection = sqlite3.connect(path, isolation_level=None, timeout=20)
        connection.execute("DELETE FROM newest")
        connection.close()
        eventually(lambda: newest_state(path) == "online")
    assert [event.event for event in events] == ["subscribed", "state"]


def test_an_alarm_is_told_in_one_line(collecting: Collecting, devices: Devices) -> None:
    devices.send(envelope(alarm("raised"), 1))
    collecting.hears("lab/cam-1: drift raised (warning): images are darker than the reference")


def test_the_inbox_is_bounded_in_messages_and_in_bytes() -> None:
    def inbound(size: int) -> Inbound:
        return Inbound(
            topic="t", payload=b"x" * size, retained=False, mid=1, qos=1, connection=1, received_at=AT
        )

    inbox = Inbox(messages=3, size=100)
    assert inbox.put(inbound(500), timeout_s=0)  # one always fits
    assert not inbox.put(inbound(1), timeout_s=0)
    assert [len(m.payload) for m in inbox.take(9, timeout_s=0)] == [500]
    assert [inbox.put(inbound(size), timeout_s=0) for size in (40, 40, 40, 10, 1)] == [
        True,
        True,
        False,
        True,
        False,
    ]
    assert [len(m.payload) for m in inbox.take(2, timeout_s=0)] == [40, 40]
    assert inbox.put(inbound(90), timeout_s=0)
    assert [len(m.payload) for m in inbox.take(9, timeout_s=0)] == [10, 90]
    assert inbox.take(9, timeout_s=0) == []


def test_an_agent_delivers_to_the_collector(tmp_path: Path, broker: Broker, collecting: Collecting) -> None:
    """Both real ends: the outbox empties because the collector has committed, not because it was sent."""
    device = Device(tmp_path / "device", broker)
    device.telemetry.set_state("online")
    for _ in range(20):
        device.telemetry.emit(HEALTH)
    eventually(lambda: device.held == 0 and len(stored(collecting.database)) == 21)
    assert stored(collecting.database) == list(range(1, 22))
    assert newest_state(collecting.database) == "online"
    device.telemetry.stop(timeout_s=5.0)
