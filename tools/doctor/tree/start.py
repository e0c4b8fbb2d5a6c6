"""Would the agent start with this config and bundle?"""

from dataclasses import dataclass

from tools.doctor.finding import Finding


@dataclass(frozen=True, kw_only=True, slots=True)
class StartFacts:
    """Why it would not, by whose fault it is."""

    config: str
    """The path of agent.yaml."""
    bundle: str
    config_problems: tuple[str, ...] = ()
    bundle_problems: tuple[str, ...] = ()
    machine_problem: str = ""


def examine(facts: StartFacts) -> list[Finding]:
    edit = f"correct it in {facts.config} (docs/agent.md)"
    found = [_wrong("config", problem, edit) for problem in facts.config_problems]
    found += [
        _wrong("bundle", problem, f"litewatch inspect {facts.bundle}") for problem in facts.bundle_problems
    ]
    if facts.machine_problem:
        found.append(_wrong("runtime", facts.machine_problem, f"litewatch check {facts.bundle}"))
    return found


def _wrong(subject: str, problem: str, command: str) -> Finding:
    cause = f"the agent would not start: {problem}"
    return Finding(subject=subject, verdict="wrong", cause=cause, commands=(command,))
