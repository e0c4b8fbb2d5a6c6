"""A Coral Edge TPU as the kernel sees it: on USB, or as a PCIe card behind the driver ``apex``.

A USB Coral shows one of two identities: 1a6e:089a since it was plugged in, and 18d1:9302 once a program
has opened it and libedgetpu has loaded its firmware. Every such change, and every reset, enumerates it
anew: its device number on the bus grows. It has no temperature that the kernel could read.

The PCIe driver's files are those of the gasket framework: ``temp`` in thousandths of a degree (older
drivers have none), ``status`` ALIVE or DEAD, ``reset_count``. A card that has died reads −87.9 °C.
"""

from dataclasses import dataclass
from pathlib import Path

from agent.device import sysfs

UNINITIALISED, INITIALISED = ("1a6e", "089a"), ("18d1", "9302")
PCI_VENDOR, PCI_DEVICE = "0x1ac1", "0x089a"
SUPERSPEED_MBPS = 5000
COLDEST_C = -40.0
"""The chip's own limit; what reads colder is no temperature, but a chip that no longer answers."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UsbCoral:
    """One on USB. ``place`` is its port as the kernel numbers it (``2-1``), ``node`` its device file."""

    place: str
    initialised: bool
    speed_mbps: int | None
    device_number: int | None
    node: str

    @property
    def problem(self) -> str:
        """ "" when there is nothing to say against it."""
        if self.speed_mbps is not None and self.speed_mbps < SUPERSPEED_MBPS:
            return (
                f"runs at {self.speed_mbps} Mbit/s on port {self.place}: a USB 2 port or cable holds it back"
            )
        return ""


@dataclass(frozen=True, kw_only=True, slots=True)
class PcieCoral:
    """One on PCIe. ``place`` is its address; the rest is None without the driver."""

    place: str
    node: str | None = None
    temperature_c: float | None = None
    status: str | None = None
    resets: int | None = None

    @property
    def dead(self) -> bool:
        too_cold = self.temperature_c is not None and self.temperature_c < COLDEST_C
        return too_cold or self.status == "DEAD"

    @property
    def problem(self) -> str:
        """ "" when there is nothing to say against it."""
        if self.node is None:
            return f"no driver has taken the card at {self.place}: /dev/apex_0 is missing"
        if not self.dead:
            return ""
        said = "" if self.temperature_c is None else f": its sensor reads {self.temperature_c:.1f} °C"
        return f"dead{said}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Corals:
    """Every Coral of this machine."""

    usb: tuple[UsbCoral, ...]
    pcie: tuple[PcieCoral, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class CoralVitals:
    """What ``health`` says of the Coral, in its words."""

    tpu: str
    """``ok``, ``absent``, or what is wrong."""
    temperature_c: float | None = None
    usb_mbps: int | None = None
    resets: int | None = None


def read_corals(root: Path = Path("/")) -> Corals:
    return Corals(usb=_on_usb(root), pcie=_on_pcie(root))


class CoralWatch:
    """Reads the Coral again and again, and counts how often it was enumerated anew meanwhile.

    The change of identity when a program first opens a USB Coral is not counted. Resets between two
    readings cannot be told apart: they count as one.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._first: Corals | None = None
        self._usb: tuple[UsbCoral, ...] = ()
        self._resets = 0

    def read(self) -> CoralVitals:
        corals = read_corals(self._root)
        if self._first is None:
            self._first = corals
        else:
            self._resets += _enumerated_anew(self._usb, corals.usb)
        # One that is away now is still what its successor on the bus is compared with.
        self._usb = corals.usb or self._usb
        problems = [stick.problem for stick in corals.usb] + [card.problem for card in corals.pcie]
        if not corals.usb and not corals.pcie:
            return CoralVitals(tpu="absent", resets=self._resets)
        speeds = [coral.speed_mbps for coral in corals.usb if coral.speed_mbps is not None]
        return CoralVitals(
            tpu="; ".join(filter(None, problems)) or "ok",
            temperature_c=_hottest(corals.pcie),
            usb_mbps=min(speeds, default=None),
            resets=self._resets + _card_resets(self._first.pcie, corals.pcie),
        )


def _enumerated_anew(before: tuple[UsbCoral, ...], now: tuple[UsbCoral, ...]) -> int:
    """How many of ``now`` have been enumerated since, other than by a program that opened them first."""
    known = {(coral.place, coral.device_number, coral.initialised) for coral in before}
    fresh = [coral for coral in now if (coral.place, coral.device_number, coral.initialised) not in known]
    there = {(coral.place, coral.device_number) for coral in now}
    awaited = sum(
        not coral.initialised and (coral.place, coral.device_number) not in there for coral in before
    )
    opened = min(awaited, sum(coral.initialised for coral in fresh))
    return len(fresh) - opened


def _card_resets(first: tuple[PcieCoral, ...], now: tuple[PcieCoral, ...]) -> int:
    then = {card.place: card.resets or 0 for card in first}
    return sum(max(0, (card.resets or 0) - then.get(card.place, 0)) for card in now)


def _hottest(cards: tuple[PcieCoral, ...]) -> float | None:
    return max((card.temperature_c for card in cards if card.temperature_c is not None), default=None)


def _on_usb(root: Path) -> tuple[UsbCoral, ...]:
    found = []
    for folder in sysfs.entries(root / "sys/bus/usb/devices", "*"):
        identity = (sysfs.line(folder / "idVendor"), sysfs.line(folder / "idProduct"))
        if identity not in (UNINITIALISED, INITIALISED):
            continue
        bus, device = sysfs.number(folder / "busnum"), sysfs.number(folder / "devnum")
        found.append(
            UsbCoral(
                place=folder.name,
                initialised=identity == INITIALISED,
                speed_mbps=sysfs.number(folder / "speed"),
                device_number=device,
                node=f"/dev/bus/usb/{bus or 0:03d}/{device or 0:03d}",
            )
        )
    return tuple(found)


def _on_pcie(root: Path) -> tuple[PcieCoral, ...]:
    taken = {}
    for folder in sysfs.entries(root / "sys/class/apex", "apex_*"):
        place = sysfs.line(folder / "pci_address") or _pci_place(folder)
        degrees = sysfs.number(folder / "temp")
        taken[place] = PcieCoral(
            place=place,
            node=f"/dev/{folder.name}",
            temperature_c=None if degrees is None else round(degrees / 1000, 1),
            status=sysfs.line(folder / "status"),
            resets=sysfs.number(folder / "reset_count"),
        )
    for folder in sysfs.entries(root / "sys/bus/pci/devices", "*"):
        identity = (sysfs.line(folder / "vendor"), sysfs.line(folder / "device"))
        if identity == (PCI_VENDOR, PCI_DEVICE):
            taken.setdefault(folder.name, PcieCoral(place=folder.name))
    return tuple(taken.values())


def _pci_place(folder: Path) -> str:
    """The card's address by the driver's link to it."""
    try:
        return (folder / "device").resolve(strict=True).name
    except OSError:
        return folder.name
