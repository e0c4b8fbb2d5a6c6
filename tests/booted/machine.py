"""A Debian of its own with a real systemd as PID 1, in a container of systemd-nspawn.

The root file system is made once by mmdebstrap and kept under ``build/booted``, as are the packages
that the machine, which has no network, installs from. Nothing here looks like a Raspberry Pi but
Debian's release, its systemd (252) and its Python (3.11).
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = ROOT / "build" / "booted"
PACKAGES = "systemd,systemd-sysv,dbus,udev,python3,python3-venv,mosquitto,mosquitto-clients,procps"
SOURCES = (
    *("agent", "calibration", "tools", "systemd", "docs", "pyproject.toml", "README.md", "LICENSE"),
    *("constraints.txt", "constraints-tflite.txt"),
)
BOOT_S = 60.0
CHECKOUT = "/root/checkout"
WHEELS = "/root/wheels"

Done = subprocess.CompletedProcess[str]


def missing() -> str | None:
    """Why no machine can be booted here, as a sentence."""
    programs = [name for name in ("systemd-nspawn", "mmdebstrap", "nsenter") if shutil.which(name) is None]
    if programs:
        return f"{' and '.join(programs)} not installed: nothing was proved on a booted systemd"
    if os.geteuid() != 0:
        return "not root: systemd-nspawn cannot boot a machine, nothing was proved on a booted systemd"
    return None


class NotThereError(AssertionError):
    """The machine is not up yet, or has ended."""


class Machine:
    """One machine below ``folder``; ``boot`` it, ``run`` commands in it, ``pull_the_plug``."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self._wheels = _wheels()
        self._container: subprocess.Popen[bytes] | None = None
        self._log = folder / "console.log"
        shutil.rmtree(self.root, ignore_errors=True)
        self.root.mkdir(parents=True)
        subprocess.run(["tar", "-C", self.root, "-xf", _root_archive()], check=True)
        # Where that of the host would be bound, which names servers nobody can reach from here.
        (self.root / "etc/resolv.conf").unlink(missing_ok=True)
        (self.root / "etc/hosts").write_text("127.0.0.1 localhost\n")

    def checkout(self) -> None:
        """The working tree's sources as they are now, at CHECKOUT."""
        target = self.path(CHECKOUT)
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        for name in SOURCES:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, target / name)

    def path(self, inside: str) -> Path:
        """Where the machine's file lies on the host."""
        return self.root / inside.removeprefix("/")

    def boot(self) -> None:
        options = [
            f"--machine=litewatch-{os.getpid()}",
            "--register=no",
            "--keep-unit",
            "--private-network",
            "--console=pipe",
        ]
        # As on a real machine, its own sandbox decides who may read the kernel's clock state.
        options += ["--system-call-filter=adjtimex clock_adjtime", f"--bind-ro={self._wheels}:{WHEELS}"]
        options += ["--resolv-conf=off", "--timezone=off", "--link-journal=no"]
        with self._log.open("wb") as log:
            self._container = subprocess.Popen(
                # It ends with whoever runs the proof.
                ["setpriv", "--pdeathsig=KILL", "systemd-nspawn", "-q", "--boot", "-D", self.root, *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.until(lambda: self._state() in ("running", "degraded"), "the machine is up", BOOT_S)

    def run(self, *command: str, check: bool = True, timeout: float = 300.0) -> Done:
        enter = ["nsenter", "-t", str(self._init()), "-m", "-u", "-i", "-n", "-p", "--"]
        clean = [
            "env",
            "-i",
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME=/root",
        ]
        done = subprocess.run(
            [*enter, *clean, *command], capture_output=True, text=True, timeout=timeout, cwd="/", check=False
        )
        if check and done.returncode:
            raise AssertionError(f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done

    def begin(self, *command: str) -> "subprocess.Popen[bytes]":
        """Start a command and leave it running."""
        enter = ["nsenter", "-t", str(self._init()), "-m", "-u", "-i", "-n", "-p", "--"]
        return subprocess.Popen(
            [*enter, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/"
        )

    def show(self, unit: str, name: str) -> str:
        """A property of a unit."""
        return self.run("systemctl", "show", "-P", name, unit).stdout.strip()

    def journal(self, unit: str = "litewatch", *more: str) -> str:
        return self.run("journalctl", "-u", unit, "-o", "cat", "--no-pager", *more).stdout

    def until(self, condition: Callable[[], object], what: str, within_s: float = 30.0) -> None:
        deadline = time.monotonic() + within_s
        while not condition():
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {within_s:g} s: {what}\n{self._last_words()}")
            time.sleep(0.1)

    def pull_the_plug(self) -> None:
        """End every process at once; what the kernel had accepted for the disk stays (see tests/powercut)."""
        if self._container is None:
            return
        try:
            os.kill(self._init(), signal.SIGKILL)
        except (ProcessLookupError, NotThereError):
            self._container.kill()
        self._container.wait(30)
        self._container = None

    def _init(self) -> int:
        """PID 1 of the machine, as the host numbers it."""
        assert self._container is not None, "the machine is not booted"
        children = Path(f"/proc/{self._container.pid}/task/{self._container.pid}/children")
        found = children.read_text().split() if children.exists() else []
        if not found:
            raise NotThereError(f"no process 1 in the machine:\n{self._console()}")
        return int(found[0])

    def _state(self) -> str:
        if self._container is not None and self._container.poll() is not None:
            raise AssertionError(f"systemd-nspawn has ended:\n{self._console()}")
        try:
            return self.run("systemctl", "is-system-running", check=False).stdout.strip()
        except NotThereError:
            return "no init yet"

    def _console(self) -> str:
        return self._log.read_text(errors="replace")[-1500:] if self._log.exists() else ""

    def _last_words(self) -> str:
        try:
            done = self.run("journalctl", "-n", "40", "--no-pager", "-o", "short-monotonic", check=False)
        except NotThereError as error:
            return str(error)
        return "\n".join(line[:200] for line in done.stdout.splitlines())


def _root_archive() -> Path:
    archive = CACHE / "root.tar"
    if not archive.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        made = CACHE / "making.tar"
        subprocess.run(
            ["mmdebstrap", "-q", "--variant=minbase", f"--include={PACKAGES}", "bookworm", made], check=True
        )
        made.rename(archive)
    return archive


def _wheels() -> Path:
    """Both runtimes' packages for the machine's Python, as the constraints name them."""
    folder = CACHE / "wheels"
    stamp = folder / "complete"
    wanted = "".join((ROOT / name).read_text() for name in ("constraints.txt", "constraints-tflite.txt"))
    if stamp.exists() and stamp.read_text() == wanted:
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    common = ["numpy", "opencv-python-headless", "paho-mqtt", "PyYAML", "cattrs", "click", "rich"]
    common += ["ai-edge-litert", "cryptography"]
    pip = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check"]
    target = ["--python-version=3.11", "--only-binary=:all:", "-d", str(folder)]
    for constraints, more in (
        ("constraints.txt", "setuptools>=77"),
        ("constraints-tflite.txt", "tflite-runtime"),
    ):
        subprocess.run([*pip, *target, "-c", str(ROOT / constraints), *common, more], check=True)
    stamp.write_text(wanted)
    return folder
