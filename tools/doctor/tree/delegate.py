"""A hardware delegate that is not a Coral: only its own library can say what is wrong."""

from tools.doctor.finding import Finding
from tools.doctor.tree.tpu import Tried

SUBJECT = "delegate"


def examine(name: str, library: str, tried: Tried | None, untried: str) -> list[Finding]:
    if tried is None:
        return [Finding(subject=SUBJECT, verdict="not checked", cause=f"{name} ({library}): {untried}")]
    if not tried.problem:
        by = "the running agent uses it" if tried.by == "service" else "it works"
        return [
            Finding(subject=SUBJECT, verdict="ok", cause=f"{name} ({library}): {by}", detail=tried.detail)
        ]
    commands = ("journalctl -u litewatch -n 50",) if tried.by == "service" else (f"ldd {library}",)
    return [
        Finding(subject=SUBJECT, verdict="wrong", cause=tried.problem, commands=commands, detail=tried.detail)
    ]
