"""What the agent that runs here says of itself: its problems are findings, each of its own subject."""

from dataclasses import dataclass

from tools.doctor.finding import Finding

SUBJECT = "agent"
LOG = "journalctl -u litewatch -n 50"
AS_ROOT = "sudo litewatch doctor"
RESTART = "sudo systemctl restart litewatch  # to the version that is installed"
SUBJECTS = {"source": "source", "telemetry": "broker"}
"""Of the agent's problems, those that the doctor knows by a subject of its own."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Said:
    """``problems`` are the agent's own lines, ``subject: what is wrong``; ``connected``: to the broker."""

    state: str
    problems: tuple[str, ...] = ()
    connected: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentFacts:
    running: bool
    said: Said | None
    """None: it did not tell its state."""
    silent: str
    """Why it told nothing at all; "" when it did, or when only its state is unknown."""
    config: str
    """The path of agent.yaml, for commands."""
    bundle: str
    accelerator: str
    """The subject of its hardware delegate: tpu or delegate."""
    other: str = ""
    """The device whose agent it is, where that is not the examined one."""


def examine(facts: AgentFacts) -> list[Finding]:
    if not facts.running:
        return [Finding(subject=SUBJECT, verdict="notice", cause="no agent runs on this machine")]
    if facts.other:
        cause = f"the agent that runs here is that of {facts.other}: it has the hardware"
        return [Finding(subject=SUBJECT, verdict="notice", cause=cause, commands=(AS_ROOT,))]
    if facts.said is None:
        why = facts.silent or "does not tell its state: it is of an older version"
        cause = f"runs on this machine, and {why}"
        return [
            Finding(
                subject=SUBJECT,
                verdict="not checked",
                cause=cause,
                commands=(AS_ROOT if facts.silent else RESTART,),
            )
        ]
    if facts.said.state == "online":
        return [Finding(subject=SUBJECT, verdict="ok", cause="runs on this machine, online")]
    return [_finding(problem, facts) for problem in facts.said.problems] or [_degraded(facts.said.state)]


def _finding(problem: str, facts: AgentFacts) -> Finding:
    about, _, _ = problem.partition(":")
    subject = facts.accelerator if about == "delegate" else SUBJECTS.get(about, SUBJECT)
    cause = f"the running agent says: {problem}"
    return Finding(subject=subject, verdict="wrong", cause=cause, commands=_commands(about, facts))


def _commands(about: str, facts: AgentFacts) -> tuple[str, ...]:
    first = {
        "config": f"litewatch config {facts.config}",
        "model": f"litewatch check {facts.bundle}",
        "preprocess": f"litewatch check -c {facts.config}",
        "picture": "look at the camera: its lens, its light, its cable",
        "canary": f"litewatch check -c {facts.config}",
    }.get(about)
    return (LOG,) if first is None else (first, LOG)


def _degraded(state: str) -> Finding:
    cause = f"the running agent says that it is {state}, and not why"
    return Finding(subject=SUBJECT, verdict="wrong", cause=cause, commands=(LOG,))
