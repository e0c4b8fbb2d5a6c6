"""What the doctor says of one subject."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

Verdict: TypeAlias = Literal["ok", "notice", "wrong", "not checked"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """``cause`` in one line; ``commands`` to type in this order; ``detail`` is what was seen.

    ``notice`` is worth knowing and keeps nothing from working; ``not checked`` says why it was not.
    """

    subject: str
    verdict: Verdict
    cause: str
    commands: tuple[str, ...] = ()
    detail: str = ""


def verdict_of(findings: list[Finding]) -> Literal["ok", "wrong"]:
    return "wrong" if any(finding.verdict == "wrong" for finding in findings) else "ok"
