"""Under-voltage and throttling of a Raspberry Pi, as its firmware tells the kernel.

Raspberry Pi OS has the firmware's bits in one file below the firmware's device: ``soc:firmware`` up to
the Pi 4, ``soc@107c000000:firmware`` on a Pi 5. The kernel says once a boot, in its log, that this file
is deprecated; its successor, the voltage sensor of the hwmon class (the only one of a mainline kernel),
knows under-voltage alone and forgets it after two seconds, so both are read.
"""

from dataclasses import dataclass
from pathlib import Path

from agent.device import sysfs

UNDER_VOLTAGE = "under-voltage"
BITS = ((0, UNDER_VOLTAGE), (1, "frequency capped"), (2, "throttled"), (3, "soft temperature limit"))
SINCE_BOOT = 16
"""The same bits, so many places higher, say what has been since boot."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Throttling:
    """``known`` is False on a machine that does not tell: then nothing is known, not: all is well."""

    known: bool
    now: tuple[str, ...] = ()
    since_boot: tuple[str, ...] = ()


def read_throttling(root: Path = Path("/")) -> Throttling:
    bits = _firmware_bits(root)
    alarm = _voltage_alarm(root)
    now = _named(bits or 0)
    if alarm and UNDER_VOLTAGE not in now:
        now = (UNDER_VOLTAGE, *now)
    return Throttling(
        known=bits is not None or alarm is not None,
        now=now,
        since_boot=_named((bits or 0) >> SINCE_BOOT),
    )


def _named(bits: int) -> tuple[str, ...]:
    return tuple(name for place, name in BITS if bits >> place & 1)


def _firmware_bits(root: Path) -> int | None:
    for path in sysfs.entries(root / "sys/devices/platform", "soc*/soc*:firmware/get_throttled"):
        bits = sysfs.number(path, base=16)
        if bits is not None:
            return bits
    return None


def _voltage_alarm(root: Path) -> bool | None:
    for folder in sysfs.entries(root / "sys/class/hwmon", "hwmon*"):
        if sysfs.line(folder / "name") == "rpi_volt":
            alarm = sysfs.number(folder / "in0_lcrit_alarm")
            return None if alarm is None else bool(alarm)
    return None
