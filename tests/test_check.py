"""``litewatch check`` as a user types it."""

import io
import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bundles
import numpy as np
import pytest
import yaml
from broker import Broker, eventually
from devices import Device
from fake_collector import FakeCollector

from agent import npy
from agent.bundle import load
from agent.runtime.choice import choose
from agent.telemetry.messages import Check, Reply, State
from calibration import result_file
from calibration.rung.machine import input_of
from tools.cli import LITEWATCH, main

pytest_plugins = ("broker",)
pytestmark = pytest.mark.runtime

CALLABLE = """
from pathlib import Path

import cv2
import numpy as np


def prepare(encoded, order=cv2.COLOR_BGR2RGB):
    image = cv2.cvtColor(cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR), order)
    height, width = image.shape[:2]
    top, left = int((height - height * 0.875) / 2), int((width - width * 0.875) / 2)
    image = image[top : height - top, left : width - left]
    image = cv2.resize(image, (16, 16), interpolation=cv2.INTER_LINEAR_EXACT)
    real = image.astype(np.float32) / 127.5 - 1
    return np.clip(np.rint(real / np.float32(SCALE)) + ZERO, -128, 127).astype(np.int8)


def wrong_order(encoded):
    return prepare(encoded)[..., ::-1]


def talks(encoded):
    print("a frame")
    return prepare(encoded)


def leaves(encoded):
    raise SystemExit(0)


def real(encoded):
    return prepare(encoded).astype(np.float32)


def broken(encoded):
    raise KeyError("no such camera")
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundles.make_golden_bundle(tmp_path_factory.mktemp("check"))


@pytest.fixture
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bundle: Path) -> str:
    """A pipeline of somebody else in the working directory; its module's name."""
    made = load(bundle)
    tensor = input_of(made, runtime=choose("auto", cache=None))
    name = f"theirs_{tmp_path.name.replace('-', '_')}"
    code = CALLABLE.replace("SCALE", repr(tensor.scale)).replace("ZERO", str(tensor.zero_point))
    (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return name


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any]]:
    code = main(["check", *words, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_json_has_the_keys_that_others_read(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = run(capsys, str(bundle))
    assert (code, said["verdict"], said["cause"]) == (0, "ok", None)
    for rung in said["rungs"]:
        assert {"name", "verdict", "inputs", "flips", "accuracy"} <= set(rung)
    assert result_file.load(said).bundle == bundle.name


def test_a_table_for_people(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(bundle), "--kernels", "builtin", "--threads", "1"]) == 0
    said = capsys.readouterr()
    assert "OK" in said.out and "This CPU" in said.out
    assert "self-made" in said.out + said.err


def test_a_callable_that_does_the_same(bundle: Path, theirs: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, said = run(capsys, str(bundle), "--callable", f"{theirs}:prepare")
    assert (code, said["verdict"]) == (0, "ok")
    assert [rung["name"] for rung in said["rungs"]][-1] == "your preprocessing"


def test_a_callable_in_the_wrong_order(
    bundle: Path, theirs: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    page = tmp_path / "check.html"
    code, said = run(capsys, str(bundle), "--callable", f"{theirs}:wrong_order", "--html", str(page))
    assert said["cause"] == "preprocess:color"
    assert code == (1 if said["verdict"] == "harmful" else 0) and said["verdict"] != "ok"
    assert "<html" in page.read_text() and "http://" not in page.read_text().replace("http://www.w3.org", "")


def test_a_callable_that_fails_is_the_users(
    bundle: Path, theirs: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(bundle), "--callable", f"{theirs}:broken"]) == 2
    assert "no such camera" in capsys.readouterr().err


def test_what_a_callable_prints_stays_out_of_the_json(
    bundle: Path, theirs: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, str(bundle), "--callable", f"{theirs}:talks")[0] == 0


def test_a_callable_that_ends_the_program_is_the_users(
    bundle: Path, theirs: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(bundle), "--callable", f"{theirs}:leaves"]) == 2
    assert "raised SystemExit: 0" in capsys.readouterr().err


def test_a_callable_that_returns_another_type_is_told_so(
    bundle: Path, theirs: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = run(capsys, str(bundle), "--callable", f"{theirs}:real")
    assert (code, said["cause"]) == (1, "preprocess:cast")
    assert "float32 for an int8 input" in said["sentence"]
    assert said["rungs"][-1]["points"] is None


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (lambda path: np.save(path, np.zeros((0, 16, 3), np.int8)), 2),
        (lambda path: np.save(path, np.array(["a"])), 2),
        (lambda path: path.write_bytes(zipped()), 2),
        (
            lambda path: path.write_bytes(
                npy.encode(np.zeros((2, 3))).replace(b"(2, 3)", b"(99999999, 9999)")
            ),
            2,
        ),
        (lambda path: np.save(path, np.full((16, 16, 3), 1e300)), 1),
        (lambda path: np.save(path, np.full((16, 16, 3), np.nan)), 1),
        (lambda path: np.save(path, np.float64(3)), 1),
    ],
)
def test_odd_dumps_are_bad_input_or_a_finding(
    bundle: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    make: Callable[[Path], object],
    code: int,
) -> None:
    for given in load(bundle).golden.inputs:
        make(tmp_path / f"{given.name}.npy")
    html = str(tmp_path / "check.html")
    assert main(["check", str(bundle), "--tensors", str(tmp_path), "--html", html]) == code
    assert "Traceback" not in capsys.readouterr().err


def claiming_terabytes() -> bytes:
    return npy.encode(np.zeros((2, 3))).replace(b"(2, 3)", b"(99999999, 9999)")


def zipped() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, a=np.zeros(3))
    return stream.getvalue()


def test_a_deployed_spec_that_is_not_there(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(bundle), "--deployed", "nope.yaml"]) == 2
    said = capsys.readouterr().err
    assert "nope.yaml: cannot be read: No such file" in said and "Errno" not in said


def test_dumped_tensors(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for given in load(bundle).golden.inputs:
        np.save(tmp_path / f"{given.name}.npy", np.zeros((16, 16, 3), np.int8))
    code, said = run(capsys, str(bundle), "--tensors", str(tmp_path))
    assert (code, said["verdict"]) == (1, "harmful")
    assert said["cause"].startswith("preprocess:")


def test_another_spec_in_use(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    deployed = tmp_path / "deployed.yaml"
    deployed.write_text(bundles.TWIN_SPEC.replace("linear_exact", "nearest"))
    _, said = run(capsys, str(bundle), "--deployed", str(deployed))
    assert said["verdict"] != "ok" and said["cause"] == "preprocess:resize"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "name a bundle"),
        (("absent.tflite",), "cannot be read"),
        (("b", "--publish"), "--publish: needs -c"),
        (("b", "--callable", "a:b", "--tensors", "."), "one foreign preprocessing at a time"),
        (("absent.tflite", "--html", "absent/c.html"), "--html: absent/c.html: cannot be written"),
        (("b", "--delegate", "edge", "--kernels", "auto"), "leave them out"),
    ],
)
def test_bad_input_is_exit_2(
    words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", *words]) == 2
    assert message in capsys.readouterr().err


def test_an_unknown_delegate_names_those_there_are(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(bundle), "--delegate", "quantum"]) == 2
    assert "cpu" in capsys.readouterr().err


def agent_yaml(folder: Path, bundle: Path, broker: Broker) -> Path:
    path = folder / "agent.yaml"
    config = {
        "device": {"id": "cam-1", "site": "lab", "state_dir": str(folder / "state")},
        "model": {"bundle": str(bundle), "delegate": {"kind": "cpu", "kernels": "builtin"}},
        "source": {"kind": "directory", "path": str(folder)},
        "mqtt": {
            "host": broker.host,
            "port": broker.port,
            "version": "3.1.1" if broker.kind == "amqtt" else "5",
        },
    }
    path.write_text(yaml.safe_dump(config))
    return path


def test_a_result_is_published_and_says_nothing_of_the_devices_state(
    bundle: Path, tmp_path: Path, broker: Broker, capsys: pytest.CaptureFixture[str]
) -> None:
    collector = FakeCollector(broker)
    code, said = run(capsys, "-c", str(agent_yaml(tmp_path, bundle, broker)), "--publish")
    assert code == 0
    (envelope,) = collector.of("check")
    assert isinstance(envelope.body, Check)
    assert (envelope.body.verdict, envelope.body.sentence) == (said["verdict"], said["sentence"])
    assert [rung.name for rung in envelope.body.rungs] == [rung["name"] for rung in said["rungs"]]
    assert envelope.preprocess is not None
    assert not collector.of("state") and not collector.of("state", sequenced=False)
    assert dict(said["environment"])["kernels"] == "builtin"
    collector.close()


def test_a_check_killed_while_it_delivers_does_not_make_the_device_lost(
    bundle: Path, tmp_path: Path, broker: Broker
) -> None:
    collector = FakeCollector(broker, acks=False)
    agent = Device(tmp_path, broker)
    agent.telemetry.set_state("online")
    command = [*LITEWATCH, "check", "-c", str(agent_yaml(tmp_path, bundle, broker)), "--publish"]
    checking = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    eventually(lambda: collector.of("check"), what="the check on its way")
    checking.kill()
    checking.wait()
    agent.telemetry.emit(Reply(transaction="after", ok=True), urgent=True)
    eventually(lambda: collector.of("reply"))
    states = [*collector.of("state"), *collector.of("state", sequenced=False)]
    assert {envelope.body.state for envelope in states if isinstance(envelope.body, State)} == {"online"}
    agent.telemetry.stop(timeout_s=1.0)
    collector.close()
