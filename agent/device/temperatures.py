"""Every temperature the kernel knows: thermal zones, and the hwmon sensors that are not one of them."""

import re
from pathlib import Path

from agent.device import sysfs

COLDEST_C, HOTTEST_C = -60.0, 150.0
"""A sensor that says something beyond these is broken or asleep, and left out."""
_SOC = ("cpu-thermal", "soc-thermal", "x86-pkg-temp")


def temperatures(root: Path = Path("/")) -> dict[str, float]:
    """Degrees by name: a thermal zone's type, or a hwmon chip's name and its sensor's label.

    Of several with one name the later are called ``name 2``, ``name 3`` ….
    """
    found: dict[str, float] = {}
    zones = set()
    for folder in sysfs.entries(root / "sys/class/thermal", "thermal_zone*"):
        name = _plain(sysfs.line(folder / "type") or folder.name)
        zones.add(name)
        _put(found, name, sysfs.number(folder / "temp"))
    for folder in sysfs.entries(root / "sys/class/hwmon", "hwmon*"):
        chip = _plain(sysfs.line(folder / "name") or folder.name)
        if chip in zones:
            continue  # the kernel shows every thermal zone there once more
        for sensor in sysfs.entries(folder, "temp*_input"):
            label = sysfs.line(sensor.with_name(sensor.name.replace("_input", "_label")))
            _put(found, f"{chip} {label}" if label else chip, sysfs.number(sensor))
    return found


def soc_temperature(found: dict[str, float]) -> float | None:
    """The processor's own among ``found``; else the first the kernel names."""
    named = [found[name] for name in _SOC if name in found]
    return named[0] if named else next(iter(found.values()), None)


def _plain(name: str) -> str:
    # The hwmon class allows no hyphens, so the zone cpu-thermal is cpu_thermal there.
    return re.sub(r"[^ -~]", "?", name).replace("_", "-")[:40]


def _put(found: dict[str, float], name: str, millidegrees: int | None) -> None:
    if millidegrees is None or not COLDEST_C <= millidegrees / 1000 <= HOTTEST_C:
        return
    number, free = 1, name
    while free in found:
        number += 1
        free = f"{name} {number}"
    found[free] = round(millidegrees / 1000, 1)
