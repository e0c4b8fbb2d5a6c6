"""Is the time right enough for certificates, and for messages to be dated?"""

from dataclasses import dataclass

from tools.doctor.finding import Finding

SUBJECT = "clock"
SLACK_S = 86_400.0


@dataclass(frozen=True, kw_only=True, slots=True)
class ClockFacts:
    """Unix seconds."""

    now_s: float
    synced: bool
    """Whether the kernel says that something disciplines its clock."""
    written_s: float
    """When the newest of Litewatch's own files here was written: now cannot be earlier."""
    tls: bool
    """Whether agent.yaml has certificates to be checked."""


def examine(facts: ClockFacts) -> list[Finding]:
    behind_s = facts.written_s - facts.now_s
    commands = ("sudo timedatectl set-ntp true", "timedatectl timesync-status")
    if behind_s > SLACK_S:
        cause = f"the clock is at least {behind_s / 86_400:.0f} days behind"
        if facts.tls:
            cause += ": the broker's certificate is not valid yet"
        return [Finding(subject=SUBJECT, verdict="wrong", cause=cause, commands=commands)]
    if not facts.synced:
        return [
            Finding(
                subject=SUBJECT,
                verdict="notice",
                cause="nothing keeps the clock: its time may be wrong, and messages are marked so",
                commands=commands,
            )
        ]
    return [Finding(subject=SUBJECT, verdict="ok", cause="synchronised")]
