"""A device's telemetry against a real broker: what arrives, what is kept, what is said of trouble."""

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
from broker import HOST, Broker, eventually, free_port, start_broker
from devices import DEVICE, SITE, Device, make_clock
from fake_collector import FakeCollector, wait_quietly

from agent.errors import OutboxError, WireError
from agent.telemetry import inbox, intake, listening, publisher
from agent.telemetry.messages import (
    About,
    Ack,
    Alarm,
    Command,
    Envelope,
    Label,
    Labels,
    PreprocessInUse,
    Reply,
    schema_name,
    topic,
)
from agent.telemetry.wire import decode, encode

pytest_plugins = ("broker",)

HERE = Path(__file__).parent
ALARM = Alarm(alarm="drift", status="raised", severity="warning", cause="data:light", summary="dark")
ABOUT_EXAMPLE = decode((HERE / "fixtures" / "messages" / "about.v1.json").read_bytes(), kind="about").body


@pytest.fixture
def device(tmp_path: Path, broker: Broker) -> Iterator[Callable[..., Device]]:
    """Makes devices on one directory, so that each is the next run of the same device."""
    made: list[Device] = []

    def make(at: Broker | None = None, **options: Any) -> Device:
        made.append(Device(tmp_path, at or broker, **options))
        return made[-1]

    yield make
    for one in made:
        one.telemetry.stop(0.0)


@pytest.fixture
def collector(broker: Broker) -> Iterator[Callable[..., FakeCollector]]:
    made: list[FakeCollector] = []

    def make(at: Broker | None = None, **options: Any) -> FakeCollector:
        made.append(FakeCollector(at or broker, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


def reply(number: int) -> Reply:
    return Reply(transaction=str(number), ok=True)


def problem_of(device: Device) -> str:
    """The one problem the device tells, once it tells one."""
    eventually(lambda: device.telemetry.stats.problems, what="a problem")
    (problem,) = device.telemetry.stats.problems
    return problem


def mosquitto_only(broker: Broker) -> None:
    if broker.kind != "mosquitto":
        pytest.skip("needs mosquitto; the embedded broker speaks MQTT 3.1.1 only")


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_messages_arrive_once_in_order_and_leave_the_outbox_when_acknowledged(
    device: Callable[..., Device], collector: Callable[..., FakeCollector], broker: Broker, version: str
) -> None:
    if version == "5":
        mosquitto_only(broker)
    listener, sender = collector(), device(version=version)
    for number in range(60):
        sender.telemetry.emit(reply(number))
    sender.telemetry.emit(ALARM, urgent=True)
    eventually(lambda: sender.held == 0, what="all messages acknowledged")
    assert listener.seqs(sender.session) == list(range(1, 62))
    assert [envelope.body for envelope in listener.of("reply")] == [reply(number) for number in range(60)]
    assert sender.telemetry.stats.counters.acknowledged == 61


def test_nothing_leaves_the_outbox_before_the_collectors_word(
    device: Callable[..., Device], collector: Callable[..., FakeCollector]
) -> None:
    listener, sender = collector(acks=False), device()
    for number in range(3):
        sender.telemetry.emit(reply(number), urgent=True)
    eventually(lambda: len(listener.seqs(sender.session)) >= 3)
    assert sender.held == 3
    listener.send(Ack(acked_session=sender.session, upto=2))
    eventually(lambda: sender.held == 1)


def test_without_an_ack_messages_are_sent_again_and_nothing_is_lost(
    device: Callable[..., Device], collector: Callable[..., FakeCollector]
) -> None:
    listener, sender = collector(acks=False), device(outbox={"ack_timeout_s": 1.0})
    sender.telemetry.emit(reply(1), urgent=True)
    eventually(lambda: listener.seqs(sender.session).count(1) >= 2, what="a repetition")
    listener.acks = True
    eventually(lambda: sender.held == 0)


def test_the_envelope_says_who_when_and_how(
    device: Callable[..., Device], collector: Callable[..., FakeCollector]
) -> None:
    now = [1_769_860_800.0]
    clock = make_clock(wall=lambda: now[0], boot_id="boot-7", synced=lambda: False)
    listener, sender = collector(), device(clock=clock)
    used = PreprocessInUse(fingerprint="f" * 64, differs=("resize",))
    sender.telemetry.emit(reply(1), urgent=True)
    sender.telemetry.set_preprocess(used)
    sender.telemetry.emit(reply(2), urgent=True)
    eventually(lambda: len(listener.of("reply")) == 2)
    first, second = listener.of("reply")
    assert (first.device, first.site, first.session, first.seq) == (DEVICE, SITE, sender.session, 1)
    assert (first.sent_at, first.created_at) == ("2026-01-31T12:00:00.000Z", "2026-01-31T12:00:00.000Z")
    assert (first.boot_id, first.clock_synced, first.historical) == ("boot-7", False, False)
    assert (first.preprocess, second.preprocess) == (None, used)
    assert first.floor == 1


def test_messages_of_an_earlier_run_arrive_later_marked_as_historical(
    device: Callable[..., Device], collector: Callable[..., FakeCollector], broker: Broker
) -> None:
    broker.stop()
    earlier = device(clock=make_clock(wall=lambda: 1_769_860_800.0, boot_id="boot-1"))
    earlier.telemetry.set_preprocess(PreprocessInUse(fingerprint="old"))
    earlier.telemetry.emit(reply(1), urgent=True)
    earlier.telemetry.stop(0.0)
    broker.start()
    listener = collector()
    later = device(clock=make_clock(wall=lambda: 1_769_861_401.0, boot_id="boot-2"))
    later.telemetry.emit(reply(2), urgent=True)
    eventually(lambda: len(listener.of("reply")) == 2 and later.held == 0)
    old, new = listener.of("reply")
    assert (old.session, old.historical, new.session, new.historical) == (
        earlier.session,
        True,
        later.session,
        False,
    )
    assert (old.created_at, old.sent_at) == ("2026-01-31T12:00:00.000Z", "2026-01-31T12:10:01.000Z")
    assert old.boot_id == "boot-1"
    assert old.preprocess == PreprocessInUse(fingerprint="old")


def test_age_within_one_boot_ignores_a_jump_of_the_clock(
    device: Callable[..., Device], collector: Callable[..., FakeCollector]
) -> None:
    wall = [1_000.0]  # a device without a battery-backed clock starts in 1970
    listener, sender = collector(acks=False), device(clock=make_clock(wall=lambda: wall[0]))
    wall[0] = 1_769_860_800.0
    sender.telemetry.emit(reply(1), urgent=True)
    eventually(lambda: listener.of("reply"))
    assert not listener.of("reply")[0].historical


def test_what_is_emitted_while_the_broker_is_away_arrives_when_it_is_back(
    device: Callable[..., Device], collector: Callable[..., FakeCollector], broker: Broker
) -> None:
    sender = device()
    eventually(lambda: sender.telemetry.stats.connected)
    broker.kill9()
    for number in range(30):
        sender.telemetry.emit(reply(number), urgent=number % 10 == 0)
    assert "broker" in problem_of(sender)
    broker.restart()
    listener = collector()
    eventually(lambda: sender.held == 0)
    assert set(listener.seqs(sender.session)) == set(range(1, 31))
    assert sender.telemetry.stats.problems == ()


def test_a_broker_that_was_never_there_is_found_when_it_comes(
    tmp_path: Path, device: Callable[..., Device], collector: Callable[..., FakeCollector]
) -> None:
    port = free_port()
    absent = Broker(HOST, port, "mosquitto", [], tmp_path / "none")
    sender = device(absent, version="3.1.1")
    sender.telemetry.emit(reply(1), urgent=True)
    assert problem_of(sender) == f"broker {HOST}:{port}: connection refused; is the broker running?"
    late = start_broker(tmp_path / "late", port=port)
    try:
        collector(late)
        eventually(lambda: sender.held == 0)
    finally:
        late.stop()


def test_a_trouble_is_logged_once_however_often_it_is_met(
    tmp_path: Path, device: Callable[..., Device], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "agent.telemetry.publisher")
    absent = Broker(HOST, free_port(), "mosquitto", [], tmp_path / "none")
    sender = device(absent, version="3.1.1")
    eventually(lambda: sender.telemetry.stats.counters.connections > 4)
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) == 1


def test_a_name_that_does_not_resolve_is_named(tmp_path: Path, device: Callable[..., Device]) -> None:
    nowhere = Broker("no-such-host.invalid", 1883, "mosquitto", [], tmp_path / "none")
    problem = problem_of(device(nowhere, version="3.1.1"))
    assert problem.startswith(
        "broker no-such-host.invalid:1883: the name 'no-such-host.invalid' cannot be resolved"
    )


def test_something_else_on_the_port_is_told(tmp_path: Path, device: Callable[..., Device]) -> None:
    with socket.create_server((HOST, 0)) as server:
        port = server.getsockname()[1]
        sender = device(Broker(HOST, port, "mosquitto", [], tmp_path / "none"), version="3.1.1")
        server.accept()[0].close()
        assert problem_of(sender) == (
            f"broker {HOST}:{port}: closed the connection unanswered; "
            "is this its port without TLS, and does it speak MQTT 3.1.1?"
        )


def test_a_server_that_never_answers_is_given_up(tmp_path: Path, device: Callable[..., Device]) -> None:
    with socket.create_server((HOST, 0)) as server:
        port = server.getsockname()[1]
        silent = Broker(HOST, port, "mosquitto", [], tmp_path / "none")
        said = problem_of(device(silent, connect_timeout_s=0.3))
        assert said == f"broker {HOST}:{port}: no answer within 0.3 s"


@pytest.mark.parametrize("confirm", ["collector", "broker"])
def test_a_message_nobody_subscribes_to_is_not_delivered(
    device: Callable[..., Device], collector: Callable[..., FakeCollector], broker: Broker, confirm: str
) -> None:
    mosquitto_only(broker)
    sender = device(outbox={"confirm": confirm, "ack_timeout_s": 1.0})
    sender.telemetry.emit(reply(1), urgent=True)
    eventually(lambda: sender.telemetry.stats.counters.unheard >= 1)
    assert sender.held == 1
    waits = f"nobody subscribes to {topic(SITE, DEVICE, 'reply')}; its messages wait"
    assert sender.telemetry.stats.problems == ((waits,) if confirm == "broker" else ())
    collector()
    eventually(lambda: sender.held == 0, what="delivery once somebody subscribes")
    assert sender.telemetry.stats.problems == ()


@pytest.mark.parametrize("confirm", ["collector", "broker"])
def test_a_broker_that_takes_everything_while_no_collector_confirms_is_told(
    device: Callable[..., Device], collector: Callable[..., FakeCollector], confirm: str
) -> None:
    listener = collector(acks=False)
    sender = device(outbox={"confirm": confirm, "ack_timeout_s": 1.0})
    sender.telemetry.emit(reply(1), urgent=True)
    if confirm == "broker":
        eventually(lambda: sender.held == 0)
        assert sender.telemetry.stats.problems == ()
        return
    assert problem_of(sender) == (
        "the broker takes messages but no collector confirms them: is one running, "
        f"and may this device read {topic(SITE, DEVICE, 'ack')}?"
    )
    assert listener.seqs(sender.session).count(1) >= 2
    listener.send(Ack(acked_session=sender.session, upto=1))
    eventually(lambda: not sender.telemetry.stats.problems, what="cleared by the ack")
    eventually(lambda: sender.held == 0)


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_with_confirm_broker_its_word_is_enough(
    device: Callable[..., Device], collector: Callable[..., FakeCollector], broker: Broker, version: str
) -> None:
    if version == "5":
        mosquitto_only(broker)
    listener, sender = collector(acks=False), device(outbox={"confirm": "broker"}, version=version)
    for number in range(40):
        sender.telemetry.emit(reply(number))
    eventually(lambda: sender.held == 0)
    eventually(lambda: listener.seqs(sender.session) == list(range(1, 41)))


ACL = f"topic readwrite litewatch/#\ntopic deny litewatch/1/{SITE}/{DEVICE}/alarm\n"


@pytest.mark.parametrize("confirm", ["collector", "broker"])
def test_a_refused_message_is_kept_and_the_refusal_is_told(
    tmp_path: Path,
    broker: Broker,
    device: Callable[..., Device],
    collector: Callable[..., FakeCollector],
    confirm: str,
) -> None:
    mosquitto_only(broker)
    acl = tmp_path / "acl"
    acl.write_text(ACL)
    acl.chmod(0o644)
    strict = start_broker(tmp_path / "strict", config_extra=f"acl_file {acl}")
    try:
        listener, sender = (
            collector(strict),
            device(strict, outbox={"confirm": confirm, "ack_timeout_s": 1.0}),
        )
        sender.telemetry.emit(ALARM, urgent=True)
        sender.telemetry.emit(reply(1), urgent=True)
        place = topic(SITE, DEVICE, "alarm")
        assert problem_of(sender) == f"the broker refuses {place}: not authorized (0x87); its messages wait"
        eventually(lambda: listener.of("reply"))
        assert [row.kind for row in sender.outbox.peek(0, 1)] == ["alarm"]
        acl.write_text("topic readwrite litewatch/#\n")
        strict.process.send_signal(signal.SIGHUP)
        eventually(lambda: sender.held == 0, what="delivery once it is allowed")
        # The broker's word may reach the device before the message reaches the collector.
        eventually(lambda: [envelope.body for envelope in listener.of("alarm")] == [ALARM])
        assert sender.telemetry.stats.problems == ()
    finally:
        strict.stop()


def test_a_refused_subscription_is_told(
    tmp_path: Path, broker: Broker, device: Callable[..., Device]
) -> None:
    mosquitto_only(broker)
    acl = tmp_path / "acl"
    acl.write_text(f"topic write {topic(SITE, DEVICE, '#')}\n")
    acl.chmod(0o644)
    deaf = start_broker(tmp_path / "deaf", config_extra=f"acl_file {acl}")
    try:
        # mosquitto 2.0 accepts subscriptions it then never serves; newer ones refuse them.
        sender = device(deaf)
        sender.telemetry.emit(reply(1), urgent=True)
        eventually(lambda: sender.telemetry.stats.problems or sender.telemetry.stats.counters.unheard)
        assert sender.held == 1
    finally:
        deaf.stop()


def test_user_and_password_are_needed_and_read_from_the_file_each_time(
    tmp_path: Path, broker: Broker, device: Callable[..., Device]
) -> None:
    mosquitto_only(broker)
    passwords, secret = tmp_path / "passwords", tmp_path / "secret"
    subprocess.run(
        ["mosquitto_passwd", "-c", "-b", passwords, "cam", "sesame"], check=True, capture_output=True
    )
    passwords.chmod(0o644)
    locked = start_broker(
        tmp_path / "locked", config_extra=f"allow_anonymous false\npassword_file {passwords}"
    )
    try:
        for version in ("5", "3.1.1"):
            nobody = device(locked, version=version)
            said = problem_of(nobody)
            assert said.startswith(
                f"broker {locked.host}:{locked.port}: refuses anonymous devices: not authorized"
            )
            nobody.telemetry.stop(0.0)
        secret.write_text("wrong\n")
        sender = device(locked, username="cam", password_file=str(secret))
        assert "refuses user 'cam'" in problem_of(sender)
        secret.unlink()
        gone = f"mqtt.password_file: {secret} cannot be read: no such file or directory"
        eventually(lambda: sender.telemetry.stats.problems == (gone,))
        secret.write_text("sesame\nsecond line\n")
        eventually(lambda: sender.telemetry.stats.connected)
        assert sender.telemetry.stats.problems == ()
    finally:
        locked.stop()


class Authority:
    """A certificate authority made for one test with the openssl command."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self.directory = directory
        self.ca, self._key = directory / "ca.crt", directory / "ca.key"
        self._openssl("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test CA",
                      # Python 3.13 asks more of an authority than earlier ones did.
                      "-addext", "keyUsage=critical,keyCertSign,cRLSign",
                      "-keyout", self._key, "-out", self.ca)  # fmt: skip

    def issue(self, name: str, *, days: int = 2) -> tuple[Path, Path]:
        """A certificate for ``name`` (an address or a host) and its key."""
        key, request, certificate = (self.directory / f"{name}.{end}" for end in ("key", "csr", "crt"))
        extensions = self.directory / "extensions"
        kind = "IP" if name[0].isdigit() else "DNS"
        extensions.write_text(f"subjectAltName={kind}:{name}\n")
        self._openssl("req", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN={name}",
                      "-keyout", key, "-out", request)  # fmt: skip
        self._openssl("x509", "-req", "-in", request, "-CA", self.ca, "-CAkey", self._key, "-CAcreateserial",
                      "-days", days, "-extfile", extensions, "-out", certificate)  # fmt: skip
        key.chmod(0o644)
        return certificate, key

    @staticmethod
    def _openssl(*arguments: object) -> None:
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> tuple[Authority, Authority]:
    directory = tmp_path_factory.mktemp("authorities")
    return Authority(directory / "ours"), Authority(directory / "theirs")


def tls_broker(
    directory: Path, authority: Authority, name: str = HOST, *, days: int = 2, extra: str = ""
) -> Broker:
    certificate, key = authority.issue(name, days=days)
    lines = f"cafile {authority.ca}\ncertfile {certificate}\nkeyfile {key}\n{extra}"
    return start_broker(directory / f"tls-{name}", config_extra=lines)


def tls(ca: Path, certificate: Path | None = None, key: Path | None = None) -> Any:
    from agent.telemetry.options import TlsOptions

    own = {"certificate": str(certificate), "key": str(key)} if certificate else {}
    return TlsOptions(ca=str(ca), **own)


def test_tls_needs_the_right_authority(
    tmp_path: Path, broker: Broker, device: Callable[..., Device], authorities: tuple[Authority, Authority]
) -> None:
    mosquitto_only(broker)
    ours, theirs = authorities
    secure = tls_broker(tmp_path, ours)
    address = f"broker {secure.host}:{secure.port}"
    try:
        trusting = device(secure, tls=tls(ours.ca))
        eventually(lambda: trusting.telemetry.stats.connected)
        trusting.telemetry.stop(0.0)

        wrong = device(secure, tls=tls(theirs.ca))
        problem = problem_of(wrong)
        assert problem.startswith(f"{address}: its certificate is not accepted: ")
        assert problem.endswith("; check mqtt.tls.ca")
        wrong.telemetry.stop(0.0)

        missing = tmp_path / "missing.crt"
        lost = device(secure, tls=tls(missing))
        assert problem_of(lost) == f"mqtt.tls.ca: {missing} cannot be used: no such file or directory"
        lost.telemetry.stop(0.0)

        junk = tmp_path / "junk.crt"
        junk.write_text("no certificate")
        broken = device(secure, tls=tls(junk))
        assert problem_of(broken).startswith(f"mqtt.tls.ca: {junk} cannot be used: ")
        broken.telemetry.stop(0.0)

        plain = device(secure)
        assert problem_of(plain).startswith(
            f"{address}: closed the connection unanswered; is this its port without TLS"
        )
    finally:
        secure.stop()


def test_tls_on_a_port_without_it_is_told(
    broker: Broker, device: Callable[..., Device], authorities: tuple[Authority, Authority]
) -> None:
    problem = problem_of(device(tls=tls(authorities[0].ca), connect_timeout_s=2.0))
    # Brokers hang up on the TLS greeting or wait for more of it.
    told = ("is this its TLS port?", "reset", "no answer within 2 s")
    assert problem.startswith(f"broker {broker.host}:{broker.port}: ")
    assert any(words in problem.lower() or words in problem for words in told)


def test_a_certificate_for_another_name_or_out_of_date_is_told(
    tmp_path: Path, broker: Broker, device: Callable[..., Device], authorities: tuple[Authority, Authority]
) -> None:
    mosquitto_only(broker)
    ours, _ = authorities
    for name, days, words in (
        ("other.example", 2, "IP address mismatch"),
        (HOST, -1, "is this machine's clock right?"),
    ):
        secure = tls_broker(tmp_path, ours, name, days=days)
        try:
            sender = device(secure, tls=tls(ours.ca))
            assert words in problem_of(sender)
            sender.telemetry.stop(0.0)
        finally:
            secure.stop()


def test_a_broker_may_ask_for_the_devices_own_certificate(
    tmp_path: Path, broker: Broker, device: Callable[..., Device], authorities: tuple[Authority, Authority]
) -> None:
    mosquitto_only(broker)
    ours, theirs = authorities
    secure = tls_broker(tmp_path, ours, extra="require_certificate true\n")
    certificate, key = ours.issue("cam-1")
    try:
        for version in ("5", "3.1.1"):
            sender = device(secure, version=version, tls=tls(ours.ca, certificate, key))
            eventually(lambda: sender.telemetry.stats.connected)  # noqa: B023  # called before the next round
            sender.telemetry.stop(0.0)
        refused = device(secure, tls=tls(ours.ca, *theirs.issue("cam-1")))
        assert problem_of(refused).startswith(f"broker {secure.host}:{secure.port}: ")
        refused.telemetry.stop(0.0)
        mixed = device(secure, tls=tls(ours.ca, certificate, theirs.issue("cam-2")[1]))
        assert problem_of(mixed).startswith(f"mqtt.tls.certificate: {certificate} with ")
    finally:
        secure.stop()


def states(listener: FakeCollector) -> list[tuple[str, int]]:
    """The states that were published as the retained one, with their connections, repetitions merged."""
    every = [(one.body.state, one.body.connection) for one in listener.of("state", sequenced=False)]
    return [state for state, _ in groupby(every)]


def test_birth_about_and_farewell_are_retained_and_the_farewell_stays(
    device: Callable[..., Device], collector: Callable[..., FakeCollector]
) -> None:
    listener, sender = collector(), device()
    assert isinstance(ABOUT_EXAMPLE, About)
    sender.telemetry.set_about(ABOUT_EXAMPLE)
    sender.telemetry.set_state("online")
    eventually(lambda: listener.of("about", sequenced=False) and states(listener) and sender.held == 0)
    late = collector()
    eventually(lambda: late.of("about", sequenced=False) and states(late))
    assert {heard.kind: heard.retained for heard in late.heard} == {"state": True, "about": True}
    assert late.of("about", sequenced=False)[0].body == ABOUT_EXAMPLE
    assert states(late) == [("online", 1)]
    sender.telemetry.stop(5.0)
    later = collector()
    eventually(lambda: states(later))
    assert states(later) == [("stopped", 1)]
    assert [one.body.state for one in listener.of("state")] == ["online", "stopped"]


def test_an_old_state_from_the_outbox_does_not_replace_the_newest(
    device: Callable[..., Device], collector: Callable[..., FakeCollector], broker: Broker
) -> None:
    sender = device()
    eventually(lambda: sender.telemetry.stats.connected)
    broker.kill9()
    sender.telemetry.set_state("degraded", ("source: lost",))
    sender.telemetry.set_state("online")
    broker.restart()
    listener = collector()
    eventually(lambda: sender.held == 0)
    assert [one.body.state for one in listener.of("state")] == ["degraded", "online"]
    late = collector(acks=False)
    eventually(lambda: states(late))
    assert states(late) == [("online", sender.telemetry.stats.counters.connections)]
    assert sender.telemetry.stats.counters.connections > 1
    assert late.of("state") == []


def test_saying_the_same_state_again_says_nothing(
    device: Callable[..., Device], collector: Callable[..., FakeCollector]
) -> None:
    listener, sender = collector(), device()
    for problems in ((), (), ("a",), ("a",), ()):
        sender.telemetry.set_state("degraded" if problems else "online", problems)
    eventually(lambda: sender.held == 0)
    assert [(one.body.state, one.body.problems) for one in listener.of("state")] == [
        ("online", ()),
        ("degraded", ("a",)),
        ("online", ()),
    ]


def test_a_state_that_cannot_be_sent_changes_nothing(
    device: Callable[..., Device], collector: Callable[..., FakeCollector], monkeypatch: pytest.MonkeyPatch
) -> None:
    listener, sender = collector(), device()
    sender.telemetry.set_state("online")
    with monkeypatch.context() as narrow:
        narrow.setattr("agent.telemetry.wire.BODY_BYTES", 100)
        with pytest.raises(WireError, match="body: 141 bytes, at most 100 can be sent"):
            sender.telemetry.set_state("degraded", ("x" * 90,))
    sender.telemetry.set_state("degraded", ("x" * 90,))
    eventually(lambda: len(listener.of("state")) == 2, what="it is not taken for said")
    assert listener.of("state")[1].body.problems == ("x" * 90,)


def test_thousands_of_problems_are_cut_to_what_people_read(
    device: Callable[..., Device], collector: Callable[..., FakeCollector]
) -> None:
    listener, sender = collector(), device()
    sender.telemetry.set_state("degraded", tuple(f"{n}: " + "\x01ä" * 1000 for n in range(3000)))
    sender.telemetry.set_state("degraded", ("y" * 500,) * 50)
    eventually(lambda: len(listener.of("state")) == 2)
    many, few = (envelope.body.problems for envelope in listener.of("state"))
    assert len(many) == 50 and {len(problem) for problem in many[:-1]} == {500}
    assert many[48][:5] == "48: \x01" and many[48][-1] == "…"
    assert many[49] == "and 2951 more problems"
    assert few == ("y" * 500,) * 50


SLEEPER = """
import sys, time
sys.path.insert(0, {tests!r})
from pathlib import Path
from broker import Broker
from devices import Device
broker = Broker({host!r}, {port}, {kind!r}, [], Path("none"))
device = Device(Path({directory!r}), broker)
device.telemetry.set_state("online")
while not device.telemetry.stats.connected or device.held:
    time.sleep(0.01)
print(device.session, flush=True)
time.sleep(1000)
"""


def test_the_will_of_a_killed_agent_says_lost_with_its_session_and_connection(
    tmp_path: Path, broker: Broker, collector: Callable[..., FakeCollector], device: Callable[..., Device]
) -> None:
    listener = collector()
    script = SLEEPER.format(
        tests=str(HERE), host=broker.host, port=broker.port, kind=broker.kind, directory=str(tmp_path)
    )
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(HERE.parent)},
    )
    assert process.stdout is not None
    session = process.stdout.readline().strip()
    process.kill()
    process.wait()
    process.stdout.close()
    eventually(lambda: states(listener) == [("online", 1), ("lost", 1)])
    death = listener.of("state", sequenced=False)[-1]
    assert (death.session, death.seq) == (session, 0)
    late = collector()
    eventually(lambda: states(late) == [("lost", 1)])
    # The next run has a newer session, by which a death that comes late is known as stale.
    again = device()
    again.telemetry.set_state("online")
    eventually(lambda: states(listener)[-1] == ("online", 1))
    assert listener.of("state", sequenced=False)[-1].session > session


def test_a_stale_death_is_known_by_its_number(
    device: Callable[..., Device], collector: Callable[..., FakeCollector]
) -> None:
    listener, sender = collector(), device()
    sender.telemetry.set_state("online")
    eventually(lambda: states(listener) == [("online", 1)])
    for connection in (1, 2):
        sender.cut()
        eventually(lambda: {("lost", connection), ("online", connection + 1)} <= set(states(listener)))  # noqa: B023  # called before the next round
    assert {one.session for one in listener.of("state", sequenced=False)} == {sender.session}


def test_two_devices_of_one_id_are_told(
    device: Callable[..., Device], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, broker: Broker
) -> None:
    mosquitto_only(broker)
    monkeypatch.setattr(publisher, "STABLE_S", 1.0)
    sender, rival = device(), Device(tmp_path / "copied card", broker)
    used_twice = "is the device.id (or a copied card) used twice?"
    eventually(lambda: any(used_twice in text for text in sender.telemetry.stats.problems))
    rival.telemetry.stop(0.0)
    eventually(lambda: sender.telemetry.stats.problems == ())


def test_labels_and_commands_reach_the_inbox(
    device: Callable[..., Device], collector: Callable[..., FakeCollector]
) -> None:
    listener, sender = collector(), device()
    eventually(lambda: sender.telemetry.stats.connected)
    labels = Labels(labels=(Label(label=3, name="a.jpg"),))
    listener.send(labels)
    listener.send(Command(command="check"))
    assert sender.telemetry.inbox.get(timeout=20).body == labels
    assert sender.telemetry.inbox.get(timeout=20).body == Command(command="check")


def test_labels_sent_while_the_device_is_away_wait_at_the_broker(
    device: Callable[..., Device], collector: Callable[..., FakeCollector]
) -> None:
    listener, sender = collector(), device()
    eventually(lambda: sender.telemetry.stats.connected)
    sender.telemetry.stop(5.0)
    labels = Labels(labels=(Label(label=1, frame="f"),))
    listener.send(labels)
    assert device().telemetry.inbox.get(timeout=20).body == labels


def test_retained_broken_and_foreign_messages_to_a_device_are_counted_and_ignored(
    device: Callable[..., Device], collector: Callable[..., FakeCollector]
) -> None:
    listener = collector()
    listener.send(Command(command="old"), retain=True)
    sender = device()
    eventually(lambda: sender.telemetry.stats.counters.inbound_refused >= 1)
    before = sender.telemetry.stats.counters.inbound_refused
    listener.send_bytes("command", b"\xff not json")
    listener.send_bytes("label", b"{}")
    listener.send(Ack(acked_session=sender.session, upto=99))
    eventually(lambda: sender.telemetry.stats.counters.inbound_refused == before + 3)
    listener.send(Command(command="new"))
    assert sender.telemetry.inbox.get(timeout=20).body == Command(command="new")
    assert sender.telemetry.inbox.empty()


def test_an_ack_beyond_what_was_sent_removes_nothing(
    device: Callable[..., Device], collector: Callable[..., FakeCollector]
) -> None:
    listener, sender = collector(acks=False), device(outbox={"flush_interval_s": 1000.0})
    sender.telemetry.emit(reply(1))  # waits in memory, so it is not sent
    eventually(lambda: sender.telemetry.stats.connected)
    listener.send(Ack(acked_session=sender.session, upto=5))
    eventually(lambda: sender.telemetry.stats.counters.inbound_refused == 1)
    assert sender.held == 1


def test_the_inbox_is_bounded(
    device: Callable[..., Device], collector: Callable[..., FakeCollector], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "MESSAGES", 2)
    listener, sender = collector(), device()
    eventually(lambda: sender.telemetry.stats.connected)
    for number in range(5):
        listener.send(Command(command=str(number)))
    eventually(lambda: sender.telemetry.stats.counters.inbound_dropped == 3)
    assert sender.telemetry.inbox.qsize() == 2


def labels_of(size: int) -> bytes:
    """A readable message of so many labels."""
    labels = Labels(labels=tuple(Label(label=1, frame=f"nobody-{number}") for number in range(size)))
    envelope = Envelope(
        schema=schema_name("label"), device=DEVICE, site=SITE, session="flood", seq=0, clock_synced=False,
        sent_at="2026-01-01T00:00:00Z", boot_id="", historical=False, body=labels,
    )  # fmt: skip
    return encode(envelope)


def test_labels_beyond_the_rate_are_dropped_counted_and_told_while_commands_come_through(
    device: Callable[..., Device], collector: Callable[..., FakeCollector]
) -> None:
    payload = labels_of(2000)
    size = len(payload) + len(topic(SITE, DEVICE, "label")) + intake.OVERHEAD_BYTES
    fits = intake.LABEL_BYTES_AT_ONCE // size
    assert 20 < fits < 40
    listener = collector(topics="none")
    sender = device(clock=make_clock(monotonic=lambda: 1000.0))
    eventually(lambda: sender.telemetry.stats.connected)
    for _ in range(40):
        listener.send_bytes("label", payload)
    listener.send(Command(command="check"))
    eventually(lambda: sender.telemetry.inbox.qsize() == fits + 1)
    assert sender.telemetry.stats.counters.labels_limited == 40 - fits
    assert sender.telemetry.stats.problems == (publisher.FLOODED,)
    kinds = [sender.telemetry.inbox.get().envelope.schema for _ in range(fits + 1)]
    assert kinds == [schema_name("label")] * fits + [schema_name("command")]


FLOOD = """
import sys
import paho.mqtt.client as paho
host, port, place, file = sys.argv[1:]
client = paho.Client(paho.CallbackAPIVersion.VERSION2)
client.connect(host, int(port))
client.loop_start()
payload = open(file, "rb").read()
while True:
    client.publish(place, payload, qos=0).wait_for_publish(5)
"""


def test_a_flood_of_labels_does_not_silence_the_device(
    tmp_path: Path, broker: Broker, device: Callable[..., Device], collector: Callable[..., FakeCollector]
) -> None:
    payload = tmp_path / "labels"
    payload.write_bytes(labels_of(5000))
    place = topic(SITE, DEVICE, "label")
    listener, sender = collector(topics=topic(SITE, DEVICE, "reply")), device()
    eventually(lambda: sender.telemetry.stats.connected)
    flood = subprocess.Popen(
        [sys.executable, "-c", FLOOD, broker.host, str(broker.port), place, str(payload)],
    )
    try:
        eventually(lambda: sender.telemetry.stats.counters.labels_limited > 50)
        for number in range(3):
            sender.telemetry.emit(reply(number), urgent=True)
            eventually(lambda: len(listener.seqs(sender.session)) > number)  # noqa: B023  # called before the next
        eventually(lambda: sender.held == 0)
        waiting = 0
        while not sender.telemetry.inbox.empty():
            waiting += sender.telemetry.inbox.get().size
        assert waiting <= inbox.BYTES
        assert flood.poll() is None
    finally:
        flood.kill()
        flood.wait()


def test_who_floods_a_device_with_labels_is_not_listened_to_for_a_while(
    broker: Broker,
    device: Callable[..., Device],
    collector: Callable[..., FakeCollector],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [1000.0]
    monkeypatch.setattr(listening, "FLOOD", 5)
    listener = collector(topics="none")
    sender = device(clock=make_clock(monotonic=lambda: now[0]))
    eventually(lambda: sender.telemetry.stats.connected)
    for _ in range(40):
        listener.send_bytes("label", labels_of(2000))
    listener.send(Command(command="one"))  # it wakes the device, as whatever comes does
    eventually(lambda: sender.telemetry._publisher._listening.labels_again_at == 1060.0)
    while sender.telemetry.inbox.get(timeout=20).body != Command(command="one"):
        pass
    labels = Labels(labels=(Label(label=3, name="a.jpg"),))

    def heard() -> bool:
        listener.send(labels)
        wait_quietly(0.2)
        return not sender.telemetry.inbox.empty() and sender.telemetry.inbox.get().body == labels

    eventually(lambda: not heard(), what="the broker has let go of the subscription")
    dropped = sender.telemetry.stats.counters.labels_limited
    assert not heard()
    assert sender.telemetry.stats.counters.labels_limited == dropped
    now[0] += 60.0
    listener.send(Command(command="three"))
    assert sender.telemetry.inbox.get(timeout=20).body == Command(command="three")
    eventually(lambda: sender.telemetry._publisher._listening.labels_again_at is None)
    eventually(heard)
    assert sender.telemetry.stats.problems == ()


def test_a_device_that_ends_as_it_begins_still_says_why(
    tmp_path: Path, broker: Broker, collector: Callable[..., FakeCollector]
) -> None:
    listener = collector()
    for _ in range(4):
        sender = Device(tmp_path, broker)
        sender.telemetry.set_state("degraded", ("the bundle cannot be read",))
        sender.telemetry.stop(15.0)
        assert {one.body.problems for one in listener.of("state") if one.session == sender.session} >= {
            ("the bundle cannot be read",)
        }


def test_an_attempt_under_way_is_waited_for_no_longer_than_it_was_said(
    tmp_path: Path, device: Callable[..., Device]
) -> None:
    with socket.create_server((HOST, 0)) as server:
        sender = device(Broker(HOST, server.getsockname()[1], "mosquitto", [], tmp_path / "none"))
        sender.telemetry.set_state("degraded", ("the bundle cannot be read",))
        sender.telemetry.stop(0.5)  # well before the attempt would be given up
        assert sender.telemetry.stats.counters.connections == 1
        assert sender.telemetry.stats.problems == ()


def test_a_connection_that_was_never_answered_is_closed_when_it_is_given_up(
    tmp_path: Path, device: Callable[..., Device]
) -> None:
    with socket.create_server((HOST, 0)) as server:
        silent = Broker(HOST, server.getsockname()[1], "mosquitto", [], tmp_path / "none")
        device(silent, connect_timeout_s=0.3, keepalive_s=3600)
        connection, _ = server.accept()
        with connection:
            connection.settimeout(20.0)
            said = b""
            while piece := connection.recv(1000):
                said += piece
        assert said.endswith(b"\xe0\x00")  # its farewell, so that a late broker publishes no will


def test_a_hole_left_by_eviction_does_not_hold_up_what_follows(
    device: Callable[..., Device], collector: Callable[..., FakeCollector], broker: Broker
) -> None:
    broker.stop()
    outbox = {"max_bytes": 1024 * 1024, "ack_timeout_s": 60.0}
    sender = device(outbox=outbox)
    for number in range(40):
        sender.telemetry.emit(ALARM, urgent=True)
        for _ in range(10):
            sender.telemetry.emit(Reply(transaction=str(number), ok=True, problems=("x" * 4000,)))
        sender.telemetry.flush()
    assert sender.telemetry.stats.outbox.evicted > 100
    sender.telemetry.stop(1.0)
    broker.start()
    # Subscribed before the device sends: who comes first is another test's affair.
    listener = collector()
    again = device(outbox=outbox)
    eventually(lambda: again.held == 0, what="everything that was kept is acknowledged")
    assert len(listener.of("alarm")) >= 40
    assert len(listener.seqs(sender.session)) < 2 * len(set(listener.seqs(sender.session)))


def test_a_body_that_cannot_be_sent_is_refused_at_once_and_leaves_no_hole(
    device: Callable[..., Device], collector: Callable[..., FakeCollector]
) -> None:
    listener, sender = collector(), device()
    with pytest.raises(WireError):
        sender.telemetry.emit(Reply(transaction="x" * 300_000, ok=True))
    sender.telemetry.emit(reply(1), urgent=True)
    eventually(lambda: listener.seqs(sender.session) == [1])


def test_stopping_without_a_broker_is_quick_and_keeps_everything(
    device: Callable[..., Device], collector: Callable[..., FakeCollector], broker: Broker
) -> None:
    broker.stop()
    sender = device()
    for number in range(5):
        sender.telemetry.emit(reply(number))
    sender.telemetry.stop(30.0)
    with pytest.raises(OutboxError):
        sender.telemetry.emit(reply(6))
    broker.start()
    listener, again = collector(), device()
    eventually(lambda: again.held == 0)
    assert listener.seqs(sender.session) == [1, 2, 3, 4, 5, 6]  # five replies and the state `stopped`


def test_an_idle_device_sleeps(
    device: Callable[..., Device], collector: Callable[..., FakeCollector]
) -> None:
    listener, sender = collector(), device()
    sender.telemetry.emit(reply(1), urgent=True)
    eventually(lambda: sender.held == 0)
    eventually(lambda: sender.outbox.flush_if_due() is None, what="the deletion committed")
    steps: list[float] = []
    thread = sender.telemetry._publisher
    step = thread._step

    def counted() -> float | None:
        steps.append(time.monotonic())
        return step()

    thread._step = counted  # type: ignore[method-assign]  # to count its turns, not to change it
    wait_quietly(1.5)
    assert len(steps) <= 1
    assert listener.seqs(sender.session) == [1]


def test_the_oldest_messages_age_and_the_counts_are_told(
    device: Callable[..., Device], broker: Broker
) -> None:
    broker.stop()
    now = [1000.0]
    sender = device(clock=make_clock(monotonic=lambda: time.monotonic() + now[0]))
    sender.telemetry.emit(reply(1), urgent=True)
    now[0] += 50.0
    stats = sender.telemetry.stats
    assert stats.oldest_age_s is not None
    assert stats.oldest_age_s >= 1050.0
    assert (stats.outbox.messages, stats.outbox.committed_seq, stats.connected) == (1, 1, False)
