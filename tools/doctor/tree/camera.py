"""Why no frame comes from the source."""

from dataclasses import dataclass

from tools.doctor.finding import Finding

SUBJECT = "source"
CSI_DRIVERS = ("unicam", "rp1-cfe", "bcm2835-isp", "pispbe", "rpivid")


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceFacts:
    kind: str
    place: str
    """What it reads, without secrets."""
    node: str | None
    """The camera's device file; None for another kind."""
    node_exists: bool
    node_open: bool
    """Whether this user may read and write it."""
    node_driver: str
    """What the kernel calls the device behind it; "" unknown."""
    cameras: tuple[str, ...]
    """Device files of all cameras here."""
    program: str | None
    """The program that delivers the frames (rpicam-vid); None for another kind."""
    program_found: bool
    agent_running: bool
    """A camera serves one process: then it was not opened here."""
    problem: str | None
    """Why no frame came, "" when one did; None: not tried."""


def examine(facts: SourceFacts) -> list[Finding]:
    for cause, *commands in filter(None, (_camera(facts), _program(facts))):
        return [Finding(subject=SUBJECT, verdict="wrong", cause=cause, commands=tuple(commands))]
    if facts.problem is None:
        why = "the running agent has it" if facts.agent_running else "it was not tried"
        cause = f"{facts.kind} {facts.place}: {why}"
        return [Finding(subject=SUBJECT, verdict="not checked", cause=cause)]
    if facts.problem:
        return [
            Finding(
                subject=SUBJECT,
                verdict="wrong",
                cause=f"{facts.kind}: {facts.problem}",
                commands=_advice(facts),
            )
        ]
    return [Finding(subject=SUBJECT, verdict="ok", cause=f"{facts.kind} {facts.place}: a frame came")]


def _camera(facts: SourceFacts) -> tuple[str, ...] | None:
    if facts.node is None:
        return None
    if not facts.node_exists:
        others = f"; here are {', '.join(facts.cameras)}" if facts.cameras else "; no camera is here"
        return (f"{facts.node} does not exist{others}", "v4l2-ctl --list-devices", "dmesg | grep -i video")
    if any(name in facts.node_driver for name in CSI_DRIVERS):
        return (
            f"{facts.node} is the raw side of a ribbon-cable camera ({facts.node_driver}): no pictures",
            "set source: {kind: rpicam} in agent.yaml",
            "rpicam-hello --list-cameras",
        )
    if not facts.node_open:
        return (f"this user may not open {facts.node}", "sudo usermod -aG video $USER && newgrp video")
    return None


def _program(facts: SourceFacts) -> tuple[str, ...] | None:
    if facts.program is None or facts.program_found:
        return None
    return (
        f"{facts.program} is not installed",
        "sudo apt install rpicam-apps",
        "rpicam-hello --list-cameras",
    )


def _advice(facts: SourceFacts) -> tuple[str, ...]:
    if facts.node is not None:
        return (f"fuser -v {facts.node}", "v4l2-ctl --list-formats-ext -d " + facts.node)
    if facts.program is not None:
        return ("rpicam-hello --list-cameras", "check the ribbon cable with the power off")
    if facts.kind == "stream":
        return ("ffprobe -v error -show_streams URL", "check address, user and password in source.url")
    if facts.kind == "mqtt":
        return ("mosquitto_sub -h HOST -t TOPIC -C 1 -W 10 | wc -c",)
    return (f"ls -l {facts.place}",)
