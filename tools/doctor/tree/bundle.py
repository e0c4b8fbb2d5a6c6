"""Is the bundle whole, and does its model give the recorded answers here?"""

from dataclasses import dataclass

from tools.doctor.finding import Finding

SUBJECT = "bundle"


@dataclass(frozen=True, kw_only=True, slots=True)
class BundleFacts:
    path: str
    problems: tuple[str, ...]
    """Why it cannot be used."""
    has_edgetpu: bool
    needs_edgetpu: bool
    """Whether the configured delegate runs the model compiled for the Edge TPU."""
    answer: str | None
    """Why its golden inputs do not come out right on this CPU, "" when they do; None: not run."""


def examine(facts: BundleFacts) -> list[Finding]:
    if facts.problems:
        return [
            Finding(
                subject=SUBJECT, verdict="wrong", cause=problem, commands=(f"litewatch inspect {facts.path}",)
            )
            for problem in facts.problems
        ]
    found = []
    if facts.needs_edgetpu and not facts.has_edgetpu:
        found.append(
            Finding(
                subject=SUBJECT,
                verdict="wrong",
                cause=f"{facts.path} has no model for the Edge TPU, which agent.yaml asks for",
                commands=(
                    "edgetpu_compiler model.tflite",
                    "litewatch pack model.tflite --edgetpu model_edgetpu.tflite …",
                ),
            )
        )
    if facts.answer:
        found.append(
            Finding(
                subject=SUBJECT,
                verdict="wrong",
                cause=f"golden inputs do not come out as recorded: {facts.answer}",
                commands=(f"litewatch check {facts.path}",),
            )
        )
    said = "whole; not run" if facts.answer is None else "whole, and its golden inputs come out right"
    return found or [Finding(subject=SUBJECT, verdict="ok", cause=f"{facts.path}: {said}")]
