"""A Raspberry Pi's userland without a Pi: Debian's arm64 Python under qemu-user, with aarch64 wheels.

Nothing is installed and no privilege is needed: the packages are unpacked into a folder, the wheels of
the very constraints are put beside them, and qemu's user emulation runs the Python in it. The folder has
a Pi 4's /proc/cpuinfo, for the runtimes choose their kernels by it.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
QEMU = "qemu-aarch64-static"
NEEDED = ("mmdebstrap", QEMU)
PACKAGES = "python3,libpython3-stdlib,libstdc++6,libgcc-s1,ca-certificates"
# Bookworm's C library is 2.36: wheels built for any older one run there.
PLATFORMS = (*(f"manylinux_2_{minor}_aarch64" for minor in range(36, 16, -1)), "manylinux2014_aarch64")
AGENT = ("numpy", "opencv-python-headless", "paho-mqtt", "PyYAML", "cattrs", "click", "rich", "cryptography")
CPUINFO = """processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd evtstrm crc32 cpuid
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: 0xd08
CPU revision\t: 3

Revision\t: c03112
Model\t\t: Raspberry Pi 4 Model B Rev 1.2
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """A Debian release, its Python, and the runtime with the constraints that pin it."""

    suite: str
    python: str
    runtime: str
    constraints: str

    @property
    def name(self) -> str:
        return f"{self.suite}-{self.runtime}"


TARGETS = (
    Target(suite="bookworm", python="3.11", runtime="ai-edge-litert", constraints="constraints.txt"),
    Target(suite="bookworm", python="3.11", runtime="tflite-runtime", constraints="constraints-tflite.txt"),
    Target(suite="trixie", python="3.13", runtime="ai-edge-litert", constraints="constraints.txt"),
)


def missing() -> list[str]:
    """Programs this needs and does not find."""
    return [name for name in NEEDED if shutil.which(name) is None]


class Emulated:
    """One target, below ``folder``; what is there already is used again."""

    def __init__(self, target: Target, folder: Path) -> None:
        self.target = target
        self._root = folder / target.suite
        self._site = folder / f"site-{target.name}"

    def install(self) -> None:
        """Unpack Debian's packages and the wheels of the exact constraints."""
        if not (self._root / "usr/bin" / f"python{self.target.python}").exists():
            shutil.rmtree(self._root, ignore_errors=True)
            command = ["mmdebstrap", "--quiet", "--arch=arm64", "--variant=extract", f"--include={PACKAGES}"]
            subprocess.run([*command, self.target.suite, str(self._root)], check=True)
            # Trixie makes this link while packages are configured, which extracting leaves out.
            if not (self._root / "lib").exists():
                (self._root / "lib").symlink_to("usr/lib")
        self._plant_cpu()
        pins = (ROOT / self.target.constraints).read_bytes()
        stamp = self._site / "constraints.txt"
        if stamp.is_file() and stamp.read_bytes() == pins:
            return
        shutil.rmtree(self._site, ignore_errors=True)
        wheels = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-compile"]
        wheels += ["--target", str(self._site), "--python-version", self.target.python]
        wheels += ["--implementation", "cp", "--only-binary=:all:", "-c", str(ROOT / self.target.constraints)]
        wheels += [word for name in PLATFORMS for word in ("--platform", name)]
        subprocess.run([*wheels, *AGENT, self.target.runtime], check=True)
        self._wrap_python()
        stamp.write_bytes(pins)

    def run(self, arguments: Sequence[str], *, within_s: float = 900) -> "subprocess.CompletedProcess[str]":
        """Python with ``arguments`` on the emulated machine."""
        python = self._root / "usr/bin" / f"python{self.target.python}"
        command = [QEMU, "-L", str(self._root), str(python), *arguments]
        environment: Mapping[str, str] = {
            "PATH": os.environ["PATH"],
            "HOME": str(self._site),
            "QEMU_CPU": "cortex-a72",
            "PYTHONHOME": str(self._root / "usr"),
            "PYTHONPATH": f"{ROOT}:{self._site}",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        return subprocess.run(command, capture_output=True, text=True, timeout=within_s, env=environment)

    def _wrap_python(self) -> None:
        """What the emulated Python takes for itself, so that its own subprocesses are emulated too."""
        python = self._root / "usr/bin" / f"python{self.target.python}"
        wrapper = self._site / "python"
        wrapper.write_text(f'#!/bin/sh\nexec {shutil.which(QEMU)} -L {self._root} {python} "$@"\n')
        wrapper.chmod(0o755)
        (self._site / "sitecustomize.py").write_text(f"import sys\nsys.executable = {str(wrapper)!r}\n")

    def _plant_cpu(self) -> None:
        # With the host's /proc/cpuinfo litert crashes; without /sys XNNPACK is silently off.
        (self._root / "proc").mkdir(exist_ok=True)
        (self._root / "proc/cpuinfo").write_text(CPUINFO)
        cpus = self._root / "sys/devices/system/cpu"
        cpus.mkdir(parents=True, exist_ok=True)
        for name in ("possible", "present", "online"):
            (cpus / name).write_text("0\n")
        (cpus / "kernel_max").write_text("255\n")
