"""What this machine says of itself, read from /proc and /sys under a root folder."""

import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True, slots=True)
class Vitals:
    rss_mib: float | None
    """Resident memory of this process."""
    cpu_s: float
    """User and system time of this process."""
    disk_free_mib: float | None
    """On the file system that holds the state directory."""
    soc_temperature_c: float | None


def read_vitals(state_dir: Path, *, root: Path = Path("/")) -> Vitals:
    times = os.times()
    return Vitals(
        rss_mib=_rss_mib(root),
        cpu_s=round(times.user + times.system, 2),
        disk_free_mib=_disk_free_mib(state_dir),
        soc_temperature_c=_soc_temperature_c(root),
    )


def cpu_model(root: Path = Path("/")) -> str:
    """The processor's name as the kernel gives it."""
    wanted = ("model name", "Model", "Hardware")
    try:
        lines = (root / "proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    found = {name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return next((found[key] for key in wanted if found.get(key)), platform.machine())


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
        resident_pages = int((root / "proc/self/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return None
    return round(resident_pages * os.sysconf("SC_PAGE_SIZE") / 2**20, 1)


def _disk_free_mib(path: Path) -> float | None:
    try:
        return round(shutil.disk_usage(path).free / 2**20, 1)
    except OSError:
        return None


def _soc_temperature_c(root: Path) -> float | None:
    try:
        return int((root / "sys/class/thermal/thermal_zone0/temp").read_text()) / 1000
    except (OSError, ValueError):
        return None
