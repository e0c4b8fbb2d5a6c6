"""Can the agent keep its outbox, and is there room?"""

from dataclasses import dataclass

from tools.doctor.finding import Finding, Verdict

SUBJECT = "disk"
SCARCE_MIB = 100.0
FULL_MIB = 5.0


@dataclass(frozen=True, kw_only=True, slots=True)
class DiskFacts:
    folder: str
    """The agent's state directory."""
    exists: bool
    hidden: bool
    """Whether this user may not look into it."""
    writable: bool
    read_only: bool
    """Whether its file system is mounted for reading only."""
    free_mib: float | None
    inodes_free: int | None
    """None where the file system does not count them."""
    outbox_problem: str
    """What SQLite says against the outbox; "" when it is sound or not there yet."""
    set_aside: tuple[str, ...]
    """Damaged outboxes that were put aside."""
    outbox_max_mib: float


def examine(facts: DiskFacts) -> list[Finding]:
    if facts.hidden:
        cause = f"{facts.folder} belongs to the service and this user may not look into it"
        return [_finding("not checked", cause, "sudo litewatch doctor -c /etc/litewatch/agent.yaml")]
    blocked = _blocked(facts)
    if blocked is not None:
        return [blocked]
    found = []
    if facts.free_mib is not None and facts.free_mib < max(SCARCE_MIB, facts.outbox_max_mib):
        verdict: Verdict = "wrong" if facts.free_mib < FULL_MIB else "notice"
        room = f"{facts.free_mib:.0f} MiB free; the outbox may grow to {facts.outbox_max_mib:.0f}"
        cause = f"{facts.folder}: {room}"
        found.append(
            _finding(verdict, cause, "sudo du -xhd1 / | sort -h | tail", "sudo journalctl --vacuum-size=50M")
        )
    if facts.inodes_free is not None and facts.inodes_free < 100:
        cause = f"{facts.folder}: the file system has {facts.inodes_free} inodes left: too many small files"
        found.append(_finding("wrong", cause, "sudo du --inodes -xd2 / | sort -n | tail"))
    if facts.outbox_problem:
        cause = f"the outbox is damaged: {facts.outbox_problem}"
        found.append(
            _finding("wrong", cause, "sudo systemctl restart litewatch  # sets it aside, begins anew")
        )
    if facts.set_aside:
        cause = f"damaged outboxes were set aside: {', '.join(facts.set_aside)}; is the card failing?"
        found.append(_finding("notice", cause, "dmesg | grep -iE 'mmc|i/o error'"))
    free = "" if facts.free_mib is None else f", {facts.free_mib:.0f} MiB free"
    return found or [Finding(subject=SUBJECT, verdict="ok", cause=f"{facts.folder}{free}")]


def _blocked(facts: DiskFacts) -> Finding | None:
    """Nothing can be written there at all."""
    if facts.read_only:
        cause = f"{facts.folder} is on a file system mounted for reading only: mostly a failing card"
        return _finding(
            "wrong", cause, "dmesg | grep -iE 'mmc|ext4|i/o error'", "sudo fsck -n $(findmnt -no SOURCE /)"
        )
    if not facts.writable:
        what = "cannot be written by this user" if facts.exists else "cannot be made by this user"
        return _finding(
            "wrong", f"{facts.folder} {what}", "set device.state_dir in agent.yaml", f"ls -ld {facts.folder}"
        )
    return None


def _finding(verdict: Verdict, cause: str, *commands: str) -> Finding:
    return Finding(subject=SUBJECT, verdict=verdict, cause=cause, commands=commands)
