"""Why no frame comes from the source."""

from dataclasses import dataclass

from tools.doctor.finding import Finding

SUBJECT = "source"
CSI_DRIVERS = ("unicam", "rp1-cfe")
"""Capture nodes of a Raspberry Pi's ribbon-cable camera: raw data, no pictures."""
CODECS = ("bcm2835-codec", "bcm2835-isp", "pispbe", "rpi-hevc-dec", "rpivid")
"""Video nodes of a Raspberry Pi that take pictures and give others."""
USE_RPICAM = ("set source: {kind: rpicam} in agent.yaml", "rpicam-hello --list-cameras")


def gives_pictures(driver: str) -> bool:
    """Whether a video node that the kernel calls ``driver`` may be a camera of kind ``camera``."""
    return not driver.startswith((*CSI_DRIVERS, *CODECS))


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
    """Device files of all cameras here that give pictures."""
    others: tuple[str, ...]
    """Video nodes that do not: codecs, and the raw side of ribbon-cable cameras."""
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
        return _missing(facts)
    if not gives_pictures(facts.node_driver):
        raw = facts.node_driver.startswith(CSI_DRIVERS)
        what = "the raw side of a ribbon-cable camera" if raw else "a codec, not a camera"
        cause = f"{facts.node} is {what} ({facts.node_driver}): no pictures"
        if facts.cameras:
            return (cause, f"set source.device: {facts.cameras[0]} in agent.yaml", "v4l2-ctl --list-devices")
        return (cause, *USE_RPICAM)
    if not facts.node_open and not facts.agent_running:
        return (f"this user may not open {facts.node}", "sudo usermod -aG video $USER && newgrp video")
    return None


def _missing(facts: SourceFacts) -> tuple[str, ...]:
    if facts.cameras:
        cause = f"{facts.node} does not exist; here are {', '.join(facts.cameras)}"
    elif facts.others:
        cause = f"{facts.node} does not exist; no camera is here, unless one on the ribbon cable"
        return (cause, *USE_RPICAM, "v4l2-ctl --list-devices")
    else:
        cause = f"{facts.node} does not exist; no camera is here"
    return (cause, "v4l2-ctl --list-devices", "dmesg | grep -i video")


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
