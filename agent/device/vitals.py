"""What this machine says of itself, read from /proc and /sys under a root folder."""

import os
import platform
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from agent.device import sysfs
from agent.device.temperatures import soc_temperature, temperatures
from agent.device.throttling import read_throttling


@dataclass(frozen=True, kw_only=True, slots=True)
class Vitals:
    """None: this machine does not tell."""

    rss_mib: float | None
    """Resident memory of this process."""
    cpu_s: float
    """User and system time of this process."""
    disk_free_mib: float | None
    """On the file system that holds the state directory."""
    soc_temperature_c: float | None
    temperatures_c: dict[str, float] = field(default_factory=dict)
    throttled_now: tuple[str, ...] = ()
    throttled_since_boot: tuple[str, ...] = ()
    memory_available_mib: float | None = None
    """What programs can have without swapping, by the kernel's own estimate."""
    load_1m: float | None = None
    disk_written_mib: float | None = None
    """Sent to disks by this process since it began."""


def read_vitals(state_dir: Path, *, root: Path = Path("/")) -> Vitals:
    times = os.times()
    degrees = temperatures(root)
    throttling = read_throttling(root)
    return Vitals(
        rss_mib=_rss_mib(root),
        cpu_s=round(times.user + times.system, 2),
        disk_free_mib=disk_free_mib(state_dir),
        soc_temperature_c=soc_temperature(degrees),
        temperatures_c=degrees,
        throttled_now=throttling.now,
        throttled_since_boot=throttling.since_boot,
        memory_available_mib=_memory_available_mib(root),
        load_1m=_load_1m(root),
        disk_written_mib=_disk_written_mib(root),
    )


def disk_free_mib(path: Path) -> float | None:
    """Free for this user on the file system that holds ``path``."""
    try:
        return round(shutil.disk_usage(path).free / 2**20, 1)
    except OSError:
        return None


def cpu_model(root: Path = Path("/")) -> str:
    """The processor's name as the kernel gives it."""
    found = sysfs.table(root / "proc/cpuinfo")
    if not found:
        return platform.processor() or platform.machine()
    return next(
        (found[key] for key in ("model name", "Model", "Hardware") if found.get(key)), platform.machine()
    )


def os_name(root: Path = Path("/")) -> str:
    """``PRETTY_NAME`` of /etc/os-release."""
    try:
        lines = (root / "etc/os-release").read_text().splitlines()
    except OSError:
        return platform.platform()
    return next(
        (line.partition("=")[2].strip('"') for line in lines if line.startswith("PRETTY_NAME=")), "Linux"
    )


def _rss_mib(root: Path) -> float | None:
    try:
        resident_pages = int((sysfs.line(root / "proc/self/statm") or "").split()[1])
    except (IndexError, ValueError):
        return None
    return round(resident_pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1)


def _memory_available_mib(root: Path) -> float | None:
    try:
        kib = int(sysfs.table(root / "proc/meminfo")["MemAvailable"].removesuffix("kB"))
    except (KeyError, ValueError):
        return None
    return round(kib / 2**10, 1)


def _load_1m(root: Path) -> float | None:
    try:
        load = float((sysfs.line(root / "proc/loadavg") or "").split()[0])
    except (IndexError, ValueError):
        return None
    return load if 0 <= load < 2**32 else None


def _disk_written_mib(root: Path) -> float | None:
    try:
        return round(int(sysfs.table(root / "proc/self/io")["write_bytes"]) / 2**20, 2)
    except (KeyError, ValueError):
        return None
