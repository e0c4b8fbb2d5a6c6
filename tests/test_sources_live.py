"""The live sources against real servers and a real broker, which close, hang, corrupt and refuse."""

import datetime
import ipaddress
import os
import shlex
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import paho.mqtt.client as paho
import psutil
import pytest
from broker import MOSQUITTO, eventually, start_broker
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from paho.mqtt.enums import CallbackAPIVersion

from agent.contracts import Frame, Skipped, Source
from agent.errors import SourceError
from agent.sources import KINDS, rpicam
from agent.sources.mqtt import Mqtt
from agent.sources.opencv_feed import Thinning, driver_time
from agent.sources.rpicam import Rpicam
from agent.sources.stream import Stream
from agent.structure import structure_kind
from agent.telemetry.options import TlsOptions
from tests.contract_source import (
    PATIENCE_S,
    PROMPT_S,
    LiveSourceContract,
    Reading,
    Scene,
    looks_right,
    read_on,
)
from tests.servers import Behaviour
from tests.servers.mjpeg import MjpegServer
from tests.servers.relay import Relay
from tools.demo.broker import free_port

HOST = "127.0.0.1"
GSTREAMER = "/usr/bin/python3"
VERSION: Literal["5", "3.1.1"] = "5" if MOSQUITTO else "3.1.1"
SERVERS = Path(__file__).parent / "servers"


@cache
def pictures() -> tuple[bytes, ...]:
    """JPEG files of a bright column that moves."""
    made = []
    for column in range(0, 64, 8):
        image = np.full((48, 64, 3), (40, 90, 200), np.uint8)
        image[:, column : column + 8] = 255
        made.append(bytes(cv2.imencode(".jpg", image)[1]))
    return tuple(made)


@cache
def has_gstreamer() -> bool:
    asked = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
    try:
        return subprocess.run([GSTREAMER, "-c", asked], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


needs_gstreamer = pytest.mark.skipif(
    not has_gstreamer(), reason="needs GStreamer's RTSP server (python3-gi, gir1.2-gst-rtsp-server-1.0)"
)


class TestMjpegStream(LiveSourceContract):
    kind = "stream"

    @contextmanager
    def scene(self, folder: Path) -> Iterator[Scene]:
        with MjpegServer(list(pictures()), credentials="admin:s3cret") as server:
            url = f"http://admin:s3cret@{HOST}:{server.port}/door"
            yield Scene(source=Stream(url=url, read_timeout_ms=600), behave=server.behave)

    def missing(self) -> tuple[Source, str]:
        return Stream(url=f"http://admin:s3cret@{HOST}:{free_port()}/door"), "/door: cannot be opened"

    def test_the_cameras_own_files_are_delivered(self) -> None:
        with MjpegServer(list(pictures())) as server:
            reading = Reading(Stream(url=f"http://{HOST}:{server.port}/door"), 4)
            reading.close()
        payloads = [item.payload for item in reading.items if isinstance(item, Frame)]
        begin = pictures().index(payloads[0])
        assert payloads == [pictures()[(begin + step) % len(pictures())] for step in range(4)]

    def test_no_more_frames_than_wanted(self) -> None:
        with MjpegServer(list(pictures())) as server:
            reading = Reading(Stream(url=f"http://{HOST}:{server.port}/door", fps=10), 6)
            reading.close()
        times = [item.captured_ns for item in reading.items if isinstance(item, Frame)]
        # A tenth of an interval early at most; late as a busy machine pleases.
        assert times[-1] - times[0] >= 0.9 * 5 * 1e8

    def test_a_password_from_a_file_and_a_wrong_one(self, tmp_path: Path) -> None:
        password = "p/a@s:s"
        (tmp_path / "password").write_text(f"{password}\nsecond line\n")
        with MjpegServer(list(pictures()), credentials=f"admin:{password}") as server:
            source = Stream(
                url=f"http://{HOST}:{server.port}/door",
                username="admin",
                password_file=str(tmp_path / "password"),
            )
            Reading(source, 1).close()
            (tmp_path / "password").write_text("wrong")
            with pytest.raises(SourceError, match="wrong user, password"):
                source.open()
            (tmp_path / "password").unlink()
            with pytest.raises(SourceError, match=r"source\.password_file: .*: No such file"):
                source.open()


@needs_gstreamer
class TestRtspStream(LiveSourceContract):
    kind = "stream"
    conceals = True

    @contextmanager
    def scene(self, folder: Path) -> Iterator[Scene]:
        with rtsp_server("h264") as port, Relay(port) as relay:
            url = f"rtsp://{HOST}:{relay.port}/door"
            yield Scene(source=Stream(url=url, read_timeout_ms=800), behave=relay.behave)

    def missing(self) -> tuple[Source, str]:
        return Stream(url=f"rtsp://{HOST}:{free_port()}/door"), "/door: cannot be opened"

    def test_pixels_are_rgb(self) -> None:
        with rtsp_server("h264") as port:
            reading = Reading(Stream(url=f"rtsp://{HOST}:{port}/door"), 1)
            reading.close()
        (frame,) = reading.items
        assert isinstance(frame, Frame) and isinstance(frame.payload, np.ndarray)
        assert frame.payload.shape == (120, 160, 3) and frame.payload.dtype == np.uint8

    def test_jpeg_over_rtsp_stays_encoded(self) -> None:
        with rtsp_server("mjpeg") as port:
            reading = Reading(Stream(url=f"rtsp://{HOST}:{port}/door"), 2)
            reading.close()
        assert [looks_right(item) for item in reading.items] == [True, True]
        assert all(isinstance(item, Frame) and isinstance(item.payload, bytes) for item in reading.items)

    def test_user_and_password(self) -> None:
        with rtsp_server("h264", "admin", "s3cret") as port:
            Reading(Stream(url=f"rtsp://admin:s3cret@{HOST}:{port}/door"), 1).close()
            with pytest.raises(SourceError) as caught:
                Stream(url=f"rtsp://admin:n0tit@{HOST}:{port}/door").open()
        assert "n0tit" not in str(caught.value)


@contextmanager
def rtsp_server(*arguments: str) -> Iterator[int]:
    """A running server's port."""
    command = [GSTREAMER, str(SERVERS / "rtsp.py"), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        try:
            yield int(server.stdout.readline())
        finally:
            server.kill()


class TestRpicam(LiveSourceContract):
    kind = "rpicam"

    @contextmanager
    def scene(self, folder: Path) -> Iterator[Scene]:
        switch = folder / "switch"
        switch.write_text("well")

        def behave(behaviour: Behaviour) -> None:
            switch.write_text(behaviour)

        program = stand_in(folder, switch)
        source = Rpicam(program=program, fps=50.0, read_timeout_ms=1500, arguments=("--rotation", "180"))
        yield Scene(source=source, behave=behave)

    def missing(self) -> tuple[Source, str]:
        return Rpicam(
            program="rpicam-vid-not-here"
        ), "rpicam-vid-not-here: not found: apt install rpicam-apps"

    def test_every_picture_arrives_as_it_was_written(self, tmp_path: Path) -> None:
        with self.scene(tmp_path) as scene:
            reading = Reading(scene.source, 16)
            reading.close()
        payloads = [item.payload for item in reading.items if isinstance(item, Frame)]
        assert payloads == [*pictures(), *pictures()]

    @pytest.mark.parametrize(
        ("switch", "words"),
        [
            ("refuse", "rpicam-vid: ended with exit status 255: ERROR: *** no cameras available ***"),
            ("busy", "rpicam-vid: ended with exit status 255: ERROR: *** failed to acquire camera"),
            ("close", "rpicam-vid: ended with exit status 1: #"),
        ],
    )
    def test_the_programs_last_words_are_said(self, tmp_path: Path, switch: str, words: str) -> None:
        with self.scene(tmp_path) as scene:
            reading = Reading(scene.source, 0) if switch != "close" else Reading(scene.source, 2)
            (tmp_path / "switch").write_text(switch)
            with pytest.raises(SourceError) as caught:
                for _ in reading.rest:
                    pass
        assert str(caught.value).startswith(words)

    def test_an_argument_the_program_does_not_know_is_its_own_message(self, tmp_path: Path) -> None:
        with self.scene(tmp_path) as scene:
            source = Rpicam(program=scene.source.program, arguments=("--rotatoin", "90"))  # type: ignore[attr-defined]
            with pytest.raises(SourceError, match=r"exit status 2: .*unrecognized arguments: --rotatoin 90"):
                Reading(source, 1)

    @pytest.mark.parametrize("pictures_before", [0, 2])
    def test_bytes_that_are_no_picture_are_no_sign_of_life(
        self, tmp_path: Path, pictures_before: int
    ) -> None:
        with self.scene(tmp_path) as scene:
            if not pictures_before:
                (tmp_path / "switch").write_text("babble")
            reading = Reading(scene.source, pictures_before)
            (tmp_path / "switch").write_text("babble")
            with pytest.raises(SourceError) as caught:
                read_on(reading.rest, PATIENCE_S)
        words = "rpicam-vid: wrote no picture for 1.5 s, only bytes that are no JPEG file"
        assert str(caught.value).startswith(words)

    def test_a_program_that_nothing_ends_is_left_and_not_started_once_more(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(rpicam, "END_WITHIN_S", 0.2)
        with self.scene(tmp_path) as scene:
            reading = Reading(scene.source, 1)
            (program,) = started_from(tmp_path)
            with monkeypatch.context() as kernel:
                # As for a program that waits inside a driver: signals reach it only later.
                kernel.setattr(subprocess.Popen, "send_signal", lambda *_: None)
                scene.behave("hang")
                with pytest.raises(SourceError, match=r"wrote no picture for 1\.5 s"):
                    read_on(reading.rest, PATIENCE_S)
                with pytest.raises(SourceError) as caught:
                    scene.source.open()
            assert str(caught.value) == f"rpicam-vid: process {program.pid} hangs and cannot be ended"
            program.kill()
            scene.behave("well")
            eventually(lambda: program.status() == psutil.STATUS_ZOMBIE)
            again = Reading(scene.source, 1)
            again.close()
            assert len(again.items) == 1

    @pytest.mark.skipif(not rpicam.SETPRIV.exists(), reason="without setpriv a hanging program stays")
    def test_an_agent_that_is_killed_takes_even_a_hanging_program_along(self, tmp_path: Path) -> None:
        program = tmp_path / "rpicam-vid"
        program.write_text("#!/bin/sh\nexec sleep 600\n")
        program.chmod(0o755)
        agent = (
            "import sys; from agent.sources.rpicam import Rpicam; "
            "feed = Rpicam(program=sys.argv[1]).open(); print(feed._process.pid, flush=True); "
            "sys.stdin.read()"
        )
        with subprocess.Popen(
            [sys.executable, "-c", agent, str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None
            pid = int(process.stdout.readline())
            eventually(lambda: psutil.Process(pid).name() == "sleep")
            process.kill()
        eventually(lambda: gone(pid))

    def test_no_process_is_left_behind(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(rpicam, "END_WITHIN_S", 0.2)

        with self.scene(tmp_path) as scene:
            reading = Reading(scene.source, 1)
            assert len(started_from(tmp_path)) == 1
            reading.close()
            assert started_from(tmp_path) == []
            reading = Reading(scene.source, 1)
            scene.behave("hang")
            started_from(tmp_path)[0].suspend()
            with pytest.raises(SourceError, match=r"wrote no picture for 1\.5 s"):
                list(reading.rest)
            assert started_from(tmp_path) == []

    def test_options_that_make_no_sense(self) -> None:
        assert Rpicam(width=0, quality=101, camera=-1, program="").problems() == [
            "width: must be at least 1, got 0",
            "quality: must be at most 100, got 101",
            "camera: must be at least 0, got -1",
            "program: must name one",
        ]


def started_from(folder: Path) -> list[psutil.Process]:
    """The living children of this process whose command names `folder`; other tests leave theirs."""

    def named(child: psutil.Process) -> bool:
        try:
            return str(folder) in " ".join(child.cmdline())
        except psutil.NoSuchProcess:  # A zombie is one, too.
            return False

    return [child for child in psutil.Process().children() if named(child)]


def gone(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def stand_in(folder: Path, switch: Path) -> str:
    """A program of rpicam-vid's name and pipe."""
    (folder / "pictures").mkdir(exist_ok=True)
    for number, picture in enumerate(pictures()):
        (folder / "pictures" / f"{number}.jpg").write_bytes(picture)
    program = folder / "rpicam-vid"
    fake = Path(__file__).parent / "fake_rpicam.py"
    words = [sys.executable, "-S", str(fake), str(folder / "pictures"), str(switch)]
    program.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
    program.chmod(0o755)
    return str(program)


class Publisher:
    """Publishes ``payloads`` in a circle, 50 a second; while it corrupts, every third one halved."""

    def __init__(self, port: int, topic: str, payloads: tuple[bytes, ...]) -> None:
        self.corrupt = False
        self._stop = threading.Event()
        self._client = connected(port)
        self._thread = threading.Thread(target=self._run, args=(topic, payloads), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()
        self._client.disconnect()
        self._client.loop_stop()

    def _run(self, topic: str, payloads: tuple[bytes, ...]) -> None:
        number = 0
        while not self._stop.wait(0.02):
            number += 1
            payload = payloads[number % len(payloads)]
            damaged = self.corrupt and number % 3 == 0
            self._client.publish(topic, payload[: len(payload) // 2] if damaged else payload)


def connected(port: int) -> paho.Client:
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.connect(HOST, port)
    client.loop_start()
    return client


class TestMqtt(LiveSourceContract):
    kind = "mqtt"

    @contextmanager
    def scene(self, folder: Path) -> Iterator[Scene]:
        broker = start_broker(folder / "broker")
        publisher = Publisher(broker.port, "plant/door", pictures())
        try:
            with Relay(broker.port) as relay:

                def behave(behaviour: Behaviour) -> None:
                    publisher.corrupt = behaviour == "corrupt"
                    relay.behave("well" if behaviour == "corrupt" else behaviour)

                yield Scene(source=self.source(relay.port), behave=behave)
        finally:
            publisher.stop()
            broker.stop()

    def missing(self) -> tuple[Source, str]:
        port = free_port()
        return self.source(port), f"broker {HOST}:{port}, topic plant/door: cannot be reached: "

    def source(self, port: int) -> Mqtt:
        return Mqtt(host=HOST, port=port, version=VERSION, topic="plant/door", silence_s=0.7)

    def test_a_broker_that_accepts_and_says_nothing(self) -> None:
        with socket.create_server((HOST, 0)) as silent:
            source = Mqtt(host=HOST, port=silent.getsockname()[1], topic="t", connect_timeout_s=0.3)
            with pytest.raises(SourceError, match=r"topic t: no answer within 0\.3 s"):
                source.open()

    def test_options_that_make_no_sense(self) -> None:
        source = Mqtt(topic="a/#/b", host=" ", port=0, keepalive_s=1, columns=("x", "x"), password_file="f")
        assert source.problems() == [
            "port: must be from 1 to 65535, got 0",
            "keepalive_s: must be from 5 to 3600, got 1",
            "host: must not be empty",
            "topic: must be a topic, with + and # only as whole levels, got 'a/#/b'",
            "columns: an image has none; set payload: json",
            "columns: one is named twice",
            "password_file: needs username",
        ]
        assert [bool(Mqtt(topic=t).problems()) for t in ("a/+/c", "a/#", "+", "", "a+", "a/b#")] == [
            *[False] * 3,
            *[True] * 3,
        ]


@contextmanager
def mqtt_feed(folder: Path, **options: Any) -> Iterator[tuple[paho.Client, Reading]]:
    """A publisher, and a feed of a source with these options."""
    broker = start_broker(folder / "broker")
    publisher = connected(broker.port)
    options = {"kind": "mqtt", "host": HOST, "port": broker.port, "version": VERSION, **options}
    reading = Reading(structure_kind(options, KINDS, root="source"), 0)
    try:
        yield publisher, reading
    finally:
        reading.close()
        publisher.disconnect()
        publisher.loop_stop()
        broker.stop()


def test_readings_by_list_by_key_and_what_is_none(tmp_path: Path) -> None:
    with mqtt_feed(tmp_path, topic="s/+", payload="json") as (publisher, reading):
        for number, text in enumerate(
            ["[1, null]", '{"values": [2], "id": "r7"}', "{", '{"x": 1}', "\xff", "7", '["a"]']
        ):
            publisher.publish(f"s/{number}", text.encode("latin-1"), qos=1).wait_for_publish(PROMPT_S)
        items = [next(reading.rest) for _ in range(7)]
    bare, named = items[:2]
    assert isinstance(bare, Frame) and bare.name.startswith("s/0@")
    np.testing.assert_array_equal(bare.payload, [1, np.nan])
    assert isinstance(named, Frame) and named.name == "r7"
    assert [item.reason.split(":")[0] for item in items[2:] if isinstance(item, Skipped)] == [
        "no JSON",
        "no 'values'",
        "no UTF-8",
        "expected an object, got 7",
        "values[0]",
    ]


def test_readings_by_columns(tmp_path: Path) -> None:
    with mqtt_feed(tmp_path, topic="s", payload="json", columns=["h", "t"]) as (publisher, reading):
        publisher.publish("s", b'{"t": 20.5, "h": 40, "other": "x"}')
        item = next(reading.rest)
    assert isinstance(item, Frame)
    np.testing.assert_array_equal(item.payload, [40, 20.5])


def test_what_the_broker_retained_is_too_old_to_be_a_frame(tmp_path: Path) -> None:
    broker = start_broker(tmp_path / "broker")
    publisher = connected(broker.port)
    publisher.publish("door", b"old", qos=1, retain=True).wait_for_publish(PROMPT_S)
    reading = Reading(Mqtt(host=HOST, port=broker.port, topic="door", version="3.1.1"), 0)
    publisher.publish("door", b"new", qos=1)
    item = next(reading.rest)
    reading.close()
    publisher.disconnect()
    publisher.loop_stop()
    broker.stop()
    assert isinstance(item, Frame) and item.payload == b"new"


def test_a_message_larger_than_wanted_is_skipped(tmp_path: Path) -> None:
    with mqtt_feed(tmp_path, topic="door", max_bytes=1000, version="3.1.1") as (publisher, reading):
        publisher.publish("door", b"x" * 1001)
        publisher.publish("door", b"x" * 1000)
        large, fits = next(reading.rest), next(reading.rest)
    assert isinstance(large, Skipped) and large.reason == "larger than max_bytes (1,000 bytes)"
    assert isinstance(fits, Frame)


@pytest.mark.skipif(MOSQUITTO is None, reason="needs mosquitto")
def test_a_broker_that_refuses_says_why(tmp_path: Path) -> None:
    (tmp_path / "acl").write_text("user door\ntopic read plant/door\n")
    (tmp_path / "passwords").write_text("door:pw\n")
    subprocess.run(["mosquitto_passwd", "-U", str(tmp_path / "passwords")], check=True)
    extra = f"allow_anonymous false\npassword_file {tmp_path}/passwords\nacl_file {tmp_path}/acl\n"
    broker = start_broker(tmp_path / "broker", config_extra=extra)
    (tmp_path / "pw").write_text("pw\n")
    try:
        known = {"host": HOST, "port": broker.port, "username": "door", "password_file": str(tmp_path / "pw")}
        Mqtt(topic="plant/door", **known).open().close()
        with pytest.raises(SourceError, match="topic plant/door: refuses the connection: not authorized"):
            Mqtt(topic="plant/door", host=HOST, port=broker.port).open()
        (tmp_path / "pw").unlink()
        with pytest.raises(SourceError, match=r"source\.password_file: .* cannot be read: No such file"):
            Mqtt(topic="plant/door", **known).open()
    finally:
        broker.stop()


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """A certificate that signed itself, for ``name`` and this host, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName(name), x509.IPAddress(ipaddress.ip_address(HOST))]),
            False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / f"{name}.pem").write_bytes(made.public_bytes(pem))
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / f"{name}.key").write_bytes(private)
    return folder / f"{name}.pem", folder / f"{name}.key"


def test_https_is_only_believed_with_the_right_certificate(tmp_path: Path) -> None:
    pem, key = certificate(tmp_path, "localhost")
    other, _ = certificate(tmp_path, "elsewhere.example")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, key)
    with MjpegServer(list(pictures()), tls=context) as server:
        for url in (f"https://{HOST}:{server.port}/door", f"https://localhost:{server.port}/door"):
            Reading(Stream(url=url, ca=str(pem)), 1).close()
            with pytest.raises(SourceError, match="certificate"):
                Stream(url=url, ca=str(other)).open()
        with pytest.raises(SourceError, match="certificate"):
            Stream(url=f"https://localhost:{server.port}/door").open()


def test_https_by_another_name_is_refused(tmp_path: Path) -> None:
    pem, key = certificate(tmp_path, "elsewhere.example")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, key)
    with (
        MjpegServer(list(pictures()), tls=context) as server,
        pytest.raises(SourceError, match="certificate"),
    ):
        Stream(url=f"https://localhost:{server.port}/door", ca=str(pem)).open()


def test_encrypted_mqtt(tmp_path: Path) -> None:
    pem, key = certificate(tmp_path, "localhost")
    other, _ = certificate(tmp_path, "elsewhere.example")
    broker = start_broker(tmp_path / "broker", config_extra=f"certfile {pem}\nkeyfile {key}\n")
    try:
        Mqtt(host="localhost", port=broker.port, topic="t", tls=TlsOptions(ca=str(pem))).open().close()
        with pytest.raises(SourceError, match=r"cannot be reached: .*self.signed"):
            Mqtt(host="localhost", port=broker.port, topic="t", tls=TlsOptions(ca=str(other))).open()
        with pytest.raises(SourceError, match=r"source\.tls: its files cannot be used: No such file"):
            Mqtt(host="localhost", port=broker.port, topic="t", tls=TlsOptions(ca="/nowhere")).open()
    finally:
        broker.stop()


LEAK = """
import sys
from agent.sources.stream import Stream
from agent.errors import SourceError
for url in sys.argv[1:]:
    source = Stream(url=url, open_timeout_ms=1000, read_timeout_ms=500)
    try:
        for _ in source.open():
            pass
    except SourceError as error:
        print(error, source.public(), source.problems())
"""


def test_no_library_writes_a_password_to_the_log(tmp_path: Path) -> None:
    """OpenCV and FFmpeg write to standard error by themselves: all of it is looked at."""
    with MjpegServer(list(pictures()), credentials="admin:s3cret") as server:
        threading.Timer(1.2, lambda: server.behave("hang")).start()
        wrong = f"http://admin:s3cretXX@{HOST}:{server.port}/door"
        right = f"http://admin:s3cret@{HOST}:{server.port}/door?usr=u&pwd=s3cret"
        path = f"rtsp://{HOST}:{server.port}/user=admin&password=s3cret&channel=1"
        gone = f"rtsp://admin:s3cret@{HOST}:{free_port()}/door"
        ran = subprocess.run(
            [sys.executable, "-c", LEAK, wrong, path, gone, right],
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parent.parent)},
        )
    assert ran.stdout.count(f"://{HOST}") == 8
    assert "s3cret" not in ran.stdout + ran.stderr


@pytest.mark.parametrize(
    ("rate", "wanted", "kept"), [(30, 10, 10), (30, 7, 7), (10, 10, 10), (5, 10, 5), (25, 12.5, 12.5)]
)
def test_thinning_keeps_the_wanted_rate_evenly(rate: float, wanted: float, kept: float) -> None:
    jitter = np.random.default_rng(1).normal(0, 0.01 / rate, 20 * rate)
    times = ((np.arange(20 * rate) / rate + jitter) * 1e9).astype(int).tolist()
    due = Thinning(wanted)
    taken = np.array([at_ns for at_ns in times if due(at_ns)])
    assert len(taken) == pytest.approx(20 * kept, rel=0.02)
    assert np.diff(taken).max() <= 1e9 / kept + 1.1e9 / rate


def test_a_drivers_time_is_believed_when_it_can_be_true() -> None:
    now_ns = 1_000_000_000_000
    assert driver_time(999_950.5, now_ns=now_ns) == 999_950_500_000
    for position_ms in (0.0, 1_000_001.0, 900_000.0, float("nan"), -1.0):
        assert driver_time(position_ms, now_ns=now_ns) == now_ns


def test_paused_for_a_while_thinning_does_not_catch_up() -> None:
    due = Thinning(10)
    assert due(0) and not due(50_000_000) and due(5_000_000_000)
    assert [due(5_000_000_000 + step * 20_000_000) for step in range(1, 6)] == [False] * 4 + [True]
