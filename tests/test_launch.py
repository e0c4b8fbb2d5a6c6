"""From agent.yaml to a running service and back: what comes in between two sessions, and what never runs."""

import os
import resource
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import bundles
import pytest
import standin
import tiny
import yaml
from broker import eventually, start_broker
from test_unattended import ROOT, Unattended

from agent import bundle as bundle_files
from agent.bundle import Parts
from agent.canary import Canary
from agent.change import Learn
from agent.checking import Rehearsal
from agent.config import AgentConfig
from agent.errors import BundleError
from agent.examination import Examination, Failed
from agent.launch import parse
from agent.monitor.reference import Reference
from agent.preprocess import spec as specs
from agent.rehearsal import check_twin
from agent.startup import Assembly, assemble
from agent.thresholds import learn
from tools.cli import LITEWATCH, main

pytestmark = [pytest.mark.runtime, pytest.mark.timeout(120)]
ABSENT = "tflite" if "litert" in tiny.runtime().name else "litert"
"""The runtime that this environment does not have."""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return standin.standin_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module")
def twinless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another good bundle, for the CPU alone."""
    folder = tmp_path_factory.mktemp("twinless")
    golden = bundles.write_images(folder / "golden", 40, seed=2)
    return bundles.make_bundle(folder, golden=golden)


@pytest.fixture
def device(tmp_path: Path, bundle: Path) -> Iterator[Unattended]:
    broker = start_broker(tmp_path / "broker")
    made = Unattended(tmp_path, bundle, broker)
    yield made
    made.kill()
    made.ear.loop_stop()
    broker.stop()


@pytest.fixture
def notified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What the agent tells systemd, message by message."""
    got: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))

        def listen() -> None:
            while (message := listening.recv(65_536)) != b"end":
                got.append(message.decode())

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        yield got
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ending:
            ending.sendto(b"end", str(tmp_path / "notify"))
        thread.join()


def write(device: Unattended) -> None:
    (device.folder / "agent.yaml").write_text(yaml.safe_dump(device.config))


def hang_up(device: Unattended) -> None:
    assert device.process is not None
    device.process.send_signal(signal.SIGHUP)


def kept(device: Unattended) -> Unattended:
    """Ran well once, and was stopped."""
    device.start().ready()
    device.until(lambda: (device.state / "last-good" / "agent.yaml").exists(), "the good ones are kept")
    assert device.stop() == 0
    device.heard.clear()
    return device


def runs_the_last_good(device: Unattended, because: str) -> None:
    device.until(lambda: device.bodies("health"), "it runs")
    device.until(lambda: any("last good one runs" in problem for problem in device.problems()), "it says so")
    assert because in "; ".join(device.problems())


def runs_on(device: Unattended) -> None:
    before = device.bodies("health")[-1]["inferences"]
    device.until(lambda: device.bodies("health")[-1]["inferences"] > before, "it goes on")


def command_line(device: Unattended, config: str, folder: Path) -> None:
    """As a person starts it: no state directory of systemd's, no last good one."""
    device.config["device"]["state_dir"] = str(device.state)
    write(device)
    given = {key: value for key, value in os.environ.items() if key != "STATE_DIRECTORY"}
    with device.log.open("ab") as log:
        device.process = subprocess.Popen(
            [*LITEWATCH, "run", "-c", config],
            env=given | {"PYTHONPATH": str(ROOT)},
            stdout=log,
            stderr=log,
            cwd=folder,
        )


def test_a_bundle_that_is_replaced_before_it_is_kept_is_never_kept_for_the_one_that_ran(
    device: Unattended,
) -> None:
    ran = (device.folder / "bundle.tflite").read_bytes()
    device.start()
    device.until(lambda: any(body["state"] == "online" for body in device.bodies("state")), "online")
    (device.folder / "bundle.tflite").write_bytes(b"half a download")
    copy = device.state / "last-good" / "bundle.tflite"
    device.until(
        lambda: copy.exists() or any(problem.startswith("last good") for problem in device.problems()),
        "the end of the examination",
    )
    assert not copy.exists() or copy.read_bytes() == ran


def quiet_config(folder: Path, bundle: Path) -> AgentConfig:
    document = {
        "device": {"id": "cam-1"},
        "model": {"bundle": str(bundle)},
        "source": {"kind": "directory", "path": str(folder)},
        "monitor": {"window": {"samples": 20}, "false_alarms_per_month": 1000},
    }
    return parse(yaml.safe_dump(document), "agent.yaml")


def no_canary() -> Canary | None:
    return None


def test_what_could_not_be_kept_is_kept_later(tmp_path: Path, bundle: Path) -> None:
    config = quiet_config(tmp_path, bundle)
    asked: list[str] = []

    def keep(assembly: Assembly) -> None:
        asked.append(assembly.bundle.name)
        if len(asked) == 1:
            raise OSError(28, "No space left on device")

    examination = Examination(
        assemble(config, state=tmp_path),
        learn=lambda wanted: learn(wanted, config.monitor, estimator=None, fps=None, folder=tmp_path),
        canary=no_canary,
        keep=keep,
        keep_again_s=0.1,
    )
    said: list[str | None] = []

    def well_again() -> bool:
        findings = [finding for finding in examination.take() if isinstance(finding, Failed)]
        said.extend(finding.problem for finding in findings if finding.subject == "last good")
        return None in said

    examination.start()
    eventually(well_again, within_s=60, what="the second attempt")
    assert said == ["not kept: [Errno 28] No space left on device", None]
    assert asked == [bundle.name] * 2


def test_an_own_baseline_that_cannot_be_learned_stays_a_problem_while_the_bundles_serves(
    tmp_path: Path, bundle: Path
) -> None:
    config = quiet_config(tmp_path, bundle)
    assembly = assemble(config, state=tmp_path)
    examination = Examination(
        assembly,
        learn=lambda wanted: learn(wanted, config.monitor, estimator=None, fps=None, folder=tmp_path),
        canary=no_canary,
        keep=None,
    )

    def damaged() -> Reference:
        raise ValueError("rows of another length")

    findings: list[object] = []

    def found(subject: str) -> list[str | None]:
        findings.extend(examination.take())
        return [one.problem for one in findings if isinstance(one, Failed) and one.subject == subject]

    examination.learn(Learn(against="commissioning", samples=20, thinning=1, reference=damaged))
    examination.start()
    eventually(lambda: found("thresholds"), within_s=60, what="the failure")
    examination.learn(
        Learn(against="training", samples=20, thinning=1, reference=lambda: assembly.bundle.reference)
    )
    eventually(lambda: found("monitor"), within_s=60, what="the bundle's thresholds")
    assert found("monitor") == [None]
    assert found("thresholds") == [
        "change is tested against the bundle's reference: ValueError('rows of another length')"
    ]


def test_a_read_only_state_directory_is_no_reason_not_to_run(device: Unattended) -> None:
    kept(device)
    state = str(device.state)
    mounted = subprocess.run(["mount", "--bind", state, state], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("skipped: needs the right to mount")
    try:
        subprocess.run(["mount", "-o", "remount,ro,bind", state], check=True)
        device.start().ready()
        device.until(lambda: device.problems(), "the reason")
        assert f"state: {state} is on a read-only disk: nothing outlives this session" in device.problems()
        runs_on(device)
        assert device.stop() == 0
    finally:
        device.kill()
        subprocess.run(["umount", state], check=True)


def test_a_state_directory_whose_name_is_wrong_is_a_wrong_config(device: Unattended) -> None:
    device.config["device"]["state_dir"] = str(device.folder / "bundle.tflite" / "state")
    device.start()
    assert device.process is not None
    assert device.process.wait(30) == 2
    assert "device.state_dir" in device.log.read_text()


def test_what_this_machine_lacks_for_a_new_config_leaves_the_last_good_one(device: Unattended) -> None:
    kept(device)
    device.config["model"]["runtime"] = ABSENT
    device.start()
    runs_the_last_good(device, "not installed; type: pip install")
    assert device.stop() == 0


def test_a_runtime_that_is_lost_is_an_error_of_the_machine(device: Unattended) -> None:
    """The config is the one that ran: the last good one would help as little."""
    device.config["model"]["runtime"] = ABSENT
    device.start()
    assert device.process is not None
    assert device.process.wait(30) == 1


def test_a_foreign_outbox_is_found_before_it_ends_the_agent(device: Unattended) -> None:
    other = device.folder / "other.db"
    with sqlite3.connect(other) as database:
        database.execute("CREATE TABLE theirs (a)")
    device.start().ready()
    device.until(lambda: (device.state / "last-good" / "agent.yaml").exists(), "the good ones are kept")
    device.config["outbox"]["path"] = str(other)
    write(device)
    hang_up(device)
    device.until(lambda: any("another program" in problem for problem in device.problems()), "the refusal")
    runs_on(device)
    assert device.stop() == 0
    device.heard.clear()
    device.start()
    runs_the_last_good(device, "another program")


def test_a_config_that_killed_the_agent_twice_is_left_alone(device: Unattended) -> None:
    kept(device)
    device.config["monitor"]["window"]["samples"] = 22
    trying = device.state / "trying"
    for attempt in ("1", "2"):
        device.start()
        device.until(
            lambda n=attempt: trying.exists() and trying.read_text().endswith(f" {n}"), "it is tried"
        )
        device.kill()
    device.heard.clear()
    device.start()
    runs_the_last_good(device, "ended unexpectedly 2 times")
    # Whoever stops and starts it wants it tried again.
    assert device.stop() == 0
    assert not (device.state / "trying").exists()
    device.heard.clear()
    device.start().ready()
    device.until(lambda: device.bodies("window"), "windows")
    assert {window["samples"] for window in device.bodies("window")} == {22}
    device.until(lambda: not (device.state / "trying").exists(), "it runs well")
    assert device.stop() == 0


def verdict(rehearsal: Rehearsal) -> tuple[str, ...]:
    """What it says in the end."""
    found: list[tuple[str, ...]] = []
    rehearsal.start()

    def ended() -> bool:
        problems = rehearsal.poll()
        if problems is not None:
            found.append(problems)
        return bool(found)

    eventually(ended, within_s=60, what="the rehearsal's end")
    return found[0]


@pytest.mark.parametrize(
    ("program", "said"),
    [
        ("print('[]')", ()),
        ("print('noise'); print('[\"a: b\", \"c\"]')", ("a: b", "c")),
        ("print('noise')", ("trying it out failed: it did not say how it went",)),
        ("import os; os.abort()", ("trying it out failed: SIGABRT: ",)),
        (
            "import sys; print('no room', file=sys.stderr); sys.exit(70)",
            ("trying it out failed: exit status 70: no room",),
        ),
        ("import time; time.sleep(60)", ("trying it out took longer than 1 s",)),
    ],
)
def test_whatever_a_rehearsal_dies_of_counts_against_the_config(program: str, said: tuple[str, ...]) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    rehearsal = Rehearsal(
        (sys.executable, "-c", program), folder=None, within_s=1 if "sleep" in program else 30
    )
    assert verdict(rehearsal) == said
    assert rehearsal.poll() is None


def test_a_rehearsal_that_cannot_be_started_says_so() -> None:
    assert verdict(Rehearsal(("/nowhere/litewatch",), folder=None)) == (
        "trying it out failed: cannot be started: No such file or directory",
    )


@pytest.mark.parametrize("asked", ["at once", "when the session has ended"])
def test_who_asks_to_stop_during_a_reload_is_heard(device: Unattended, asked: str) -> None:
    device.start().ready()
    hang_up(device)
    if asked == "when the session has ended":
        device.until(lambda: any(body["state"] == "stopped" for body in device.bodies("state")), "stopped")
    assert device.stop() == 0


def test_a_hangup_during_the_start_reads_agent_yaml_once_more(device: Unattended) -> None:
    device.start()
    device.until(lambda: (device.state / "session").exists(), "the start")
    first = (device.state / "session").read_text()
    device.config["monitor"]["window"]["samples"] = 22
    write(device)
    hang_up(device)
    device.until(lambda: (device.state / "session").read_text() != first, "another session")
    device.until(lambda: any(w["samples"] == 22 for w in device.bodies("window")), "the new windows")
    assert device.stop() == 0


def test_a_bundle_without_the_delegates_model_is_refused_and_the_present_one_goes_on(
    device: Unattended, twinless: Path
) -> None:
    device.config["model"]["delegate"] = standin.as_yaml(standin.library())
    command_line(device, str(device.folder / "agent.yaml"), device.folder)
    device.ready()
    shutil.copy(twinless, device.folder / "bundle.tflite")
    hang_up(device)
    device.until(lambda: any("no model for the Edge TPU" in p for p in device.problems()), "the refusal")
    runs_on(device)
    assert device.bodies("health")[-1]["delegate"] == "external"


def test_a_twin_with_other_tensors_is_refused(tmp_path: Path, bundle: Path) -> None:
    loaded = bundle_files.load(bundle)
    config = parse(
        yaml.safe_dump(
            {
                "device": {"id": "cam-1"},
                "model": {"bundle": "b", "delegate": {"kind": "edgetpu"}},
                "source": {"kind": "directory", "path": "f"},
            }
        ),
        "agent.yaml",
    )
    check_twin(config, loaded, tmp_path)
    with pytest.raises(BundleError, match="other tensors"):
        check_twin(config, replace(loaded, edgetpu=standin.model("detector")), tmp_path)


def test_a_relative_config_is_found_again_after_a_reload(device: Unattended) -> None:
    command_line(device, f"{device.folder.name}/agent.yaml", device.folder.parent)
    device.ready()
    device.config["monitor"]["window"]["samples"] = 22
    write(device)
    hang_up(device)
    device.until(lambda: any(w["samples"] == 22 for w in device.bodies("window")), "the new windows")
    assert device.stop() == 0


def test_a_config_too_large_to_be_published_is_refused(device: Unattended) -> None:
    device.start().ready()
    device.config["device"]["labels"] = {str(number): "x" * 1000 for number in range(300)}
    write(device)
    hang_up(device)
    device.until(lambda: any("device.labels" in problem for problem in device.problems()), "the refusal")
    runs_on(device)
    assert device.stop() == 0
    shutil.rmtree(device.state / "last-good", ignore_errors=True)
    device.start()
    assert device.process is not None
    assert device.process.wait(30) == 2
    assert "device.labels" in device.log.read_text()


def test_the_watchdog_is_fed_from_stage_to_stage_of_a_reload(device: Unattended, notified: list[str]) -> None:
    device.start().ready()
    hang_up(device)
    device.until(lambda: [m for m in notified if m.startswith("READY=1")][1:], "ready again")
    begin = next(n for n, message in enumerate(notified) if message.startswith("RELOADING=1"))
    end = next(n for n, message in enumerate(notified) if n > begin and message.startswith("READY=1"))
    # At least: before the new image, after it has come, with the model, and with telemetry.
    assert notified[begin:end].count("WATCHDOG=1") >= 4


def wrongly_answering(bundle: Path) -> bytes:
    """The same bundle, with other golden answers."""
    loaded = bundle_files.load(bundle)
    turned = tuple(
        replace(golden, outputs=tuple(output[..., ::-1].copy() for output in golden.outputs))
        for golden in loaded.golden.inputs
    )
    parts = Parts(
        name=loaded.manifest.name,
        created=loaded.manifest.created,
        preprocess=specs.dump(loaded.spec),
        decoder=loaded.decoder,
        reference=loaded.reference,
        environment=loaded.manifest.environment,
        golden=replace(loaded.golden, inputs=turned),
        labels=loaded.labels,
    )
    return bundle_files.write(loaded.flatbuffer, parts)


def test_a_bundle_that_answers_wrongly_leaves_the_last_good_one(device: Unattended) -> None:
    kept(device)
    wrong = wrongly_answering(device.folder / "bundle.tflite")
    (device.folder / "bundle.tflite").write_bytes(wrong)
    device.start()
    runs_the_last_good(device, "golden input: ")
    assert device.stop() == 0


def test_without_a_last_good_one_a_model_that_answers_wrongly_still_runs(
    device: Unattended, notified: list[str]
) -> None:
    wrong = wrongly_answering(device.folder / "bundle.tflite")
    (device.folder / "bundle.tflite").write_bytes(wrong)
    device.start().ready()
    device.until(lambda: any("golden input" in problem for problem in device.problems()), "the reason")
    assert any(message.startswith("READY=1") for message in notified)
    assert device.stop() == 0


def test_a_release_on_trial_that_answers_wrongly_does_not_start(
    device: Unattended, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = wrongly_answering(device.folder / "bundle.tflite")
    (device.folder / "bundle.tflite").write_bytes(wrong)
    monkeypatch.setenv("LITEWATCH_ON_TRIAL", "1")
    device.start()
    assert device.process is not None
    assert device.process.wait(30) == 1
    assert "on trial" in device.log.read_text()


def test_a_check_is_made_of_what_runs_not_of_what_was_refused(device: Unattended) -> None:
    kept(device)
    device.start(text="device: {id: cam-1}\nmodle: {}\n")
    runs_the_last_good(device, "modle")
    assert device.ask("check")["ok"]
    device.until(lambda: device.bodies("check"), "the ladder's result", within_s=60)
    assert device.bodies("check")[-1]["verdict"] == "ok"


def test_more_threads_than_the_machine_can_use_are_not_made(
    device: Unattended,
) -> None:
    device.config["model"]["threads"] = 256
    device.config["source"] |= {"loop": False, "fps": None}
    write(device)
    done = subprocess.run(
        [*LITEWATCH, "run", "-c", str(device.folder / "agent.yaml"), "--frames", "1"],
        env={**os.environ, "PYTHONPATH": str(ROOT), "STATE_DIRECTORY": str(device.state)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    most = 4 * (os.cpu_count() or 1)
    assert f"model.threads: 256 is more than this machine can use: {most} run" in done.stderr


def test_what_is_wrong_is_said_as_json_to_who_rehearses(
    device: Unattended, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(device.folder)
    path = device.folder / "agent.yaml"
    path.write_text("device: {id: cam-1}\nmodle: {}\n")
    assert main(["run", "-c", str(path), "--rehearse"]) == 0
    said: Any = yaml.safe_load(capsys.readouterr().out.splitlines()[-1])
    assert any("modle: unknown section" in problem for problem in said)
