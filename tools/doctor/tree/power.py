"""Under-voltage and heat of a Raspberry Pi."""

from agent.device.throttling import UNDER_VOLTAGE, Throttling
from tools.doctor.finding import Finding, Verdict

SUBJECT = "power"
BETTER = "use the power supply made for this Pi, with its own cable, and no unpowered hub"


def examine(facts: Throttling) -> list[Finding]:
    if not facts.known:
        return [Finding(subject=SUBJECT, verdict="not checked", cause="this machine does not tell")]
    found = []
    if UNDER_VOLTAGE in facts.now:
        found.append(
            _finding("wrong", "under-voltage now: the power supply or its cable is too weak", BETTER)
        )
    elif UNDER_VOLTAGE in facts.since_boot:
        found.append(_finding("wrong", "there was under-voltage since boot", BETTER))
    heat = [name for name in facts.now if name != UNDER_VOLTAGE]
    past = [name for name in facts.since_boot if name not in (UNDER_VOLTAGE, *heat)]
    if heat:
        found.append(_finding("notice", f"now: {', '.join(heat)}", "give the processor a fan or more air"))
    if past:
        found.append(_finding("notice", f"since boot: {', '.join(past)}", "vcgencmd measure_temp"))
    return found or [
        Finding(subject=SUBJECT, verdict="ok", cause="no under-voltage, no throttling since boot")
    ]


def _finding(verdict: Verdict, cause: str, command: str) -> Finding:
    return Finding(subject=SUBJECT, verdict=verdict, cause=cause, commands=(command,))
