"""The doctor on real parts: a broker that refuses, certificates that are wrong, a delegate that crashes, an
agent that has the device, damaged files; and the command as a whole."""

import contextlib
import json
import os
import socket
import sqlite3
import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest
import standin
import tiny
import yaml
from broker import MOSQUITTO, Broker, eventually, start_broker
from bundles import make_bundle, write_images
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from trees import plant, put

from agent.contracts import Frame, Skipped
from agent.device.control_socket import Ask, ControlSocket
from agent.device.throttling import Throttling
from agent.errors import SourceError
from agent.runtime.edgetpu import EdgeTpu
from agent.sections import DeviceConfig
from agent.sources.camera import Camera
from agent.sources.directory import Directory
from agent.sources.vectors import Vectors
from agent.telemetry.messages import Reply
from agent.telemetry.options import MqttOptions, OutboxOptions, TlsOptions
from tools.cli import main
from tools.demo.broker import free_port
from tools.doctor.examination import Patient, examine
from tools.doctor.probe import broker as broker_probe
from tools.doctor.probe import bundle as bundle_probe
from tools.doctor.probe import delegate as delegate_probe
from tools.doctor.probe import disk as disk_probe
from tools.doctor.probe import runtime as runtime_probe
from tools.doctor.probe import source as source_probe
from tools.doctor.probe.service import Agent
from tools.doctor.probe.service import look as ask_agent
from tools.doctor.tree import broker as broker_tree
from tools.doctor.tree import tpu as tpu_tree
from tools.doctor.tree.broker import BrokerFacts
from tools.doctor.tree.service import Said

pytest_plugins = ("broker",)
HOST = "127.0.0.1"
DEVICE = DeviceConfig(id="cam-1", site="lab")
NO_AGENT = Agent(running=False)
needs_mosquitto = pytest.mark.skipif(MOSQUITTO is None, reason="skipped: no mosquitto")


def look(options: MqttOptions, **agent: bool | None) -> BrokerFacts:
    return broker_probe.look(options, DEVICE, clock_synced=True, **agent)  # type: ignore[arg-type]  # by name


def cause(facts: BrokerFacts) -> str:
    return broker_tree.examine(facts)[0].cause


# The broker.


def test_a_broker_with_a_listener(broker: Broker) -> None:
    options = MqttOptions(host=HOST, port=broker.port, version="5" if broker.kind == "mosquitto" else "3.1.1")
    assert look(options).stage == "done"


@needs_mosquitto
def test_nobody_listens_to_the_device_and_then_somebody_does(tmp_path: Path) -> None:
    running = start_broker(tmp_path)
    try:
        options = MqttOptions(host=HOST, port=running.port)
        assert not look(options).heard
        heard: list[bytes] = []
        subscribed: list[int] = []
        client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        client.on_message = lambda _client, _data, message: heard.append(bytes(message.payload))
        client.on_subscribe = lambda *_: subscribed.append(1)
        client.connect(HOST, running.port)
        client.subscribe("litewatch/1/+/+/#", 1)
        client.loop_start()
        eventually(lambda: subscribed, what="subscribed")
        assert look(options).heard
        eventually(lambda: heard, what="the empty message")
        assert heard == [b""]
        client.disconnect()
        client.loop_stop()
    finally:
        running.stop()


def test_a_port_without_a_broker() -> None:
    facts = look(MqttOptions(host=HOST, port=free_port()))
    assert facts.stage == "port"
    assert "refuses the connection: no broker listens on that port" in cause(facts)


def test_a_name_that_does_not_exist() -> None:
    facts = look(MqttOptions(host="no-such-host.invalid"))
    assert (facts.stage, cause(facts)) == ("name", "the name 'no-such-host.invalid' cannot be resolved")


def test_a_password_file_that_is_missing() -> None:
    facts = look(MqttOptions(host=HOST, port=free_port(), username="cam-1", password_file="/nowhere"))
    assert cause(facts) == "mqtt.password_file: /nowhere cannot be read: no such file or directory"


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """Logins cam-1 and cam-2 by the password ``secret``; each reads and writes below its own name."""
    if MOSQUITTO is None:
        pytest.skip("skipped: no mosquitto")
    folder = tmp_path_factory.mktemp("strict")
    passwords, rules = folder / "passwords", folder / "acl"
    for number, login in enumerate(("cam-1", "cam-2")):
        create = ["-c"] if number == 0 else []
        command = ["mosquitto_passwd", "-b", *create, str(passwords), login, "secret"]
        subprocess.run(command, check=True, capture_output=True)
    rules.write_text("pattern readwrite litewatch/1/lab/%u/#\n")
    extra = f"allow_anonymous false\npassword_file {passwords}\nacl_file {rules}"
    running = start_broker(folder / "broker", config_extra=extra)
    yield running
    running.stop()


def login(folder: Path, port: int, username: str, password: str, **options: Any) -> MqttOptions:
    (folder / "password").write_text(password + "\n")
    file = str(folder / "password")
    return MqttOptions(host=HOST, port=port, username=username, password_file=file, **options)


def test_the_right_login_and_its_own_topic(strict: Broker, tmp_path: Path) -> None:
    assert look(login(tmp_path, strict.port, "cam-1", "secret")).stage == "done"


@contextlib.contextmanager
def as_nobody(file: Path) -> Iterator[None]:
    """A user who may not read ``file``."""
    file.chmod(0)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_a_password_that_this_user_may_not_read_is_not_called_wrong(strict: Broker, tmp_path: Path) -> None:
    options = login(tmp_path, strict.port, "cam-1", "secret")
    with as_nobody(tmp_path / "password"):
        facts = look(options)
    (found,) = broker_tree.examine(facts)
    assert found.verdict == "not checked"
    assert found.cause == (
        f"127.0.0.1:{strict.port} answers; the login was not tried: "
        f"mqtt.password_file: this user may not read {tmp_path / 'password'}"
    )


@needs_mosquitto
def test_the_running_agents_connection_survives(tmp_path: Path) -> None:
    """A broker that takes the login for the client id ends the first connection when there is a second."""
    passwords = tmp_path / "passwords"
    command = ["mosquitto_passwd", "-b", "-c", str(passwords), "cam-1", "secret"]
    subprocess.run(command, check=True, capture_output=True)
    extra = f"allow_anonymous false\npassword_file {passwords}\nuse_username_as_clientid true"
    running = start_broker(tmp_path / "broker", config_extra=extra)
    ended: list[int] = []
    subscribed: list[int] = []
    client = paho.Client(CallbackAPIVersion.VERSION2, client_id="cam-1", protocol=MQTTProtocolVersion.MQTTv5)
    client.username_pw_set("cam-1", "secret")
    client.on_subscribe = lambda *_: subscribed.append(1)
    client.on_disconnect = lambda *_: ended.append(1)
    try:
        client.connect(HOST, running.port)
        client.subscribe("still/here", 1)
        client.loop_start()
        eventually(lambda: subscribed, what="subscribed")
        options = login(tmp_path, running.port, "cam-1", "secret")
        facts = look(options, agent_running=True, agent_connected=True)
        assert cause(facts) == f"127.0.0.1:{running.port}: the running agent is connected"
        client.subscribe("still/here/2", 1)
        eventually(lambda: len(subscribed) == 2, what="the first connection still answers")
        assert ended == []
        assert look(options).stage == "done"
        eventually(lambda: ended, what="a second login would have ended it")
    finally:
        client.disconnect()
        client.loop_stop()
        running.stop()


@contextlib.contextmanager
def mute() -> Iterator[int]:
    """A port that accepts and says nothing."""
    with socket.create_server((HOST, 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("tls", [None, TlsOptions()])
def test_a_port_that_accepts_and_says_nothing(
    tls: TlsOptions | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker_probe, "ANSWER_S", 0.3)
    with mute() as port:
        facts = look(MqttOptions(host=HOST, port=port, tls=tls, connect_timeout_s=0.3))
    assert facts.stage == "silent"
    assert cause(facts).startswith(f"127.0.0.1:{port} accepts and does not answer")


@pytest.mark.parametrize("version", ["5", "3.1.1"])
def test_a_wrong_password(strict: Broker, tmp_path: Path, version: Any) -> None:
    facts = look(login(tmp_path, strict.port, "cam-1", "wrong", version=version))
    assert facts.stage == "login"
    assert cause(facts).startswith("the broker refuses user 'cam-1': ")


def test_no_login(strict: Broker) -> None:
    assert cause(look(MqttOptions(host=HOST, port=strict.port))).startswith("the broker refuses anonymous")


def test_access_rules_that_do_not_fit_the_device(strict: Broker, tmp_path: Path) -> None:
    facts = look(login(tmp_path, strict.port, "cam-2", "secret"))
    assert (facts.stage, facts.code) == ("write", 0x87)
    assert cause(facts) == (
        "the broker's access rules do not let user 'cam-2' write below litewatch/1/lab/cam-1"
    )
    blind = look(login(tmp_path, strict.port, "cam-2", "secret", version="3.1.1"))
    assert (blind.stage, broker_tree.examine(blind)[0].verdict) == ("done", "notice")


# Certificates.

USAGES = (
    "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
    "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
)  # fmt: skip


class Authority:
    """Signs certificates for any name and any days."""

    def __init__(self, folder: Path) -> None:
        from cryptography.hazmat.primitives.asymmetric import ec

        folder.mkdir()
        self.folder, self.ca = folder, folder / "ca.pem"
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._write(self.ca, self._sign("test CA", self._key, days=(-1, 2), authority=True))

    def issue(self, name: str, *, days: tuple[float, float] = (-1, 2)) -> dict[str, str]:
        """``cafile``, ``certfile`` and ``keyfile`` of a broker of that name."""
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec

        key = ec.generate_private_key(ec.SECP256R1())
        certificate, private = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        self._write(certificate, self._sign(name, key, days=days))
        private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return {"cafile": str(self.ca), "certfile": str(certificate), "keyfile": str(private)}

    def _sign(self, name: str, key: Any, *, days: tuple[float, float], authority: bool = False) -> Any:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes
        from cryptography.x509.oid import NameOID

        def named(text: str) -> x509.Name:
            return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

        now = datetime.now(UTC)
        allowed = {"key_cert_sign", "crl_sign"} if authority else {"digital_signature"}
        usage = {name: name in allowed for name in USAGES}
        signer = self._key.public_key()
        return (
            x509.CertificateBuilder()
            .subject_name(named(name))
            .issuer_name(named("test CA"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + timedelta(days=days[0]))
            .not_valid_after(now + timedelta(days=days[1]))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.KeyUsage(**usage), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer), critical=False)
            .add_extension(x509.SubjectAlternativeName([_alternative(name)]), critical=False)
            .sign(self._key, hashes.SHA256())
        )

    def _write(self, path: Path, certificate: Any) -> None:
        from cryptography.hazmat.primitives import serialization

        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))


def _alternative(name: str) -> Any:
    from cryptography import x509

    return x509.IPAddress(ip_address(name)) if name[0].isdigit() else x509.DNSName(name.replace(" ", "-"))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    pytest.importorskip("cryptography", reason="skipped: no cryptography to make certificates with")
    return Authority(tmp_path_factory.mktemp("authority") / "ca")


@contextlib.contextmanager
def secured(folder: Path, files: dict[str, str], extra: str = "") -> Iterator[Broker]:
    lines = "\n".join(f"{name} {file}" for name, file in files.items())
    running = start_broker(folder / "tls", config_extra=f"{lines}\n{extra}")
    try:
        yield running
    finally:
        running.stop()


def over_tls(running: Broker, ca: Path | None, **own: str) -> BrokerFacts:
    tls = TlsOptions(ca=None if ca is None else str(ca), **own)
    return look(MqttOptions(host=HOST, port=running.port, tls=tls))


@needs_mosquitto
def test_a_certificate_that_is_right_of_a_stranger_or_missing(tmp_path: Path, authority: Authority) -> None:
    with secured(tmp_path, authority.issue(HOST)) as running:
        assert over_tls(running, authority.ca).stage == "done"
        assert cause(over_tls(running, None)) == (
            "the broker's certificate is signed by an authority that this device does not know"
        )
        plain = look(MqttOptions(host=HOST, port=running.port))
        assert cause(plain) == "the broker hangs up unanswered: another protocol, or a TLS port"


@needs_mosquitto
@pytest.mark.parametrize(
    ("name", "days", "said"),
    [
        (HOST, (-10, -5), "the broker's certificate is expired"),
        (HOST, (5, 10), "the broker's certificate is not valid yet"),
        ("broker.local", (-1, 2), "the broker's certificate is not for the name '127.0.0.1'"),
    ],
)
def test_a_certificate_that_is_wrong(
    tmp_path: Path, authority: Authority, name: str, days: tuple[float, float], said: str
) -> None:
    with secured(tmp_path, authority.issue(name, days=days)) as running:
        facts = over_tls(running, authority.ca)
        assert (facts.stage, cause(facts)) == ("tls", said)


@needs_mosquitto
def test_a_broker_that_wants_a_certificate_of_the_device(tmp_path: Path, authority: Authority) -> None:
    stranger = Authority(tmp_path / "stranger").issue("cam-1")
    own = authority.issue("cam-1")
    with secured(tmp_path, authority.issue(HOST), "require_certificate true") as running:
        none = over_tls(running, authority.ca)
        assert cause(none) == (
            "the broker hangs up after the TLS handshake: it wants a certificate of this device"
        )
        foreign = over_tls(running, authority.ca, certificate=stranger["certfile"], key=stranger["keyfile"])
        assert cause(foreign).startswith("the broker does not accept this device's certificate")
        right = over_tls(running, authority.ca, certificate=own["certfile"], key=own["keyfile"])
        assert right.stage == "done"


def test_tls_on_a_port_without_it(broker: Broker, authority: Authority) -> None:
    facts = over_tls(broker, authority.ca)
    assert cause(facts) == f"127.0.0.1:{broker.port} does not speak TLS"


# Runtime and delegate.


@pytest.mark.runtime
def test_the_runtime_of_this_environment() -> None:
    facts, chosen = runtime_probe.look("auto")
    assert chosen is not None
    assert chosen.name in {one.name for one in facts.tried if not one.problem}
    assert (facts.bits, facts.opencv_problem) == (64, "")
    other = next((one for one in facts.tried if one.version is None), None)
    assert other is None or (other.problem == "not installed" and other.install.startswith("pip install"))


def delegate_facts(root: Path, library: Path, agent: Agent = NO_AGENT, **changes: Any) -> Any:
    given: dict[str, Any] = {"model": standin.CLASSIFIER_TWIN, "runtime": tiny.runtime()} | changes
    return delegate_probe.look(
        EdgeTpu(library=str(library)), agent=agent, throttling=Throttling(known=True), root=root, **given
    )


@pytest.mark.runtime
def test_a_delegate_that_runs_crashes_or_is_missing(tmp_path: Path) -> None:
    root = plant(tmp_path / "pi", "pi4", "usb_coral")
    library = standin.library()
    assert delegate_facts(root, library).tried.problem == ""
    model_less = delegate_facts(root, library, model=None).tried
    assert (model_less.problem, model_less.detail) == (
        "", "only its library was loaded: no model for it is here",
    )  # fmt: skip
    crashing = standin.external(library, segfault_after=0)
    tried, _ = delegate_probe.try_out(
        crashing, runtime=tiny.runtime(), model=standin.CLASSIFIER_TWIN, agent=NO_AGENT
    )
    assert tried is not None and "signal 11" in tried.problem
    missing = delegate_facts(root, Path("libnowhere.so.1"))
    assert "install libedgetpu" in missing.tried.problem


def test_what_the_kernel_says_of_a_coral(tmp_path: Path) -> None:
    root = plant(tmp_path / "pi", "pi4", "usb_coral")
    put(root, "proc/812/comm", "frigate")
    (root / "proc/812/fd").mkdir()
    (root / "proc/812/fd/9").symlink_to("/dev/bus/usb/002/003")
    facts = delegate_facts(root, Path("libnowhere.so.1"), runtime=None)
    assert facts.holder == "frigate (process 812)"
    assert (facts.missing, facts.apex_loaded, facts.tried) == ((), False, None)
    (root / "dev/bus/usb/002/003").unlink()
    assert delegate_facts(root, Path("x"), runtime=None).missing == ("/dev/bus/usb/002/003",)


def test_who_gives_access_to_a_coral(tmp_path: Path) -> None:
    root = plant(tmp_path / "pi", "pi4", "usb_coral")
    assert delegate_facts(root, Path("x"), runtime=None).rules == tpu_tree.RULES
    (root / "opt/litewatch").mkdir(parents=True)
    (checkout, _) = delegate_facts(root, Path("x"), runtime=None).rules
    assert checkout == "sudo systemd/install.sh --coral  # in a checkout"
    put(root, tpu_tree.INSTALLER, "")
    (installed, _) = delegate_facts(root, Path("x"), runtime=None).rules
    assert installed == "sudo /opt/litewatch/current/share/litewatch/systemd/install.sh --coral"


def test_only_the_genuine_pycoral_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert delegate_probe.listed() is None
    put(tmp_path, "pycoral/__init__.py", "raise SystemError('a package of the same name')")
    assert delegate_probe.listed() is None
    put(tmp_path, "pycoral/__init__.py", "")
    put(tmp_path, "pycoral/utils/__init__.py", "")
    listing = "def list_edge_tpus(): return [{'type': 'usb', 'path': '/sys/bus/usb/devices/2-1'}]"
    put(tmp_path, "pycoral/utils/edgetpu.py", listing)
    assert delegate_probe.listed() == ("usb /sys/bus/usb/devices/2-1",)


# The running agent.


@contextlib.contextmanager
def agent(folder: Path, reply: Reply, state: Reply | None = None) -> Iterator[Path]:
    """An agent at its address that answers ``state`` with that, and whatever else it is asked with
    ``reply``."""

    def answer(asked: Ask) -> None:
        asked.answer(state if state is not None and asked.command.command == "state" else reply)

    listening = ControlSocket(folder / "control.sock", answer)
    listening.start()
    try:
        yield folder
    finally:
        listening.close()


def canary(**result: Any) -> Reply:
    full = {"delegate": "edgetpu", "inputs": 8, "runs": 8, "blessed": 8, "mismatches": [], "refused": ""}
    return Reply(transaction=None, ok=True, result=full | result)


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (canary(), ""),
        (canary(mismatches=["a.png: 3 of 4 values, up to 9"]), "a.png: 3 of 4 values, up to 9"),
        (canary(delegate="cpu"), "it has lost the delegate, and the CPU runs the model"),
    ],
)
def test_the_running_agent_is_asked_for_its_device(tmp_path: Path, reply: Reply, problem: str) -> None:
    with agent(tmp_path, reply) as folder:
        asked = ask_agent(None, {"STATE_DIRECTORY": str(folder)}, canary=True)
    assert asked.running
    assert asked.tried is not None and asked.tried.problem == problem


def test_an_agent_that_cannot_tell_and_none_at_all(tmp_path: Path) -> None:
    refusal = Reply(transaction=None, ok=False, problems=("canary: it is off",))
    with agent(tmp_path, refusal) as folder:
        asked = ask_agent(None, {"STATE_DIRECTORY": str(folder)}, canary=True)
    assert (asked.running, asked.tried) == (True, None)
    assert asked.untried == "the running agent has it, and cannot try it out (canary: it is off)"
    gone = ask_agent(None, {"STATE_DIRECTORY": str(tmp_path)}, canary=True)
    assert not gone.running


def state(*problems: str, device: str = "cam-1", connected: bool = True) -> Reply:
    result = {
        "device": device,
        "site": "lab",
        "state": "degraded" if problems else "online",
        "problems": list(problems),
        "connected": connected,
    }
    return Reply(transaction=None, ok=True, result=result)


def test_the_running_agent_is_asked_for_its_state(tmp_path: Path) -> None:
    here = {"STATE_DIRECTORY": str(tmp_path)}
    with agent(tmp_path, canary(), state("source: lost", connected=False)):
        asked = ask_agent(None, here, canary=True)
        assert asked.said == Said(state="degraded", problems=("source: lost",), connected=False)
        assert asked.tried is not None and asked.tried.problem == ""
    unknown = Reply(transaction=None, ok=False, problems=("command: unknown command 'state'",))
    with agent(tmp_path, unknown):
        older = ask_agent(None, here, canary=False)
    assert (older.running, older.said, older.silent) == (True, None, "")


def test_a_device_that_the_agent_has_is_not_touched(tmp_path: Path) -> None:
    root = plant(tmp_path / "pi", "pi4", "usb_coral")
    busy = Agent(running=True, reply={"ok": True, "problems": [], "result": canary().result})
    tried = delegate_facts(root, Path("/nowhere.so"), agent=busy).tried
    assert (tried.by, tried.problem) == ("service", "")


# Disk, bundle, source.


def test_a_sound_a_damaged_and_a_missing_outbox(tmp_path: Path) -> None:
    facts = disk_probe.look(tmp_path / "not" / "yet", OutboxOptions())
    assert (facts.exists, facts.writable, facts.outbox_problem) == (False, True, "")
    with contextlib.closing(sqlite3.connect(tmp_path / "outbox.db")) as database:
        database.execute("CREATE TABLE message (id INTEGER PRIMARY KEY, body TEXT)")
        database.executemany("INSERT INTO message (body) VALUES (?)", [("x" * 500,)] * 500)
        database.commit()
    assert disk_probe.look(tmp_path, OutboxOptions()).outbox_problem == ""
    with (tmp_path / "outbox.db").open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 8192)
    assert disk_probe.look(tmp_path, OutboxOptions()).outbox_problem != ""
    (tmp_path / "outbox.db").write_bytes(b"no database at all" * 100)
    assert disk_probe.look(tmp_path, OutboxOptions()).outbox_problem == "file is not a database"
    for name in ("outbox.db.damaged-1", "outbox.db.damaged-1-wal"):
        (tmp_path / name).touch()
    assert disk_probe.look(tmp_path, OutboxOptions()).set_aside == ("outbox.db.damaged-1",)


@pytest.mark.runtime
def test_a_bundle_that_is_whole_and_one_that_is_cut(tmp_path: Path) -> None:
    path = make_bundle(tmp_path, golden=write_images(tmp_path / "golden", 40, seed=2))
    facts, bundle = bundle_probe.look(str(path), trusted_keys=(), runtime=tiny.runtime(), needs_edgetpu=False)
    assert (facts.problems, facts.answer) == ((), "")
    assert bundle is not None and not facts.has_edgetpu
    path.write_bytes(path.read_bytes()[:-100])
    cut, none = bundle_probe.look(str(path), trusted_keys=(), runtime=None, needs_edgetpu=False)
    assert cut.problems and none is None


class Stuck:
    """A source whose driver never answers."""

    fps, live = None, True

    def open(self) -> Any:
        threading.Event().wait(30)
        raise SourceError("too late")


def test_a_source_that_delivers_fails_or_hangs(tmp_path: Path) -> None:
    write_images(tmp_path, 2)
    folder = Directory(path=str(tmp_path))
    assert source_probe.look("directory", folder, agent_running=False).problem == ""
    nothing = Directory(path=str(tmp_path / "nowhere"))
    assert source_probe.look("directory", nothing, agent_running=False).problem
    assert source_probe.look("vectors", Vectors(path="-"), agent_running=False).problem is None
    assert source_probe.look("directory", folder, agent_running=True).problem is None
    assert source_probe.first_frame(Stuck(), within_s=0.1) == "no frame came within 0.1 s"


class Damaged:
    """A source whose first items are damaged; ``frames`` come after them."""

    fps, live = None, True

    def __init__(self, damaged: int, frames: int) -> None:
        self._items: list[Frame | Skipped] = [Skipped(name=f"{n}.jpg", reason="cut") for n in range(damaged)]
        self._items += [Frame(payload=b"", captured_ns=0, name="whole.jpg")] * frames

    def open(self) -> Any:
        return self

    def __iter__(self) -> Iterator[Frame | Skipped]:
        return iter(self._items)

    def close(self) -> None:
        pass


def test_damaged_frames_are_skipped_until_one_is_whole() -> None:
    assert source_probe.first_frame(Damaged(3, 1)) == ""
    assert source_probe.first_frame(Damaged(3, 0)) == (
        "it ended without a frame; the last thing skipped was 2.jpg: cut"
    )
    late = source_probe.first_frame(Damaged(3, 1), within_s=0.0)
    assert late.startswith("no frame came within ")


def test_codecs_are_no_cameras(tmp_path: Path) -> None:
    names = {
        0: "unicam-image", 2: "HD Webcam C525: HD Webcam C525", 10: "bcm2835-codec-decode",
        13: "bcm2835-isp-output0", 19: "rpi-hevc-dec", 20: "pispbe-input", 21: "rp1-cfe-csi2_ch0",
    }  # fmt: skip
    for number, name in names.items():
        put(tmp_path, f"dev/video{number}", "")
        put(tmp_path, f"sys/class/video4linux/video{number}/name", name)
    facts = source_probe.look("camera", Camera(device=5), agent_running=True, root=tmp_path)
    assert facts.cameras == ("/dev/video2",)
    assert set(facts.others) == {f"/dev/video{number}" for number in names if number != 2}


def test_a_camera_by_its_device_file(tmp_path: Path) -> None:
    put(tmp_path, "dev/video0", "")
    put(tmp_path, "sys/class/video4linux/video0/name", "unicam-image")
    (tmp_path / "dev/v4l").mkdir()
    (tmp_path / "dev/v4l/door").symlink_to("../video0")
    for device in (0, "/dev/video0", "/dev/v4l/door"):
        facts = source_probe.look("camera", Camera(device=device), agent_running=True, root=tmp_path)
        assert (facts.node_exists, facts.node_driver) == (True, "unicam-image")
    absent = source_probe.look("camera", Camera(device=3), agent_running=True, root=tmp_path)
    assert (absent.node, absent.node_exists, absent.others) == ("/dev/video3", False, ("/dev/video0",))


# The command.


def agent_yaml(folder: Path, **changes: Any) -> Path:
    write_images(folder / "frames", 2)
    bundle = make_bundle(folder, golden=write_images(folder / "golden", 40, seed=2))
    config: dict[str, Any] = {
        "device": {"id": "cam-1", "site": "lab", "state_dir": str(folder / "state")},
        "model": {"bundle": bundle.name},
        "source": {"kind": "directory", "path": "frames"},
        "monitor": {"window": {"samples": 20}, "false_alarms_per_month": 1000},
    }
    path = folder / "agent.yaml"
    path.write_text(yaml.safe_dump(config | changes))
    return path


def examined(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, dict[str, Any]]:
    code = main(["doctor", "--json", *arguments])
    said: dict[str, Any] = json.loads(capsys.readouterr().out)
    return code, {finding["subject"]: finding for finding in said["findings"]}


@pytest.mark.runtime
def test_a_device_that_is_well(
    tmp_path: Path, broker: Broker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    version = "5" if broker.kind == "mosquitto" else "3.1.1"
    path = agent_yaml(tmp_path, mqtt={"host": HOST, "port": broker.port, "version": version})
    code, found = examined(capsys, "-c", str(path))
    assert {subject: one for subject, one in found.items() if one["verdict"] == "wrong"} == {}
    assert code == 0
    assert found["bundle"]["verdict"] == "ok"
    assert found["source"]["cause"] == "directory frames: a frame came"
    assert found["config"]["cause"] == "device cam-1 at lab"
    assert "broker" in found
    assert not (tmp_path / "state").exists()


@pytest.mark.runtime
def test_a_device_that_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    path = agent_yaml(
        tmp_path,
        mqtt={"host": HOST, "port": free_port()},
        source={"kind": "directory", "path": "nowhere"},
        model={"bundle": "bundle.tflite", "delegate": {"kind": "external", "library": "libnowhere.so"}},
    )
    code, found = examined(capsys, "-c", str(path))
    assert code == 1
    wrong = {subject: one for subject, one in found.items() if one["verdict"] == "wrong"}
    assert set(wrong) == {"broker", "source", "delegate"}
    assert all(one["commands"] for one in wrong.values())
    assert main(["doctor", "-c", str(path)]) == 1
    said = capsys.readouterr().out
    assert "→ systemctl status mosquitto" in said and "libnowhere.so" in said


@pytest.mark.runtime
@pytest.mark.parametrize(
    ("changes", "subject", "said"),
    [
        ({"monitor": {"window": {"samples": 80}}}, "config", "monitor.window.samples"),
        (
            {
                "model": {
                    "bundle": "bundle.tflite",
                    "preprocess_override": {"path": "none.yaml", "accept_mismatch": True},
                }
            },
            "config",
            "model.preprocess_override.path: none.yaml cannot be read",
        ),
        ({"outbox": {"path": "other.db"}}, "config", "is a database of another program"),
    ],
)
def test_a_config_that_the_agent_would_not_start_with(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    changes: dict[str, Any],
    subject: str,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    with contextlib.closing(sqlite3.connect(tmp_path / "other.db")) as database:
        database.execute("CREATE TABLE theirs (id INTEGER PRIMARY KEY)")
        database.commit()
    path = agent_yaml(tmp_path, **changes)
    code, found = examined(capsys, "-c", str(path))
    assert (code, found[subject]["verdict"]) == (1, "wrong")
    assert (
        found[subject]["cause"].startswith("the agent would not start: ") and said in found[subject]["cause"]
    )
    assert found[subject]["commands"]
    assert not (tmp_path / "state").exists()


@pytest.mark.runtime
def test_a_running_agent_that_is_degraded_fails_the_examination(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    path = agent_yaml(tmp_path)
    (tmp_path / "state").mkdir()
    with agent(tmp_path / "state", canary(), state("canary: could not be blessed")):
        code, found = examined(capsys, "-c", str(path))
    assert (code, found["agent"]["verdict"]) == (1, "wrong")
    assert found["agent"]["cause"] == "the running agent says: canary: could not be blessed"
    with agent(tmp_path / "state", canary(), state("canary: could not be blessed", device="cam-2")):
        code, found = examined(capsys, "-c", str(path))
    assert (code, found["agent"]["verdict"]) == (0, "notice")


@pytest.mark.runtime
def test_what_could_not_be_checked_says_how_it_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    path = agent_yaml(tmp_path)
    (tmp_path / "state").mkdir()
    refused = Reply(transaction=None, ok=False, problems=("command: unknown command 'state'",))
    with agent(tmp_path / "state", refused):
        assert main(["doctor", "-c", str(path)]) == 0
    lines = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    said = "not checked agent runs on this machine, and does not tell its state: it is of an older version"
    assert (
        lines[lines.index(said) + 1]
        == "→ sudo systemctl restart litewatch # to the version that is installed"
    )


@pytest.mark.runtime
def test_a_password_among_systemds_credentials(
    strict: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "secrets_mqtt").write_text("secret\n")
    mqtt = {"host": HOST, "port": strict.port, "username": "cam-1", "password_file": "secrets/mqtt"}
    path = agent_yaml(tmp_path, mqtt=mqtt)
    environment = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    patient = Patient(text=path.read_text(), path=path, environment=environment)
    (found,) = [one for one in examine(patient) if one.subject == "broker"]
    assert (found.verdict, "takes this device's messages" in found.cause) == ("notice", True)


@pytest.mark.runtime
def test_a_config_that_is_bad_and_one_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "agent.yaml"
    path.write_text("device: {id: cam-1}\nmodel: {bundle: x, threads: 0}\n")
    code, found = examined(capsys, "-c", str(path))
    assert code == 1
    assert found["config"]["commands"] == [f"litewatch config {path}"]
    assert found["runtime"]["verdict"] == "ok"
    assert main(["doctor", "-c", str(tmp_path / "nowhere.yaml")]) == 2
