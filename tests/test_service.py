"""The agent as a whole, from agent.yaml to what lies in its outbox."""

import json
import os
import shlex
import shutil
import signal
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bundles
import cv2
import numpy as np
import pytest
import yaml
from broker import eventually

from agent.telemetry.outbox_rows import unpacked
from tools.cli import LITEWATCH, main

pytestmark = pytest.mark.runtime


@dataclass(frozen=True)
class Kept:
    """A message as the outbox keeps it."""

    seq: int
    kind: str
    body: dict[str, Any]
    preprocess: dict[str, Any] | None


def kept(state: Path) -> list[Kept]:
    """Everything in the outbox, oldest first."""
    with sqlite3.connect(f"file:{state / 'outbox.db'}?mode=ro", uri=True) as database:
        rows = database.execute("SELECT seq, kind, body, preprocess FROM message ORDER BY id").fetchall()
    return [
        Kept(seq, kind, json.loads(unpacked(body)), json.loads(preprocess) if preprocess else None)
        for seq, kind, body, preprocess in rows
    ]


def bodies(state: Path, kind: str) -> list[dict[str, Any]]:
    return [message.body for message in kept(state) if message.kind == kind]


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the tiny classifier, its held-out pictures beside it."""
    folder = tmp_path_factory.mktemp("packed")
    (folder / "bundle.tflite").write_bytes(bundles.pack_images(folder, count=400).data)
    return folder


@pytest.fixture
def device(tmp_path: Path, packed: Path) -> Iterator["Desk"]:
    yield Desk(tmp_path, packed)


class Desk:
    """A folder with agent.yaml, a bundle and frames."""

    def __init__(self, folder: Path, packed: Path) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.frames = folder / "frames"
        self.frames.mkdir()
        shutil.copy(packed / "bundle.tflite", folder / "bundle.tflite")
        for path in sorted((packed / "held_out").glob("*.png"))[:60]:
            shutil.copy(path, self.frames)
        self.config: dict[str, Any] = {
            "device": {"id": "cam-1", "site": "lab", "state_dir": str(self.state)},
            "model": {"bundle": "bundle.tflite"},
            "source": {"kind": "directory", "path": "frames"},
            "monitor": {"sample_every": 1, "window": {"samples": 25}},
        }

    def write(self) -> Path:
        path = self.folder / "agent.yaml"
        path.write_text(yaml.safe_dump(self.config))
        return path

    def run(self, *options: str) -> "subprocess.CompletedProcess[str]":
        command = [*LITEWATCH, "run", "-c", str(self.write()), *options]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment())


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parent.parent), **more}


def test_a_folder_of_frames_is_run_watched_and_published(device: Desk) -> None:
    done = device.run("--print")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["name"] for line in lines] == sorted(path.name for path in device.frames.iterdir())
    session = lines[0]["frame"].rpartition("-")[0]
    assert [line["frame"] for line in lines] == [f"{session}-{n}" for n in range(1, 61)]
    assert [body["state"] for body in bodies(device.state, "state")] == [
        "starting",
        "online",
        "degraded",
        "stopped",
    ]
    windows = bodies(device.state, "window")
    assert [window["samples"] for window in windows] == [25, 25, 10]
    assert sum(window["frames"] for window in windows) == 60
    assert all(sum(feature["counts"]) == 25 for feature in windows[0]["features"][:33])
    assert sum(windows[0]["features"][-1]["counts"]) == 25 * 64
    health = bodies(device.state, "health")[-1]
    assert (health["inferences"], health["frames_in"], health["frames_skipped"]) == (60, 60, 0)
    seqs = [message.seq for message in kept(device.state)]
    assert seqs == list(range(1, len(seqs) + 1))


def test_a_session_of_one_frame_ends_in_order_every_time(device: Desk) -> None:
    """Its thresholds are still being made when it ends."""
    for _ in range(8):
        shutil.rmtree(device.state, ignore_errors=True)
        done = device.run("--frames", "1")
        assert (done.returncode, "terminate" in done.stderr) == (0, False), done.stderr


def test_a_reader_that_leaves_early_is_no_error(device: Desk) -> None:
    run = shlex.join([*LITEWATCH, "run", "-c", str(device.write()), "--print"])
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {run} | head -n 2"],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=60,
    )
    assert (done.returncode, len(done.stdout.splitlines())) == (0, 2)
    assert "Traceback" not in done.stderr
    assert bodies(device.state, "state")[-1]["state"] == "stopped"


def test_the_predictions_are_the_runtimes_own(device: Desk) -> None:
    import tiny

    done = device.run("--print")
    runner = tiny.runner(tiny.CLASSIFIER)
    for line in map(json.loads, done.stdout.splitlines()):
        image = cv2.imread(str(device.frames / line["name"]))
        assert image is not None
        small = cv2.resize(image[..., ::-1], (8, 8), interpolation=cv2.INTER_LINEAR_EXACT)
        (raw,) = runner.run(np.ascontiguousarray(small)[None])
        assert line["top"] == int(raw[0].argmax())


def test_frames_that_cannot_be_used_are_counted_and_skipped(device: Desk) -> None:
    (device.frames / "00003.png").write_bytes(b"not a picture")
    (device.frames / "00004.png").write_bytes(b"")
    device.config["source"]["max_bytes"] = 5000
    (device.frames / "00005.png").write_bytes(bytes(6000))
    done = device.run()
    assert done.returncode == 0, done.stderr
    health = bodies(device.state, "health")[-1]
    assert (health["inferences"], health["frames_skipped"]) == (57, 3)
    assert health["skipped_last"].startswith("00005.png: larger than max_bytes")
    assert "Traceback" not in done.stderr


def test_a_forced_override_is_said_in_every_message(device: Desk) -> None:
    legacy = bundles.IMAGE_SPEC.replace("linear_exact", "nearest")
    (device.folder / "legacy.yaml").write_text(legacy)
    device.config["model"]["preprocess_override"] = {"path": "legacy.yaml", "accept_mismatch": True}
    done = device.run()
    assert done.returncode == 0, done.stderr
    said = [message for message in kept(device.state) if message.kind in ("window", "health", "alarm")]
    assert said
    assert all(message.preprocess and message.preprocess["differs"] == ["resize"] for message in said)
    alarm = bodies(device.state, "alarm")[0]
    assert (alarm["alarm"], alarm["status"], alarm["cause"]) == ("preprocess", "raised", "preprocess:resize")
    degraded = [body for body in bodies(device.state, "state") if body["state"] == "degraded"]
    assert "preprocess: a forced override differs from training in resize" in degraded[0]["problems"]


def test_darkness_raises_the_drift_alarm(device: Desk, packed: Path) -> None:
    device.config["source"]["fps"] = 100
    device.config["monitor"]["false_alarms_per_month"] = 1000
    for path in device.frames.glob("*.png"):
        image = cv2.imread(str(path))
        assert image is not None
        cv2.imwrite(str(path), image // 3)
    device.config["source"]["loop"] = True
    done = device.run("--frames", "400")
    assert done.returncode == 0, done.stderr
    alarms = [body for body in bodies(device.state, "alarm") if body["alarm"] == "drift"]
    assert [alarm["status"] for alarm in alarms] == ["raised"]
    assert alarms[0]["cause"] == "data:light"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": {"bundle": "none.tflite"}}, "none.tflite: cannot be read: No such file or directory"),
        ({"monitor": {"window": {"samples": 5000}}}, "monitor.window.samples: 5000 is more than a quarter"),
        ({"source": {"kind": "periscope"}}, "agent.yaml: source.kind: unknown kind 'periscope'"),
        (
            {"device": {"id": "a", "state_dir": "/proc/nowhere"}},
            "device.state_dir: /proc/nowhere cannot be made",
        ),
    ],
)
def test_bad_input_is_one_clear_message_and_exit_2(
    device: Desk, change: dict[str, Any], message: str
) -> None:
    device.config |= change
    done = device.run()
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_plain_model_is_no_bundle(device: Desk) -> None:
    import tiny

    (device.folder / "bundle.tflite").write_bytes(tiny.CLASSIFIER)
    done = device.run()
    assert done.returncode == 2
    assert "is a .tflite model but not a bundle: run `litewatch pack`" in done.stderr
    degraded = [body for body in bodies(device.state, "state") if body["state"] == "degraded"]
    assert "not a bundle" in degraded[0]["problems"][0]


def test_sigterm_stops_cleanly_and_systemd_is_told(device: Desk, tmp_path: Path) -> None:
    device.config["source"] |= {"watch": True, "poll_interval_s": 0.05}
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(address)
        notify.settimeout(30)
        process = subprocess.Popen(
            [*LITEWATCH, "run", "-c", str(device.write())],
            env=environment(NOTIFY_SOCKET=address),
            stderr=subprocess.PIPE,
            text=True,
        )
        said: list[str] = []
        while not any(text.startswith("READY=1") for text in said):
            said.append(notify.recv(4096).decode())
        # With nothing to do the main loop still makes progress, and the watchdog hears of it.
        waited = 0
        while waited < 3:
            waited += notify.recv(4096).decode() == "WATCHDOG=1"
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    assert bodies(device.state, "state")[-1]["state"] == "stopped"


def test_a_source_that_is_not_there_yet_is_a_degraded_state(device: Desk) -> None:
    device.config["source"] |= {"path": "later", "watch": True, "poll_interval_s": 0.05}
    log = device.folder / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [*LITEWATCH, "run", "-c", str(device.write())], env=environment(), stderr=output
        )
    try:
        eventually(lambda: "source: later: cannot be listed" in log.read_text(), what="degraded")
        shutil.copytree(device.frames, device.folder / "later")
        eventually(lambda: "source: well again" in log.read_text(), what="well again")
    finally:
        process.terminate()
        process.wait(30)
    assert process.returncode == 0
    source = [
        [problem for problem in body["problems"] if problem.startswith("source")]
        for body in bodies(device.state, "state")
    ]
    assert ["source: later: cannot be listed: No such file or directory"] in source
    assert source[-1] == []


def test_the_second_start_reads_its_caches(device: Desk) -> None:
    device.config["source"] |= {"watch": True, "poll_interval_s": 0.05}
    process = subprocess.Popen([*LITEWATCH, "run", "-c", str(device.write())], env=environment())
    try:
        # The panel's and the CUSUM's, one after the other.
        eventually(
            lambda: len(list(device.state.glob("thresholds-*.bin"))) == 2, what="thresholds are cached"
        )
    finally:
        process.terminate()
        process.wait(30)
    caches = [*device.state.glob("thresholds-*.bin"), device.state / "runtime.json"]
    before = [(path, path.stat().st_mtime_ns) for path in caches]
    assert len(before) == 3
    device.config["source"]["watch"] = False
    assert device.run().returncode == 0
    assert [(path, path.stat().st_mtime_ns) for path in caches] == before


def test_vectors_make_a_regression(tmp_path: Path) -> None:
    (tmp_path / "bundle.tflite").write_bytes(bundles.pack_vectors(tmp_path / "packed", count=400).data)
    (tmp_path / "readings.csv").write_text("id,x\na,1\nb,2.5\nc,oops\nd,4\n")
    (tmp_path / "agent.yaml").write_text(
        yaml.safe_dump(
            {
                "device": {"id": "meter", "state_dir": str(tmp_path / "state")},
                "model": {"bundle": "bundle.tflite"},
                "source": {"kind": "vectors", "path": "readings.csv"},
                "monitor": {"sample_every": 1, "window": {"samples": 25}},
            }
        )
    )
    command = [*LITEWATCH, "run", "-c", str(tmp_path / "agent.yaml"), "--print"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment())
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(line["name"], line["values"]) for line in lines] == [("a", [3.0]), ("b", [6.0]), ("d", [9.0])]
    assert bodies(tmp_path / "state", "health")[-1]["frames_skipped"] == 1
    (window,) = bodies(tmp_path / "state", "window")
    means = {feature["name"]: feature["mean"] for feature in window["features"]}
    assert means == {"x": 2.5, "output.value": 6.0}


def test_help_shows_examples(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--help"]) == 0
    assert "litewatch run -c agent.yaml --print --frames 100" in capsys.readouterr().out
