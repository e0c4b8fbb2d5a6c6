"""The shipped mosquitto configurations on a real mosquitto: who may say and hear what, who is let in, and
what a device says when it is not."""

import getpass
import json
import os
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
from broker import HOST, MOSQUITTO, Broker, eventually
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from devices import DEVICE, SITE, Device
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.properties import Properties

from agent.telemetry import wire
from agent.telemetry.homeassistant import discovery_topic, removal
from agent.telemetry.messages import Ack, Alarm, Envelope, Reply, schema_name
from agent.telemetry.options import TlsOptions
from agent.telemetry.ports import Publication
from tools.cli import LITEWATCH
from tools.demo.broker import free_port

FOLDER = Path(__file__).resolve().parent.parent / "systemd" / "mosquitto"
OTHER = "cam-2"
NOT_AUTHORIZED = 0x87
ALARM = Alarm(alarm="drift", status="raised", severity="warning", cause="data:light", summary="dark")
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent)}
LOGINS = ((DEVICE, "device"), (OTHER, "device"), ("fleet", "collector"), ("boss", "operator"))

pytestmark = pytest.mark.skipif(MOSQUITTO is None, reason="needs mosquitto")


def script(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [str(FOLDER / "litewatch-broker"), *arguments, "-d", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30)


def prepare(folder: Path, *arguments: str, port: int) -> None:
    done = script(
        folder, "init", "--host", "localhost", "--host", HOST, "--site", SITE, "--port", str(port),
        "--bind", HOST, *arguments,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    for login, role in (*LOGINS, ("home", "homeassistant")):
        done = script(folder, "add", login, "--role", role)
        assert done.returncode == 0, done.stderr


@dataclass
class Secured:
    """A broker as the script prepares it, under a main file like Debian's."""

    folder: Path
    broker: Broker
    passwords: bool

    def options(self, login: str) -> dict[str, Any]:
        """Section ``mqtt`` of a device with this login's credentials."""
        mine = self.folder / "credentials" / login
        ca = str(mine / "ca.pem")
        if self.passwords:
            password = str(mine / "password")
            return {"username": login, "password_file": password, "tls": TlsOptions(ca=ca)}
        certificate, key = str(mine / "certificate.pem"), str(mine / "key.pem")
        return {"tls": TlsOptions(ca=ca, certificate=certificate, key=key)}


def start(folder: Path, *arguments: str) -> Secured:
    port = free_port()
    prepare(folder / "litewatch", *arguments, port=port)
    (folder / "conf.d").mkdir()
    (folder / "conf.d" / "litewatch.conf").symlink_to(folder / "litewatch" / "mosquitto.conf")
    main = folder / "main.conf"
    main.write_text(
        f"user {getpass.getuser()}\npersistence true\npersistence_location {folder}/\n"
        f"include_dir {folder}/conf.d\n"
    )
    broker = Broker(HOST, port, "mosquitto", [str(MOSQUITTO), "-c", str(main)], folder / "broker.log")
    broker.start()
    return Secured(folder / "litewatch", broker, "--passwords" in arguments)


@pytest.fixture(scope="module", params=["certificates", "passwords"])
def secured(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    options = ["--passwords"] if request.param == "passwords" else []
    running = start(tmp_path_factory.mktemp(request.param), *options)
    yield running
    running.broker.stop()


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    running = start(tmp_path_factory.mktemp("certified"))
    yield running
    running.broker.stop()


class Client:
    """Somebody with a login's credentials and any MQTT they like."""

    def __init__(self, secured: Secured, login: str, *, client_id: str | None = None) -> None:
        options = secured.options(login)
        self.heard: list[tuple[str, bytes]] = []
        self.closed = threading.Event()
        self._answers: dict[int, int] = {}
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2, client_id=client_id or login, protocol=MQTTProtocolVersion.MQTTv5
        )
        tls = options["tls"]
        self._client.tls_set(tls.ca, tls.certificate, tls.key)
        if "username" in options:
            password = Path(options["password_file"]).read_text().strip()
            self._client.username_pw_set(options["username"], password)
        self._client.on_message = lambda _c, _d, said: self.heard.append((said.topic, bytes(said.payload)))
        self._client.on_publish = self._on_publish
        self._client.on_subscribe = lambda _c, _d, mid, codes, _p: self._answers.update({mid: codes[0].value})
        self._client.on_disconnect = lambda *_: self.closed.set()
        self._client.connect("localhost", secured.broker.port)
        self._client.loop_start()
        eventually(self._client.is_connected, what=f"{login}'s connection")

    def publish(self, topic: str, payload: bytes = b"{}", *, retain: bool = False) -> int:
        """The broker's reason code."""
        return self._answered(self._client.publish(topic, payload, qos=1, retain=retain).mid)

    def subscribe(self, topic: str) -> int:
        mid = self._client.subscribe(topic, 1)[1]
        assert mid is not None
        return self._answered(mid)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def _answered(self, mid: int) -> int:
        eventually(lambda: mid in self._answers, what="the broker's answer")
        return self._answers[mid]

    def _on_publish(self, _c: Any, _d: Any, mid: int, code: Any, _p: Properties | None) -> None:
        self._answers[mid] = code.value


@pytest.fixture
def client() -> Iterator[Callable[..., Client]]:
    made: list[Client] = []

    def make(secured: Secured, login: str, **options: Any) -> Client:
        made.append(Client(secured, login, **options))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def device(tmp_path: Path) -> Iterator[Callable[..., Device]]:
    made: list[Device] = []

    def make(secured: Secured, **options: Any) -> Device:
        made.append(Device(tmp_path, secured.broker, host="localhost", **options))
        return made[-1]

    yield make
    for one in made:
        one.telemetry.stop(0.0)


def own(kind: str, *, device: str = DEVICE, site: str = SITE) -> str:
    return f"litewatch/1/{site}/{device}/{kind}"


def ack(envelope: Envelope) -> bytes:
    said = Ack(acked_session=envelope.session, upto=envelope.seq)
    return wire.encode(
        Envelope(
            schema=schema_name("ack"), device=DEVICE, site=SITE, session="fleet", seq=0,
            sent_at="2026-01-01T00:00:00Z", boot_id="", clock_synced=False, historical=False, body=said,
        )
    )  # fmt: skip


def problem_of(device: Device) -> str:
    eventually(lambda: device.telemetry.stats.problems, what="a problem")
    return device.telemetry.stats.problems[0]


def test_a_device_delivers_everything_and_hears_its_acks(
    secured: Secured, client: Callable[..., Client], device: Callable[..., Device]
) -> None:
    fleet, home = client(secured, "fleet"), client(secured, "home")
    assert fleet.subscribe("litewatch/1/+/+/#") < 0x80
    assert home.subscribe("homeassistant/#") < 0x80
    sender = device(secured, **secured.options(DEVICE))
    topic = discovery_topic("homeassistant", SITE, DEVICE)
    said = Publication(topic=topic, payload=b'{"device":{}}', retain=True)
    sender.telemetry.set_announcement(said, birth_topic="homeassistant/status")
    sender.telemetry.set_state("online")
    sender.telemetry.emit(ALARM, urgent=True)
    sender.telemetry.emit(Reply(transaction="1", ok=True), urgent=True)

    def delivered() -> bool:
        for heard, payload in list(fleet.heard):
            kind = heard.rpartition("/")[2]
            if kind == "ack" or (kind == "state" and not payload):
                continue
            envelope = wire.decode(payload, kind=kind)
            if envelope.seq and envelope.session == sender.session:
                fleet.publish(own("ack"), ack(envelope))
        return sender.held == 0

    eventually(delivered, what="all messages acknowledged")
    eventually(lambda: (topic, said.payload) in home.heard, what="the announcement")
    assert sender.telemetry.stats.problems == ()
    sender.telemetry.set_announcement(removal(topic), birth_topic=None)
    eventually(lambda: home.heard[-1] == (topic, b""), what="the removal")


def test_a_device_writes_only_what_is_its_own(secured: Secured, client: Callable[..., Client]) -> None:
    attacker = client(secured, DEVICE)
    kinds = ("state", "about", "health", "window", "alarm", "check", "diagnosis", "sample", "reply")
    assert [kind for kind in kinds if attacker.publish(own(kind)) == NOT_AUTHORIZED] == []
    forbidden = (
        *(own(kind, device=OTHER) for kind in (*kinds, "ack", "command", "label")),
        *(own(kind) for kind in ("ack", "command", "label", "anything", "reply/more")),
        own("state", site="elsewhere"),
        own("state", device="never-seen"),
        "litewatch/1/lab",
        "homeassistant/status",
        f"homeassistant/device/litewatch-{SITE}/{OTHER}/config",
        f"homeassistant/device/{DEVICE}/config",
        f"homeassistant/sensor/{DEVICE}/config",
        "anything/else",
    )
    assert [topic for topic in forbidden if attacker.publish(topic, retain=True) != NOT_AUTHORIZED] == []


def test_a_device_hears_only_what_is_for_it(secured: Secured, client: Callable[..., Client]) -> None:
    boss, attacker, victim = (client(secured, login) for login in ("boss", DEVICE, OTHER))
    for topic in ("#", "litewatch/#", own("command", device=OTHER), own("state", device=OTHER), own("#")):
        attacker.subscribe(topic)
    assert victim.publish(own("state", device=OTHER), b"secret") != NOT_AUTHORIZED
    assert boss.publish(own("command", device=OTHER), b"secret") != NOT_AUTHORIZED
    assert boss.publish(own("label", device=OTHER), b"secret") != NOT_AUTHORIZED
    assert boss.publish(own("command"), b"for you") != NOT_AUTHORIZED
    sent_last = (own("command"), b"for you")
    eventually(lambda: sent_last in attacker.heard, what="the device's own command, sent last")
    assert {topic for topic, _ in attacker.heard} <= {own("command"), own("state")}


def test_roles_do_no_more_than_they_must(secured: Secured, client: Callable[..., Client]) -> None:
    fleet, boss, home = (client(secured, login) for login in ("fleet", "boss", "home"))
    allowed = {
        (fleet, own("ack")),
        (boss, own("label")),
        (boss, own("command")),
        (home, "homeassistant/status"),
    }
    topics = [own(kind) for kind in ("state", "alarm", "ack", "label", "command")] + ["homeassistant/status"]
    granted = {
        (who, topic)
        for who in (fleet, boss, home)
        for topic in topics
        if who.publish(topic) != NOT_AUTHORIZED
    }
    assert granted == allowed


def test_nobody_throws_another_off_by_taking_its_client_id(
    secured: Secured, client: Callable[..., Client]
) -> None:
    victim = client(secured, OTHER, client_id=f"litewatch-{SITE}-{OTHER}")
    for taken in (f"litewatch-{SITE}-{OTHER}", OTHER):
        client(secured, DEVICE, client_id=taken).publish(own("health"))
    assert victim.publish(own("health", device=OTHER)) != NOT_AUTHORIZED
    assert not victim.closed.is_set()


def test_without_credentials_nobody_is_let_in_and_the_device_says_so(
    secured: Secured, device: Callable[..., Device]
) -> None:
    ca = secured.options(DEVICE)["tls"].ca
    problem = problem_of(device(secured, tls=TlsOptions(ca=ca)))
    where = f"broker localhost:{secured.broker.port}: "
    if secured.passwords:
        assert problem == f"{where}refuses anonymous devices: not authorized; set mqtt.username"
    else:
        assert problem == (
            f"{where}wants a certificate of this device (certificate required); "
            "set mqtt.tls.certificate and mqtt.tls.key"
        )


def test_a_wrong_password_is_refused_and_the_device_says_so(
    tmp_path: Path, secured: Secured, device: Callable[..., Device]
) -> None:
    if not secured.passwords:
        pytest.skip("the other configuration has no passwords")
    (tmp_path / "password").write_text("guess")
    wrong = secured.options(DEVICE) | {"password_file": str(tmp_path / "password")}
    assert problem_of(device(secured, **wrong)) == (
        f"broker localhost:{secured.broker.port}: refuses user 'cam-1': not authorized; "
        "check the password and its access rules"
    )


def signed(
    folder: Path, authority: Path, *, days: tuple[int, int], server: bool = False, known: Path | None = None
) -> TlsOptions:
    """A certificate for cam-1 (or a broker on localhost) by the authority in ``authority``, valid from
    and until so many days from now; ``known`` is the authority to trust."""
    folder.mkdir(exist_ok=True)
    ca = x509.load_pem_x509_certificate((authority / "ca.pem").read_bytes())
    ca_key = serialization.load_pem_private_key((authority / "authority" / "ca.key").read_bytes(), None)
    assert isinstance(ca_key, ec.EllipticCurvePrivateKey)
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    usage = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
    name = "localhost" if server else DEVICE
    made = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(ca.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + timedelta(days=days[0]))
        .not_valid_after(now + timedelta(days=days[1]))
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False
        )
        .sign(ca_key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    trusted = str((known or authority) / "ca.pem")
    return TlsOptions(ca=trusted, certificate=str(folder / "cert.pem"), key=str(folder / "key.pem"))


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another authority, made by the same script."""
    folder = tmp_path_factory.mktemp("foreign")
    assert script(folder, "init", "--host", "localhost", "--site", SITE).returncode == 0
    return folder


def test_a_certificate_of_the_authority_is_let_in(
    tmp_path: Path, certified: Secured, device: Callable[..., Device]
) -> None:
    """What the refused ones below differ from."""
    let_in = device(certified, tls=signed(tmp_path / "own", certified.folder, days=(-2, 2)))
    eventually(lambda: let_in.telemetry.stats.connected, what="the connection")


@pytest.mark.parametrize(
    ("days", "said"), [((-20, -10), "certificate expired"), ((10, 20), "bad certificate")]
)
def test_a_certificate_out_of_its_time_is_refused_and_the_device_says_so(
    tmp_path: Path, certified: Secured, device: Callable[..., Device], days: tuple[int, int], said: str
) -> None:
    refused = device(certified, tls=signed(tmp_path / "own", certified.folder, days=days))
    assert problem_of(refused) == (
        f"broker localhost:{certified.broker.port}: refuses this device's certificate ({said}); "
        "check mqtt.tls.certificate, its dates and who signed it"
    )
    assert not refused.telemetry.stats.connected


def test_a_foreign_certificate_is_refused_and_the_device_says_so(
    tmp_path: Path, certified: Secured, foreign: Path, device: Callable[..., Device]
) -> None:
    tls = signed(tmp_path / "own", foreign, days=(-2, 2), known=certified.folder)
    refused = device(certified, tls=tls)
    assert problem_of(refused) in [
        f"broker localhost:{certified.broker.port}: refuses this device's certificate ({word}); "
        "check mqtt.tls.certificate, its dates and who signed it"
        for word in ("unknown ca", "decrypt error")
    ]
    assert not refused.telemetry.stats.connected


def test_a_brokers_certificate_is_no_devices(
    tmp_path: Path, certified: Secured, device: Callable[..., Device]
) -> None:
    refused = device(certified, tls=signed(tmp_path / "own", certified.folder, days=(-2, 2), server=True))
    assert "refuses this device's certificate (unsupported certificate)" in problem_of(refused)


def test_a_revoked_certificate_is_worth_nothing_after_a_restart(
    tmp_path: Path, device: Callable[..., Device]
) -> None:
    (tmp_path / "broker").mkdir()
    secured = start(tmp_path / "broker")
    try:
        options = secured.options(DEVICE)
        kept = tmp_path / "kept"
        (secured.folder / "credentials" / DEVICE).rename(kept)
        tls = TlsOptions(
            ca=str(kept / "ca.pem"), certificate=str(kept / "certificate.pem"), key=str(kept / "key.pem")
        )
        assert set(options) == {"tls"}
        lost = device(secured, tls=tls)
        eventually(lambda: lost.telemetry.stats.connected, what="the connection before")
        assert script(secured.folder, "revoke", DEVICE).returncode == 0
        secured.broker.restart()
        eventually(
            lambda: any("(certificate revoked)" in said for said in lost.telemetry.stats.problems),
            what="the refusal",
        )
        assert not lost.telemetry.stats.connected
    finally:
        secured.broker.stop()


@pytest.mark.parametrize(
    ("case", "said"),
    [
        (
            "expired",
            "its certificate is not accepted: certificate has expired; is this machine's clock right?",
        ),
        ("foreign", "; check mqtt.tls.ca"),
        ("a device's", "its certificate is not accepted: unsuitable certificate purpose"),
    ],
)
def test_a_broker_that_is_not_ours_is_refused_by_the_device(
    tmp_path: Path, certified: Secured, foreign: Path, device: Callable[..., Device], case: str, said: str
) -> None:
    authority = foreign if case == "foreign" else certified.folder
    days = (-20, -10) if case == "expired" else (-2, 2)
    made = signed(tmp_path / "server", authority, days=days, server=case != "a device's")
    port = free_port()
    config = tmp_path / "broker.conf"
    config.write_text(
        f"user {getpass.getuser()}\nlistener {port} {HOST}\nallow_anonymous true\n"
        f"cafile {certified.folder}/ca.pem\ncertfile {made.certificate}\nkeyfile {made.key}\n"
    )
    log = tmp_path / "broker.log"
    impostor = Broker(HOST, port, "mosquitto", [str(MOSQUITTO), "-c", str(config)], log)
    impostor.start()
    try:
        asking = device(Secured(certified.folder, impostor, False), **certified.options(DEVICE))
        assert said in problem_of(asking)
        assert not asking.telemetry.stats.connected
    finally:
        impostor.stop()


def test_only_the_broker_may_read_its_keys_and_nobody_the_authoritys(certified: Secured) -> None:
    modes = {
        path.relative_to(certified.folder).as_posix(): stat.S_IMODE(path.stat().st_mode)
        for path in certified.folder.rglob("*")
    }
    assert {name: mode for name, mode in modes.items() if mode & 0o007} == {}
    assert modes["authority"] == modes["credentials"] == 0o700
    assert modes["authority/ca.key"] == modes[f"credentials/{DEVICE}/key.pem"] == 0o600


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["add", "fleet"], "fleet: is a login of a role"),
        (["add", DEVICE, "--role", "operator"], "cam-1: is a login already"),
        (["add", "a/b"], "NAME: expected 1 to 64 letters, digits, _ or -, got 'a/b'"),
        (["add", "+"], "NAME: expected 1 to 64 letters, digits, _ or -, got '+'"),
        (
            ["add", "x", "--role", "king"],
            "--role: expected device, collector, operator or homeassistant, got 'king'",
        ),
        (["revoke", "never-seen"], "never-seen: has no valid certificate"),
        (["init", "--host", "localhost"], "is there already"),
        (["destroy"], "destroy: expected init, add, revoke or renew"),
    ],
)
def test_the_script_refuses_what_would_open_a_hole(
    certified: Secured, arguments: list[str], said: str
) -> None:
    before = (certified.folder / "acl").read_text()
    done = script(certified.folder, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith(f"{said}\n")
    assert (certified.folder / "acl").read_text() == before


def test_a_renewed_broker_is_the_same_to_its_devices(tmp_path: Path, device: Callable[..., Device]) -> None:
    (tmp_path / "broker").mkdir()
    secured = start(tmp_path / "broker")
    try:
        before = (secured.folder / "server.pem").read_bytes()
        assert script(secured.folder, "renew").returncode == 0
        assert (secured.folder / "server.pem").read_bytes() != before
        secured.broker.restart()
        asking = device(secured, **secured.options(DEVICE))
        eventually(lambda: asking.telemetry.stats.connected, what="the connection")
    finally:
        secured.broker.stop()
    assert os.access(FOLDER / "litewatch-broker", os.X_OK)


@pytest.mark.runtime
def test_agent_collector_and_operator_work_together_on_the_shipped_configuration(
    tmp_path: Path, secured: Secured
) -> None:
    """The real commands, each with its own login."""
    import bundles
    import yaml

    (tmp_path / "bundle.tflite").write_bytes(bundles.pack_images(tmp_path, count=180).data)
    frames = len(list((tmp_path / "held_out").glob("*.png")))
    mqtt = secured.options(DEVICE)
    tls: TlsOptions = mqtt.pop("tls")
    config = {
        "device": {"id": DEVICE, "site": SITE, "state_dir": str(tmp_path / "state")},
        "model": {"bundle": "bundle.tflite"},
        "source": {"kind": "directory", "path": "held_out"},
        "monitor": {"window": {"samples": 20}},
        "mqtt": {
            "host": "localhost",
            "port": secured.broker.port,
            **mqtt,
            "tls": {name: value for name, value in asdict(tls).items() if value is not None},
        },
        "outbox": {"flush_interval_s": 0.1},
    }
    (tmp_path / "agent.yaml").write_text(yaml.safe_dump(config))
    place = ["--mqtt", f"localhost:{secured.broker.port}"]
    collecting = subprocess.Popen(
        [*LITEWATCH, "collect", *place, *login(secured, "fleet"), "--db", str(tmp_path / "fleet.db")],
        stdout=(log := (tmp_path / "collect.log")).open("w"),
        stderr=subprocess.STDOUT,
        env=ENVIRONMENT,
    )
    try:
        eventually(lambda: "collecting from" in log.read_text(), what="the collector's subscription")
        done = litewatch("run", "-c", str(tmp_path / "agent.yaml"))
        assert (done.returncode, "refuse" in done.stderr) == (0, False), done.stderr
        done = litewatch(
            "label", "--site", SITE, "--device", DEVICE, *place, *login(secured, "boss"),
            "--name", "x.png", "--label", "1",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

        def report() -> dict[str, Any]:
            said = litewatch("report", "--db", str(tmp_path / "fleet.db"), "--json")
            devices: list[dict[str, Any]] = json.loads(said.stdout or "{}").get("devices", [])
            return devices[0] if devices else {}

        eventually(lambda: report().get("frames") == frames, what="all frames in the fleet's report")
        assert (report()["state"], report()["messages_awaited"]) == ("stopped", 0)
    finally:
        collecting.terminate()
        collecting.wait(10)


def login(secured: Secured, name: str) -> list[str]:
    """The options of a command for this login."""
    options = secured.options(name)
    tls: TlsOptions = options["tls"]
    assert tls.ca
    if secured.passwords:
        return ["--ca", tls.ca, "--username", name, "--password-file", options["password_file"]]
    assert tls.certificate
    assert tls.key
    return ["--ca", tls.ca, "--certificate", tls.certificate, "--key", tls.key]


def litewatch(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*LITEWATCH, *arguments], capture_output=True, text=True, timeout=60, env=ENVIRONMENT
    )
