"""The scripts of the service: how long a failing agent waits, and what install.sh refuses."""

import os
import subprocess
from pathlib import Path

import pytest

SYSTEMD = Path(__file__).resolve().parent.parent / "systemd"
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
pytestmark = pytest.mark.skipif(not BOOT_ID.exists(), reason="skipped: no /proc of Linux")


class Service:
    """The environment systemd gives to ``restart-delay``; pauses are noted, not taken."""

    def __init__(self, folder: Path) -> None:
        self.state, self.runtime, programs = folder / "state", folder / "run", folder / "bin"
        for path in (self.state, self.runtime, programs):
            path.mkdir()
        self.slept = folder / "slept"
        sleep = programs / "sleep"
        sleep.write_text(f'#!/bin/sh\necho "$1" >>{self.slept}\n')
        sleep.chmod(0o755)
        self.environment = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "STATE_DIRECTORY": str(self.state),
            "RUNTIME_DIRECTORY": str(self.runtime),
        }

    def call(self, when: str, **variables: str) -> None:
        command = [str(SYSTEMD / "restart-delay"), when]
        done = subprocess.run(command, env={**self.environment, **variables}, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")

    def fails(self, *, after_s: int = 0, result: str = "exit-code", status: str = "70") -> None:
        """Start, run for ``after_s`` and end like this."""
        self.call("before")
        started = self.runtime / "started"
        started.write_text(f"{int(started.read_text()) - after_s}\n")
        self.call("after", SERVICE_RESULT=result, EXIT_STATUS=status)

    def pauses(self) -> list[int]:
        return [int(line) for line in self.slept.read_text().splitlines()] if self.slept.exists() else []


@pytest.fixture
def service(tmp_path: Path) -> Service:
    return Service(tmp_path)


def test_the_pause_grows_to_five_minutes(service: Service) -> None:
    for _ in range(10):
        service.fails()
    assert service.pauses() == [10, 20, 40, 80, 160, 300, 300, 300]


def test_a_crash_after_ten_good_minutes_is_the_first_of_a_row(service: Service) -> None:
    for _ in range(4):
        service.fails()
    service.fails(after_s=700, result="watchdog")
    service.slept.unlink()
    service.fails()
    assert service.pauses() == []


@pytest.mark.parametrize(("result", "status"), [("success", "0"), ("exit-code", "2")])
def test_a_stop_on_purpose_and_a_bad_config_begin_anew(service: Service, result: str, status: str) -> None:
    for _ in range(4):
        service.fails()
    service.call("after", SERVICE_RESULT=result, EXIT_STATUS=status)
    service.slept.unlink()
    service.fails()
    assert service.pauses() == []


@pytest.mark.parametrize("content", ["another-boot 7\n", "", "\x00\x00", f"{BOOT_ID} -\n"])
def test_another_boot_and_a_torn_file_begin_anew(service: Service, content: str) -> None:
    (service.state / "restarts").write_text(content)
    service.fails()
    assert service.pauses() == []


@pytest.fixture
def nobody(tmp_path: Path) -> dict[str, str]:
    """An environment in which install.sh takes itself for an ordinary user's and changes nothing."""
    program = tmp_path / "id"
    program.write_text("#!/bin/sh\necho 1000\n")
    program.chmod(0o755)
    return {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("install", "--runtime", "onnx"), "litert or tflite, not onnx"),
        (("install", "--config", "/nowhere.yaml"), "/nowhere.yaml: no such file"),
        (("install", "--wheels"), "--wheels needs a value"),
        (("update",), "unknown: update"),
        (("install",), "must be root"),
    ],
)
def test_install_refuses_what_it_does_not_understand(
    nobody: dict[str, str], arguments: tuple[str, ...], says: str
) -> None:
    done = subprocess.run([SYSTEMD / "install.sh", *arguments], env=nobody, capture_output=True, text=True)
    assert (done.returncode, says in done.stderr) == (2, True), done.stderr


def test_install_helps(nobody: dict[str, str]) -> None:
    done = subprocess.run([SYSTEMD / "install.sh", "--help"], env=nobody, capture_output=True, text=True)
    assert done.returncode == 0
    for word in ("upgrade", "rollback", "uninstall", "--keep-data", "--coral"):
        assert word in done.stdout
