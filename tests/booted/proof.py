"""The service on a booted systemd: installed by the script, hurt in every way it claims to survive,
upgraded, and taken away without a trace. ``tests/booted/run`` runs it; it is not part of ``make test``.

One machine, and the tests in their order: each finds it as the one before left it.
"""

import json
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import bundles
import standin
from machine import CACHE, CHECKOUT, WHEELS, Done, Machine, missing

WHY_NOT = missing()
pytestmark = [
    pytest.mark.timeout(400),
    pytest.mark.skipif(WHY_NOT is not None, reason=WHY_NOT or ""),
]
UNIT = "litewatch"
CONFIG = "/etc/litewatch/agent.yaml"
PASSWORD = "what the broker wants"
BROKER = """\
listener 1883 127.0.0.1
allow_anonymous false
password_file /etc/mosquitto/passwords
"""
# In a collector's place: a message that nobody takes would wait.
LISTENER = f"""\
[Unit]
After=mosquitto.service
[Service]
ExecStart=mosquitto_sub -h 127.0.0.1 -u cam-1 -P "{PASSWORD}" -t litewatch/#
Restart=always
RestartSec=0.2
[Install]
WantedBy=multi-user.target
"""
HANG = """\
import threading, time, pathlib
def hang():
    while not pathlib.Path("/run/hang-now").exists(): time.sleep(0.1)
    import agent.pipeline
    agent.pipeline.Pipeline.process = lambda *_: time.sleep(10 ** 6)
threading.Thread(target=hang, daemon=True).start()
"""


@pytest.fixture(scope="module")
def machine() -> Iterator[Machine]:
    made = Machine(CACHE / "machine")
    try:
        prepare(made)
        yield made
    finally:
        made.pull_the_plug()
    shutil.rmtree(made.root)


def prepare(machine: Machine) -> None:
    """Boot it with the sources, a bundle, frames and a broker that asks for a password."""
    machine.checkout()
    folder = machine.path("/srv/device")
    folder.mkdir()
    bundles.make_bundle(folder, count=400)
    shutil.copytree(folder / "bundle.tflite.parts" / "held_out", machine.path("/srv/frames"))
    standin.standin_bundle(folder, name="standin.tflite", count=400)
    standin.build(folder)
    write_config(machine, "/srv/device/agent.yaml")
    machine.path("/etc/mosquitto/conf.d/proof.conf").write_text(BROKER)
    machine.path("/etc/systemd/system/listener.service").write_text(LISTENER)
    machine.boot()
    machine.run("mosquitto_passwd", "-b", "-c", "/etc/mosquitto/passwords", "cam-1", PASSWORD)
    machine.run("chown", "mosquitto", "/etc/mosquitto/passwords")
    machine.run("systemctl", "restart", "mosquitto")
    machine.run("systemctl", "enable", "--now", "listener")


@pytest.fixture(scope="module")
def untouched(machine: Machine) -> set[str]:
    """Every file of the machine before it has heard of Litewatch."""
    return files(machine)


def files(machine: Machine) -> set[str]:
    """Without logs and what systemd and Debian's own timers write as they go."""
    ours = ("/root", "/srv", "/var/log", "/var/cache/ldconfig", "/var/tmp", "/tmp")
    theirs = ("/var/lib/systemd", "/var/lib/apt", "/var/lib/dpkg", "/var/lib/mosquitto", "/run/udev")
    volatile = ("/run/systemd/units", "/run/systemd/journal", "/run/log", "/run/systemd/dynamic-uid")
    skipped = [word for path in (*ours, *theirs, *volatile) for word in ("-path", path, "-prune", "-o")]
    found = machine.run("find", "/", "/run", "-xdev", *skipped, "-print").stdout
    return set(found.splitlines())


def write_config(machine: Machine, path: str = CONFIG, **changed: object) -> None:
    config = {
        "device": {"id": "cam-1", "site": "lab"},
        "model": {"bundle": "bundle.tflite"},
        "source": {"kind": "directory", "path": "/srv/frames", "loop": True, "fps": 10},
        "monitor": {"sample_every": 1, "window": {"samples": 25}, "false_alarms_per_month": 1000},
        "mqtt": {"username": "cam-1", "password_file": "secrets/mqtt-password"},
        "outbox": {"confirm": "broker", "flush_interval_s": 0.5},
        "health": {"interval_s": 1},
    }
    machine.path(path).write_text(yaml.safe_dump(config | changed))


def script(machine: Machine, *arguments: str) -> Done:
    """install.sh, whatever its exit status."""
    command = (f"{CHECKOUT}/systemd/install.sh", *arguments, "--wheels", WHEELS)
    return machine.run(*command[: len(command) if arguments[0] != "uninstall" else -2], check=False)


@contextmanager
def drop_in(machine: Machine, *lines: str) -> Iterator[None]:
    """Lines of the unit's [Service] for a while, as an administrator adds them."""
    folder = machine.path("/etc/systemd/system/litewatch.service.d")
    folder.mkdir()
    (folder / "proof.conf").write_text("\n".join(("[Service]", *lines, "")))
    machine.run("systemctl", "daemon-reload")
    try:
        yield
    finally:
        shutil.rmtree(folder)
        machine.run("systemctl", "daemon-reload")


def pid(machine: Machine) -> str:
    return machine.show(UNIT, "MainPID")


def ready(machine: Machine) -> bool:
    return machine.show(UNIT, "SubState") == "running" and machine.show(UNIT, "StatusText") != ""


def current(machine: Machine) -> str:
    return machine.run("readlink", "/opt/litewatch/current").stdout.strip()


def groups(machine: Machine) -> set[str]:
    """Supplementary groups of the running agent, by name."""
    status = machine.run("cat", f"/proc/{pid(machine)}/status").stdout
    ids = next(line for line in status.splitlines() if line.startswith("Groups:")).split()[1:]
    names = machine.run("getent", "group", *ids, "root", check=False).stdout
    return {line.split(":")[0] for line in names.splitlines()}


def set_version(machine: Machine, version: str, *, at_start: str = "") -> None:
    """Another version of the sources in the machine; ``at_start`` is run as the agent starts."""
    machine.checkout()
    project = machine.path(f"{CHECKOUT}/pyproject.toml")
    project.write_text(project.read_text().replace('version = "0.1.0"', f'version = "{version}"'))
    startup = machine.path(f"{CHECKOUT}/agent/startup.py")
    startup.write_text(startup.read_text() + at_start)


def heard(machine: Machine, kind: str) -> Any:
    """The body of the next (or retained) message of a kind that the broker delivers."""
    account = ("-h", "127.0.0.1", "-u", "cam-1", "-P", PASSWORD, "-W", "60", "-C", "1")
    done = machine.run("mosquitto_sub", *account, "-t", f"litewatch/1/lab/cam-1/{kind}")
    return json.loads(done.stdout)["body"]


def state(machine: Machine) -> str:
    """The device's retained state."""
    return str(heard(machine, "state")["state"])


def test_a_config_that_never_worked_ends_it_without_a_loop(machine: Machine, untouched: set[str]) -> None:
    bad = machine.path("/srv/device/bad.yaml")
    bad.write_text("device: {id: cam-1}\n")
    done = script(machine, "install", "--config", "/srv/device/bad.yaml")
    assert (done.returncode, "not READY" in done.stderr) == (1, True), done.stderr
    assert "model: required section is missing" in done.stderr
    machine.until(lambda: machine.show(UNIT, "ActiveState") == "failed", "the service has given up")
    assert (machine.show(UNIT, "ExecMainStatus"), machine.show(UNIT, "NRestarts")) == ("2", "0")


def test_the_script_installs_until_ready(machine: Machine) -> None:
    secret = machine.path("/etc/litewatch/secrets/mqtt-password")
    secret.write_text(PASSWORD + "\n")
    secret.chmod(0o600)
    device = "/srv/device"
    done = script(
        machine, "install", "--config", f"{device}/agent.yaml", "--bundle", f"{device}/bundle.tflite"
    )
    assert done.returncode == 0, done.stderr
    assert ready(machine)
    assert machine.run("stat", "-c", "%a", "/etc/litewatch/secrets").stdout.strip() == "700"
    assert machine.run("litewatch", "config", CONFIG).returncode == 0


def test_it_runs_as_nobody_in_particular_with_its_secret(machine: Machine) -> None:
    uid = machine.run("stat", "-c", "%u", f"/proc/{pid(machine)}").stdout.strip()
    assert 61184 <= int(uid) <= 65519, "systemd's range of dynamic users"
    machine.until(lambda: state(machine) == "online", "the broker takes its password")


def test_the_script_may_be_run_again(machine: Machine) -> None:
    before = pid(machine), current(machine)
    assert script(machine, "install").returncode == 0
    assert (pid(machine), current(machine)) == before


def test_options_given_to_a_running_service_reach_it(machine: Machine) -> None:
    before = pid(machine)
    done = script(machine, "install", "--coral", "--camera")
    assert done.returncode == 0, done.stderr
    assert ready(machine) and pid(machine) != before
    assert {"video", "litewatch-tpu"} <= groups(machine)
    allowed = machine.show(UNIT, "DeviceAllow")
    assert "char-apex rw" in allowed and "char-video4linux rw" in allowed
    # Modules that this machine does not have are no reason not to start.
    assert {"modprobe@apex.service", "modprobe@videodev.service"} <= set(machine.show(UNIT, "Wants").split())
    with_them = pid(machine)
    assert script(machine, "install").returncode == 0
    assert pid(machine) == with_them
    assert script(machine, "install", "--no-coral", "--no-camera").returncode == 0
    assert ready(machine) and not {"video", "litewatch-tpu"} & groups(machine)
    assert machine.show(UNIT, "DeviceAllow") == ""
    assert machine.run("getent", "group", "litewatch-tpu", check=False).returncode == 2


def test_options_that_keep_it_from_ready_are_undone(machine: Machine) -> None:
    with drop_in(machine, "ExecStartPre=+sh -c '! getent group litewatch-tpu'"):
        done = script(machine, "install", "--coral")
        assert (done.returncode, "is back and READY" in done.stderr) == (1, True), done.stderr
        assert ready(machine) and machine.show(UNIT, "DeviceAllow") == ""
        assert "CORAL=no" in machine.path("/opt/litewatch/options").read_text()


def test_only_a_release_to_be_built_needs_room(machine: Machine) -> None:
    full = machine.path("/usr/local/sbin/df")
    full.write_text("#!/bin/sh\necho Avail; echo 1\n")
    full.chmod(0o755)
    assert script(machine, "install", "--config", "/srv/device/agent.yaml").returncode == 0
    set_version(machine, "0.1.1")
    done = script(machine, "upgrade")
    assert (done.returncode, "has 1 MiB free" in done.stderr) == (1, True), done.stderr
    full.unlink()
    machine.checkout()
    assert ready(machine)


def test_the_clock_may_be_read_but_not_set(machine: Machine) -> None:
    """The one exception from the usual filter of system calls, tried inside the service's own sandbox."""
    code = (
        "import ctypes, time; c = ctypes.CDLL(None, use_errno=True); "
        "read = c.adjtimex(ctypes.create_string_buffer(512)); "
        "set_ = c.settimeofday(ctypes.create_string_buffer(16), None); print('clock', read >= 0, set_)"
    )
    with drop_in(machine, f'ExecStartPost=/opt/litewatch/current/bin/python -c "{code}"'):
        machine.run("systemctl", "restart", UNIT)
        assert "clock True -1" in machine.journal(UNIT, "-n", "50")
    machine.run("systemctl", "restart", UNIT)


def test_kill_9_brings_it_back(machine: Machine) -> None:
    before = pid(machine)
    machine.run("kill", "-9", before)
    machine.until(lambda: pid(machine) not in ("0", before) and ready(machine), "it is back")


def test_a_hang_is_ended_by_the_watchdog_with_its_stacks(machine: Machine) -> None:
    """Only the main loop stands still; every other thread goes on."""
    packages = machine.run(
        "sh", "-c", "echo /opt/litewatch/current/lib/python3*/site-packages"
    ).stdout.strip()
    machine.path(f"{packages}/proof_hang.py").write_text(HANG)
    machine.path(f"{packages}/proof_hang.pth").write_text("import proof_hang\n")
    with drop_in(machine, "WatchdogSec=3"):
        machine.run("systemctl", "restart", UNIT)
        before = pid(machine)
        machine.run("touch", "/run/hang-now")
        machine.until(lambda: "Watchdog timeout" in machine.journal(), "the watchdog has barked")
        machine.path(f"{packages}/proof_hang.pth").unlink()
        machine.path(f"{packages}/proof_hang.py").unlink()
        machine.run("rm", "/run/hang-now")
        machine.until(lambda: pid(machine) not in ("0", before) and ready(machine), "it is back")
    assert "in <lambda>" in machine.journal() and "Thread 0x" in machine.journal()
    machine.run("systemctl", "restart", UNIT)


def test_a_bad_config_leaves_the_last_good_one_running(machine: Machine) -> None:
    write_config(machine, model={"bundle": "bundle.tflite", "thread": 2})
    before = pid(machine)
    machine.run("systemctl", "reload", UNIT)
    machine.until(lambda: "unknown key 'thread'" in machine.journal(), "the refusal is said")
    assert pid(machine) == before and ready(machine)
    machine.run("systemctl", "restart", UNIT)
    assert ready(machine)
    machine.until(lambda: state(machine) == "degraded", "it says what it runs on")
    write_config(machine)
    machine.run("systemctl", "reload", UNIT)
    machine.until(lambda: state(machine) == "online", "the good one is in use again")


def test_the_nightly_check_is_published_beside_the_running_agent(machine: Machine) -> None:
    assert "litewatch-check.timer" in machine.run("systemctl", "list-timers", "--no-pager").stdout
    agent = pid(machine)
    machine.run("systemctl", "start", "litewatch-check")
    assert "litewatch.check/1" in machine.journal("listener"), machine.journal("litewatch-check")
    assert pid(machine) == agent


def test_an_upgrade_keeps_the_environment_before_it(machine: Machine) -> None:
    before = current(machine)
    set_version(machine, "0.1.1")
    write_config(machine, "/srv/device/other.yaml", health={"interval_s": 2})
    done = script(machine, "upgrade", "--config", "/srv/device/other.yaml")
    assert done.returncode == 0, done.stderr
    assert ready(machine) and current(machine).startswith("releases/0.1.1-")
    assert machine.path(CONFIG).read_text() == machine.path("/srv/device/other.yaml").read_text()
    assert machine.run("readlink", "/opt/litewatch/previous").stdout.strip() == before
    assert current(machine) in machine.run("cat", f"/proc/{pid(machine)}/cmdline").stdout


def test_an_upgrade_that_crashes_is_rolled_back(machine: Machine) -> None:
    before = current(machine)
    kept = {path.name: path.read_bytes() for path in machine.path("/etc/litewatch").glob("[!.]*.*")}
    write_config(machine, "/srv/device/other.yaml", health={"interval_s": 3})
    set_version(machine, "0.1.2", at_start="\nraise RuntimeError('a version that cannot start')\n")
    files = ("--config", "/srv/device/other.yaml", "--bundle", "/srv/device/standin.tflite")
    done = script(machine, "upgrade", *files, "--camera")
    assert (done.returncode, "is back and READY" in done.stderr) == (1, True), done.stderr
    assert "a version that cannot start" in done.stderr, done.stderr
    assert ready(machine) and current(machine) == before
    assert len(list(machine.path("/opt/litewatch/releases").iterdir())) == 2
    left = {path.name: path.read_bytes() for path in machine.path("/etc/litewatch").glob("[!.]*.*")}
    kept.pop("agent.yaml.old", None)
    assert left == kept
    assert machine.show(UNIT, "DeviceAllow") == "" and "video" not in groups(machine)


def test_an_upgrade_that_never_says_ready_is_rolled_back_after_a_minute(machine: Machine) -> None:
    before = current(machine)
    set_version(machine, "0.1.3", at_start="\nimport time\ntime.sleep(10 ** 6)\n")
    done = script(machine, "upgrade")
    assert (done.returncode, "not READY within 60 s" in done.stderr) == (1, True), done.stderr
    assert ready(machine) and current(machine) == before


def test_a_plug_pulled_while_a_version_is_tried_boots_the_old_one(machine: Machine) -> None:
    before = current(machine)
    set_version(machine, "0.1.4", at_start="\nimport time\ntime.sleep(10 ** 6)\n")
    upgrade = machine.begin(f"{CHECKOUT}/systemd/install.sh", "upgrade", "--wheels", WHEELS)
    trial = machine.path("/opt/litewatch/releases")
    machine.until(
        lambda: (
            any(path.name.startswith("0.1.4-") for path in trial.iterdir())
            and "0.1.4-" in machine.show(UNIT, "ExecStart")
        ),
        "the new version is on trial",
        within_s=120,
    )
    machine.pull_the_plug()
    upgrade.wait(30)
    machine.boot()
    machine.until(lambda: ready(machine), "the old version runs")
    assert current(machine) == before
    assert current(machine) in machine.run("cat", f"/proc/{pid(machine)}/cmdline").stdout


def test_a_rollback_by_hand(machine: Machine) -> None:
    before = current(machine)
    assert script(machine, "rollback").returncode == 0
    assert ready(machine) and current(machine).startswith("releases/0.1.0-")
    # A service that was stopped stays so.
    machine.run("systemctl", "stop", UNIT)
    assert script(machine, "rollback").returncode == 0
    assert machine.show(UNIT, "ActiveState") == "inactive" and current(machine) == before
    machine.run("systemctl", "start", UNIT)
    assert ready(machine)


@pytest.mark.parametrize(("runtime", "name"), [("tflite", "tflite-runtime"), ("litert", "ai-edge-litert")])
def test_the_sandbox_runs_both_runtimes_opencv_and_a_delegate(
    machine: Machine, runtime: str, name: str
) -> None:
    machine.checkout()
    write_config(machine)
    done = script(machine, "upgrade", "--coral", "--runtime", runtime)
    assert done.returncode == 0, done.stderr
    assert ready(machine) and "litewatch-tpu" in groups(machine)
    assert heard(machine, "about")["runtime"] == name
    # The pictures of the window were decoded and resized by OpenCV.
    assert heard(machine, "window")["samples"] == 25
    switch = machine.path("/srv/device/switch")
    switch.write_text("ok")
    delegate = {"kind": "external", "library": "/srv/device/libstandin.so", "model": "edgetpu"}
    delegate["options"] = {"switch": "/srv/device/switch"}
    write_config(machine, model={"bundle": "/srv/device/standin.tflite", "delegate": delegate})
    machine.run("systemctl", "restart", UNIT)
    before = pid(machine)
    machine.until(lambda: heard(machine, "health")["delegate"] == "external", "the delegate serves")
    about = heard(machine, "about")
    assert (about["delegate"], about["ops_delegated"]) == ("external", 1)
    switch.write_text("segfault")
    machine.until(lambda: heard(machine, "health")["delegate"] == "cpu", "the CPU has taken over")
    machine.until(lambda: state(machine) == "degraded", "it says so")
    switch.write_text("ok")
    machine.until(lambda: heard(machine, "health")["delegate"] == "external", "it is back", within_s=40)
    assert pid(machine) == before


def test_an_upgrade_after_a_rollback_keeps_the_runtime_gone_back_to(machine: Machine) -> None:
    litert = current(machine)
    assert script(machine, "rollback").returncode == 0
    tflite = current(machine)
    assert tflite != litert and script(machine, "upgrade").returncode == 0
    assert current(machine) == tflite
    assert machine.run("readlink", "/opt/litewatch/previous").stdout.strip() == litert
    assert heard(machine, "about")["runtime"] == "tflite-runtime"


def test_one_that_keeps_crashing_waits_longer_each_time(machine: Machine) -> None:
    release = current(machine)
    program = machine.path(f"/opt/litewatch/{release}/bin/litewatch")
    good = program.read_text()
    program.write_text("#!/bin/sh\nexit 70\n")
    machine.run("systemctl", "kill", "-s", "KILL", UNIT)
    machine.until(
        lambda: "failed 3 times in a row: the next start waits 20 s" in machine.journal(), "it slows down", 60
    )
    program.write_text(good)
    machine.run("systemctl", "restart", UNIT)  # by hand: at once
    assert ready(machine)


def test_uninstall_leaves_nothing(machine: Machine, untouched: set[str]) -> None:
    done = script(machine, "uninstall")
    assert done.returncode == 0, done.stderr
    assert files(machine) - untouched == set()
    assert machine.run("systemctl", "list-units", "--all", "--no-legend", "litewatch*").stdout == ""
