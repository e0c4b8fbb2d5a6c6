"""Why there is no Edge TPU, or why it does not work: from the socket to the library.

The order is that of the chain: is it on the bus, does its driver have it, may this user open it, can the
library be loaded, does it run a model? The first link that is broken is the cause; what could have
broken it (power, a USB 2 port, 16 K pages) is said beside it.
"""

from dataclasses import dataclass, replace

from agent.device.coral import Corals, PcieCoral, UsbCoral
from agent.device.throttling import UNDER_VOLTAGE, Throttling
from tools.doctor.finding import Finding

SUBJECT = "tpu"
LARGE_PAGES = 16384
RULES = (
    "sudo cp systemd/99-litewatch-coral.rules /etc/udev/rules.d/",
    "sudo groupadd -rf litewatch-tpu && sudo usermod -aG litewatch-tpu $USER",
    "sudo udevadm control --reload && sudo udevadm trigger",
)
RULES_BY_INSTALLER = ("sudo systemd/install.sh --coral  # in a checkout", "sudo litewatch doctor")
INSTALLER = "opt/litewatch/current/share/litewatch/systemd/install.sh"
RULES_OF_SERVICE = (f"sudo /{INSTALLER} --coral", "sudo litewatch doctor")
"""Where the service is installed its installer looks after rules and group."""
FOUR_K = (
    "echo kernel=kernel8.img | sudo tee -a /boot/firmware/config.txt",
    "sudo reboot",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Tried:
    """What came of asking for the delegate. ``by`` is who asked: ``service`` (the running agent, whose
    device it is) or ``doctor`` (a process of our own)."""

    by: str
    problem: str = ""
    """"" when it ran."""
    detail: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class TpuFacts:
    configured: bool
    """Whether agent.yaml says ``delegate: edgetpu``."""
    device: str
    """Its option ``device``: auto, usb…, pci…."""
    library: str
    corals: Corals
    closed: tuple[str, ...]
    """Device files of them that this user may not open for reading and writing."""
    missing: tuple[str, ...]
    """Those that are not there at all."""
    page_size: int
    throttling: Throttling
    apex_loaded: bool
    """Whether the kernel has the module ``apex``."""
    tried: Tried | None
    """None: nobody has asked for it."""
    untried: str
    """Why not, then."""
    holder: str
    """The process that has the device open, where that can be seen; else ""."""
    listed: tuple[str, ...] | None = None
    """What the genuine pycoral lists; None without it."""
    rules: tuple[str, ...] = RULES
    """What to type for access to the device."""


def examine(facts: TpuFacts) -> list[Finding]:
    usb, pcie = facts.corals.usb, facts.corals.pcie
    if not usb and not pcie:
        return [_absent(facts)] if facts.configured else []
    if not facts.configured:
        return [
            Finding(
                subject=SUBJECT,
                verdict="notice",
                cause=f"{_names(facts)} is here and agent.yaml does not use it",
                commands=("set model.delegate: edgetpu in agent.yaml",),
            )
        ]
    if facts.tried is not None and facts.tried.by == "service" and not facts.tried.problem:
        # The agent has it open: what this user may is beside the point.
        facts = replace(facts, closed=())
    wanted = facts.device.partition(":")[0]
    if (wanted == "usb" and not usb) or (wanted == "pci" and not pcie):
        return [_other_bus(facts)]
    broken = [*(() if wanted == "usb" else _cards(facts)), *(() if wanted == "pci" else _sticks(facts))]
    if any(finding.verdict == "wrong" for finding in broken):
        return broken
    return [*_tried(facts), *broken]


def _absent(facts: TpuFacts) -> Finding:
    if facts.device.startswith("pci"):
        return _wrong(
            "no Coral card is on the PCIe bus (id 1ac1:089a)",
            "lspci -nn | grep 089a",
            "echo dtparam=pciex1 | sudo tee -a /boot/firmware/config.txt && sudo reboot",
            detail="a Raspberry Pi 5 needs dtparam=pciex1 and a ribbon cable that sits straight",
        )
    starved = UNDER_VOLTAGE in (*facts.throttling.now, *facts.throttling.since_boot)
    return _wrong(
        "no Coral is on USB or PCIe"
        + (", and this machine is short of power: a Coral takes up to 900 mA" if starved else ""),
        *(("use a stronger power supply, or a hub with its own",) if starved else ()),
        "lsusb -t",
        "dmesg | grep -i usb | tail",
        detail="neither 1a6e:089a nor 18d1:9302: try the cable it came with, another port, a powered hub",
    )


def _other_bus(facts: TpuFacts) -> Finding:
    return _wrong(
        f"agent.yaml wants a Coral on {facts.device}, and the one that is here is {_names(facts)}",
        "set model.delegate.device: auto in agent.yaml",
    )


def _cards(facts: TpuFacts) -> list[Finding]:
    return [_card(card, facts) for card in facts.corals.pcie if _card_is_broken(card, facts)]


def _card_is_broken(card: PcieCoral, facts: TpuFacts) -> bool:
    blocked = card.node in facts.closed or card.node in facts.missing
    return card.node is None or card.dead or blocked or facts.page_size >= LARGE_PAGES


def _card(card: PcieCoral, facts: TpuFacts) -> Finding:
    if facts.page_size >= LARGE_PAGES:
        return _wrong(
            f"this kernel uses pages of {facts.page_size // 1024} kB, and a Coral on PCIe needs 4 kB",
            *FOUR_K,
            detail="the default kernel of a Raspberry Pi 5; getconf PAGESIZE tells",
        )
    if card.node is None:
        install = ("build google/gasket-driver by dkms (docs/delegates.md)",)
        return _wrong(
            f"the card at {card.place} has no driver: /dev/apex_0 is missing, "
            + ("though the module apex is loaded" if facts.apex_loaded else "the module apex is not loaded"),
            *(("dmesg | grep -i apex",) if facts.apex_loaded else (*install, "sudo modprobe apex")),
        )
    if card.node in facts.missing:
        return _wrong(
            f"{card.node} is missing though the driver has the card",
            "sudo udevadm trigger",
            "ls -l /dev/apex_*",
        )
    if card.dead:
        said = f" (its sensor reads {card.temperature_c:g} °C)" if card.temperature_c is not None else ""
        return _wrong(
            f"the card at {card.place} has died{said}: it answers no more until power is cut",
            "sudo poweroff",
            detail="mostly overheating: give it a heat sink or air before it is used again",
        )
    return _wrong(f"this user may not open {card.node}", *facts.rules)


def _sticks(facts: TpuFacts) -> list[Finding]:
    found = []
    for stick in facts.corals.usb:
        if stick.node in facts.closed:
            found.append(
                _wrong(
                    f"this user may not open {stick.node}, the Coral on USB port {stick.place}",
                    *facts.rules,
                    detail="it has two ids, 1a6e:089a and 18d1:9302: a rule must name both",
                )
            )
        elif stick.problem:
            found.append(
                Finding(
                    subject=SUBJECT,
                    verdict="notice",
                    cause=f"the Coral {stick.problem}; it works, slowly",
                    commands=("plug it into a blue USB 3 port with its own cable", "lsusb -t"),
                )
            )
    return found


def _tried(facts: TpuFacts) -> list[Finding]:
    tried = facts.tried
    if tried is None:
        return [Finding(subject=SUBJECT, verdict="not checked", cause=f"{_names(facts)}: {facts.untried}")]
    if not tried.problem:
        by = "the running agent uses it" if tried.by == "service" else "it ran a model"
        listed = f"; pycoral lists {', '.join(facts.listed) or 'none'}" if facts.listed is not None else ""
        cause = f"{_names(facts)}: {by}{listed}"
        return [Finding(subject=SUBJECT, verdict="ok", cause=cause, detail=tried.detail)]
    if tried.by == "service":
        return [
            _wrong(
                f"the running agent says of it: {tried.problem}",
                "journalctl -u litewatch -n 50",
                detail=tried.detail,
            )
        ]
    return [_why_not(facts, tried)]


def _why_not(facts: TpuFacts, tried: Tried) -> Finding:
    """It is there, this user may open it, and yet it did not run."""
    problem = tried.problem
    if "cannot open shared object" in problem or "install libedgetpu" in problem:
        return _wrong(
            f"the Coral's library {facts.library} is not installed",
            "see docs/delegates.md for the package that fits this system",
            f"ldconfig -p | grep {facts.library}",
            detail=problem,
        )
    if facts.holder:
        return _wrong(
            f"another process has the Coral: {facts.holder}; it serves one at a time",
            "systemctl stop litewatch  # or whatever that process is",
            detail=problem,
        )
    if "signal" in problem or "resolved" in problem or "lacks tflite_plugin" in problem:
        return _wrong(
            "the Coral's library and the TFLite runtime do not fit each other",
            "take a pair of versions from the table in docs/delegates.md",
            detail=problem,
        )
    return _unexplained(facts, problem)


def _unexplained(facts: TpuFacts, problem: str) -> Finding:
    fresh = [stick for stick in facts.corals.usb if not stick.initialised]
    starved = UNDER_VOLTAGE in (*facts.throttling.now, *facts.throttling.since_boot)
    commands = []
    if starved:
        commands.append("use a stronger power supply, or a hub with its own: a Coral takes up to 900 mA")
    if any(stick.problem for stick in fresh):
        commands.append("plug it into a blue USB 3 port with its own cable")
    if facts.page_size >= LARGE_PAGES:
        commands += FOUR_K
    if fresh:
        return _wrong(
            f"the Coral on USB port {fresh[0].place} still has the id 1a6e:089a: its firmware was not loaded",
            *commands,
            "unplug it, plug it in again and run litewatch doctor once more",
            "dmesg | tail -20",
            detail=f"{problem}; in a virtual machine or container both ids must be passed through",
        )
    return _wrong(
        f"the Coral does not work: {problem}",
        *commands,
        "unplug it, plug it in again and run litewatch doctor once more",
        "dmesg | tail -20",
    )


def _names(facts: TpuFacts) -> str:
    named = [_stick_name(stick) for stick in facts.corals.usb]
    named += [f"a Coral card at {card.place}" for card in facts.corals.pcie]
    return " and ".join(named)


def _stick_name(stick: UsbCoral) -> str:
    return f"a Coral on USB port {stick.place}" + ("" if stick.initialised else " (id 1a6e:089a)")


def _wrong(cause: str, *commands: str, detail: str = "") -> Finding:
    return Finding(subject=SUBJECT, verdict="wrong", cause=cause, commands=commands, detail=detail)
