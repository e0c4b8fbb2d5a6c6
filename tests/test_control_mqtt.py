"""Commands over a real broker: what is answered, where the answer goes, what is ignored or limited."""

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from broker import HOST, Broker, eventually, start_broker
from devices import DEVICE, SITE, Device, make_clock
from fake_collector import FakeCollector
from requester import Requester, command_payload

from agent.telemetry import telemetry as facade
from agent.telemetry.messages import Alarm, Command, Reply, topic
from agent.telemetry.ports import Inbound, Publication
from agent.telemetry.reception import COMMANDS_AT_ONCE, TOO_FAST

pytest_plugins = ("broker",)

OWN_REPLY = topic(SITE, DEVICE, "reply")
BIRTH = "home/status"
ALARM = Alarm(alarm="drift", status="raised", severity="warning", cause="data:light", summary="dark")


@pytest.fixture
def device(tmp_path: Path, broker: Broker) -> Iterator[Callable[..., Device]]:
    made: list[Device] = []

    def make(at: Broker | None = None, **options: Any) -> Device:
        made.append(Device(tmp_path, at or broker, **options))
        eventually(lambda: made[-1].telemetry.stats.connected)
        return made[-1]

    yield make
    for one in made:
        one.telemetry.stop(0.0)


@pytest.fixture
def requester(broker: Broker) -> Iterator[Callable[..., Requester]]:
    if broker.kind != "mosquitto":
        pytest.skip("needs mosquitto; the embedded broker speaks MQTT 3.1.1 only")
    made: list[Requester] = []

    def make(at: Broker | None = None, **options: Any) -> Requester:
        made.append(Requester(at or broker, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def collector(broker: Broker) -> Iterator[Callable[..., FakeCollector]]:
    made: list[FakeCollector] = []

    def make(at: Broker | None = None, **options: Any) -> FakeCollector:
        made.append(FakeCollector(at or broker, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def received(device: Device) -> Inbound:
    return device.telemetry.inbox.get(timeout=20)


def replies(listener: FakeCollector) -> list[Reply]:
    """Those that came through the outbox."""
    return [envelope.body for envelope in listener.of("reply")]


def test_an_answer_goes_to_whoever_asked_with_its_correlation_data(
    device: Callable[..., Device],
    requester: Callable[..., Requester],
    collector: Callable[..., FakeCollector],
) -> None:
    asking, listener, one = requester(), collector(), device()
    asking.ask(Command(command="canary", transaction="t-1"), correlation=b"\x00\xff7")
    inbound = received(one)
    assert inbound.body == Command(command="canary", transaction="t-1")
    one.telemetry.reply(inbound, Reply(transaction="t-1", ok=True, result={"runs": 8}))
    eventually(lambda: asking.answers)
    (answer,) = asking.answers
    assert (answer.topic, answer.correlation) == ("answers/me", b"\x00\xff7")
    assert answer.reply == Reply(transaction="t-1", ok=True, result={"runs": 8})
    assert (answer.envelope.device, answer.envelope.session, answer.envelope.seq) == (DEVICE, one.session, 0)
    assert (one.held, replies(listener)) == (0, [])  # it cost the card nothing


def test_the_devices_own_reply_topic_can_be_the_response_topic(
    device: Callable[..., Device], requester: Callable[..., Requester]
) -> None:
    asking, one = requester(answers=OWN_REPLY), device()
    asking.ask(Command(command="pause"), correlation=b"mine")
    one.telemetry.reply(received(one), Reply(transaction=None, ok=True))
    eventually(lambda: asking.answers)
    assert (asking.answers[0].correlation, one.held) == (b"mine", 0)


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_without_a_response_topic_the_answer_is_kept_and_named_by_its_transaction(
    device: Callable[..., Device], collector: Callable[..., FakeCollector], broker: Broker, version: str
) -> None:
    if version == "5" and broker.kind != "mosquitto":
        pytest.skip("needs mosquitto")
    listener, one = collector(), device(version=version, outbox={"flush_interval_s": 1000.0})
    listener.send(Command(command="pause", transaction="t-2"))
    one.telemetry.reply(received(one), Reply(transaction="t-2", ok=True))
    eventually(lambda: replies(listener) == [Reply(transaction="t-2", ok=True)])


@pytest.mark.parametrize(
    "place", ["answers/+", "answers/#", "$SYS/x", topic(SITE, DEVICE, "state"), topic(SITE, "cam-2", "reply")]
)
def test_a_device_does_not_speak_where_it_must_not_be_made_to(
    device: Callable[..., Device],
    requester: Callable[..., Requester],
    collector: Callable[..., FakeCollector],
    place: str,
) -> None:
    asking, listener, one = requester(), collector(), device()
    try:
        asking.ask(Command(command="pause", transaction="t-3"), response_topic=place)
    except ValueError:
        pytest.skip("this client does not even send it")
    one.telemetry.reply(received(one), Reply(transaction="t-3", ok=True))
    eventually(lambda: replies(listener) == [Reply(transaction="t-3", ok=True)])


def test_an_answer_the_broker_refuses_to_carry_goes_to_the_devices_reply_topic(
    tmp_path: Path,
    device: Callable[..., Device],
    requester: Callable[..., Requester],
    collector: Callable[..., FakeCollector],
) -> None:
    acl = tmp_path / "acl"
    acl.write_text("topic readwrite litewatch/#\ntopic read answers/#\n")
    acl.chmod(0o644)
    strict = start_broker(tmp_path / "strict", config_extra=f"acl_file {acl}")
    try:
        asking, listener, one = requester(strict), collector(strict), device(strict)
        asking.ask(Command(command="pause", transaction="t-4"))
        one.telemetry.reply(received(one), Reply(transaction="t-4", ok=True))
        eventually(lambda: replies(listener) == [Reply(transaction="t-4", ok=True)])
        assert one.telemetry.stats.problems == ()
    finally:
        strict.stop()


def test_an_answer_that_was_under_way_when_the_connection_ended_is_sent_on_the_next(
    device: Callable[..., Device], requester: Callable[..., Requester]
) -> None:
    asking, one = requester(), device()
    asking.ask(Command(command="pause"), correlation=b"later")
    inbound = received(one)
    one.cut()
    one.telemetry.reply(inbound, Reply(transaction=None, ok=True))
    eventually(lambda: [answer.correlation for answer in asking.answers] == [b"later"])


MALFORMED = {
    b"\xff": "payload: not UTF-8 at byte 0",
    b"[]": "payload: expected a JSON object, got list",
    b'{"schema": "litewatch.command/2"}': (
        "schema: litewatch.command/2 is newer than litewatch.command/1: update the agent"
    ),
}


@pytest.mark.parametrize("payload", MALFORMED)
def test_a_malformed_command_is_answered_with_what_is_wrong(
    device: Callable[..., Device], requester: Callable[..., Requester], payload: bytes
) -> None:
    asking, one = requester(), device()
    asking.send(payload, correlation=b"c")
    eventually(lambda: asking.answers)
    assert asking.answers[0].reply == Reply(transaction=None, ok=False, problems=(MALFORMED[payload],))
    assert asking.answers[0].correlation == b"c"
    assert (one.telemetry.stats.counters.inbound_refused, one.telemetry.inbox.empty()) == (1, True)


def test_a_malformed_command_is_answered_by_its_transaction_where_there_is_no_response_topic(
    device: Callable[..., Device], collector: Callable[..., FakeCollector]
) -> None:
    listener, one = collector(), device()
    whole = command_payload(Command(command="pause", transaction="t-5"))
    listener.send_bytes("command", whole.replace(b'"arguments":{}', b'"arguments":7'))
    eventually(lambda: replies(listener))
    (told,) = replies(listener)
    assert (told.transaction, told.ok) == ("t-5", False)
    assert told.problems == ("body.arguments: wrong type",)
    assert one.telemetry.inbox.empty()


def test_a_command_for_another_device_is_refused(
    device: Callable[..., Device], requester: Callable[..., Requester]
) -> None:
    asking, one = requester(), device()
    asking.send(command_payload(Command(command="pause"), device="cam-2", site="barn"))
    eventually(lambda: asking.answers)
    assert asking.answers[0].reply.problems == (
        "device: the envelope says 'cam-2', this is 'cam-1'",
        "site: the envelope says 'barn', this is 'lab'",
    )
    assert one.telemetry.inbox.empty()


def test_a_retained_command_is_ignored_also_when_it_comes_while_the_device_listens(
    device: Callable[..., Device], requester: Callable[..., Requester]
) -> None:
    asking, one = requester(), device()
    asking.ask(Command(command="pause"), retain=True)
    eventually(lambda: one.telemetry.stats.counters.inbound_refused == 1)
    asking.ask(Command(command="resume"))
    assert received(one).body == Command(command="resume")
    assert asking.answers == []


def test_commands_that_come_too_fast_are_refused_once_and_counted(
    device: Callable[..., Device], requester: Callable[..., Requester]
) -> None:
    asking, one = requester(), device(clock=make_clock(monotonic=lambda: 1000.0))
    for number in range(COMMANDS_AT_ONCE + 5):
        asking.ask(Command(command="pause", transaction=str(number)))
    eventually(lambda: one.telemetry.stats.counters.commands_limited == 5)
    assert one.telemetry.inbox.qsize() == COMMANDS_AT_ONCE
    eventually(lambda: asking.answers)
    refused = Reply(transaction=str(COMMANDS_AT_ONCE), ok=False, problems=(TOO_FAST,))
    assert [answer.reply for answer in asking.answers] == [refused]


def test_a_device_that_takes_no_commands_says_so(
    device: Callable[..., Device], collector: Callable[..., FakeCollector]
) -> None:
    listener, one = collector(), device(commands=False)
    listener.send(Command(command="pause", transaction="t-6"))
    refused = Reply(transaction="t-6", ok=False, problems=(facade.NO_COMMANDS,))
    eventually(lambda: replies(listener) == [refused])
    assert one.telemetry.inbox.empty()


def test_an_answer_too_large_to_send_is_said_to_be_so(
    device: Callable[..., Device], requester: Callable[..., Requester]
) -> None:
    asking, one = requester(), device()
    asking.ask(Command(command="canary"))
    one.telemetry.reply(received(one), Reply(transaction=None, ok=True, result={"x": "y" * 300_000}))
    eventually(lambda: asking.answers)
    assert not asking.answers[0].reply.ok
    assert asking.answers[0].reply.problems[0].startswith("the answer cannot be sent: body: 3000")


@pytest.mark.parametrize("version", ["5", "3.1.1"])
@pytest.mark.parametrize("client_id", [None, "another"])
def test_a_copied_card_is_counted_whether_or_not_the_broker_says_so(
    tmp_path: Path, device: Callable[..., Device], broker: Broker, version: str, client_id: str | None
) -> None:
    if version == "5" and broker.kind != "mosquitto":
        pytest.skip("needs mosquitto")
    one = device(version=version)
    one.telemetry.set_state("online")
    copy = Device(tmp_path / "copied card", broker, version=version, client_id=client_id)
    try:
        copy.telemetry.set_state("online")
        eventually(lambda: one.telemetry.stats.takeovers >= 1)
        if client_id is None:  # the two throw each other out, and each hears of the other when it is back
            eventually(lambda: copy.telemetry.stats.takeovers >= 1)
    finally:
        copy.telemetry.stop(0.0)


def test_a_broker_that_names_the_takeover_is_believed(tmp_path: Path) -> None:
    with socket.create_server((HOST, 0)) as server:
        place = Broker(HOST, server.getsockname()[1], "mosquitto", [], tmp_path / "none")
        one = Device(tmp_path, place)
        try:
            connection, _ = server.accept()
            with connection:
                connection.recv(1000)  # CONNECT
                connection.sendall(bytes.fromhex("20 03 00 00 00"))  # CONNACK: success, no properties
                subscribe = connection.recv(1000)
                packet = subscribe[2:4]  # one byte of length: three short topics
                connection.sendall(bytes.fromhex("90 06") + packet + bytes.fromhex("00 01 01 01"))  # SUBACK
                connection.sendall(bytes.fromhex("e0 02 8e 00"))  # DISCONNECT: session taken over
                eventually(lambda: one.telemetry.stats.takeovers == 1)
            assert "another client took over this device's id" in one.telemetry.stats.problems[0]
        finally:
            one.telemetry.stop(0.0)


def test_own_reconnects_restarts_deaths_and_old_messages_are_no_takeover(
    device: Callable[..., Device], collector: Callable[..., FakeCollector], broker: Broker
) -> None:
    earlier = device()
    earlier.telemetry.set_state("online")
    broker.stop()
    earlier.telemetry.set_state("degraded", ("source: lost",))
    earlier.telemetry.stop(0.0)
    broker.start()
    listener = collector()
    later = device()
    later.telemetry.set_state("online")
    eventually(lambda: later.held == 0, what="the old states went out as well")
    for connection in (2, 3):
        later.cut()
        eventually(
            lambda: (
                ("lost", connection - 1)  # noqa: B023  # called before the next round
                in [(one.body.state, one.body.connection) for one in listener.of("state", sequenced=False)]
            )
        )
        eventually(lambda: later.telemetry.stats.counters.connections == connection)  # noqa: B023
        later.telemetry.say_state_again()
    eventually(lambda: later.telemetry.stats.connected and later.held == 0)
    assert later.telemetry.stats.takeovers == 0


def test_an_announcement_is_said_after_each_connect_and_each_birth_and_can_be_taken_back(
    device: Callable[..., Device], broker: Broker, requester: Callable[..., Requester]
) -> None:
    heard: list[tuple[str, bytes, bool]] = []
    home = requester()
    home._client.on_message = lambda _c, _d, m: heard.append((m.topic, bytes(m.payload), m.retain))
    home._client.subscribe("home/device/#", 1)
    one = device()
    said = Publication(topic="home/device/cam-1/config", payload=b"{}", retain=True)
    one.telemetry.set_announcement(said, birth_topic=BIRTH)
    eventually(lambda: len(heard) == 1)
    home.publish(BIRTH, b"offline")
    home.publish(BIRTH, b"online")
    eventually(lambda: len(heard) == 2)
    one.cut()
    eventually(lambda: len(heard) == 3, what="after the reconnect")
    home.publish(BIRTH, b"online")
    eventually(lambda: len(heard) == 4, what="after the birth on the new connection")
    one.telemetry.say_state_again()
    eventually(lambda: len(heard) == 5)
    assert {(place, payload) for place, payload, _ in heard} == {(said.topic, b"{}")}
    one.telemetry.set_announcement(Publication(topic=said.topic, payload=b"", retain=True), birth_topic=None)
    eventually(lambda: heard[-1][:2] == (said.topic, b""))
    assert (one.telemetry.stats.problems, one.telemetry.stats.counters.inbound_refused) == ((), 0)


def test_an_outage_replays_in_order_marked_and_no_faster_than_allowed_while_news_passes_it(
    device: Callable[..., Device], collector: Callable[..., FakeCollector], broker: Broker, tmp_path: Path
) -> None:
    now = [0.0]  # simulated hours; what is real goes on beside them
    clock = make_clock(
        wall=lambda: 1_769_860_800.0 + now[0] + time.monotonic(), monotonic=lambda: now[0] + time.monotonic()
    )
    broker.stop()
    one = Device(tmp_path, broker, clock=clock, outbox_clock=clock.monotonic, replay_per_s=50.0)
    try:
        for number in range(200):
            one.telemetry.emit(Reply(transaction=str(number), ok=True))
            now[0] += 72 * 3600 / 200
        one.telemetry.flush()
        broker.start()
        listener = collector()
        eventually(lambda: listener.seqs(one.session))
        begun, first = time.monotonic(), len(listener.seqs(one.session))
        one.telemetry.emit(ALARM, urgent=True)
        eventually(lambda: listener.of("alarm"))
        assert len(set(listener.seqs(one.session))) < 200, "the alarm did not wait for the backlog"
        eventually(lambda: one.held == 0)
        # At least so long, whatever the machine: the clock of the limit ran no faster than this one.
        assert time.monotonic() - begun >= (200 - 50 - first) / 50.0 - 0.5
        old = listener.of("reply")
        assert [envelope.body.transaction for envelope in old] == [str(number) for number in range(200)]
        assert {envelope.historical for envelope in old[:-1]} == {True}
        assert [envelope.historical for envelope in listener.of("alarm")] == [False]
        assert listener.seqs(one.session).count(201) == 1
    finally:
        one.telemetry.stop(0.0)
