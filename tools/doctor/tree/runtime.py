"""Python, numpy, OpenCV and the TFLite runtimes: do they fit each other?"""

from dataclasses import dataclass

from tools.doctor.finding import Finding

SUBJECT = "runtime"


@dataclass(frozen=True, kw_only=True, slots=True)
class RuntimeTried:
    """One TFLite runtime that was asked to run a model; ``problem`` and ``install`` are "" if it did."""

    name: str
    version: str | None
    """None: not installed."""
    problem: str = ""
    install: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class RuntimeFacts:
    python: str
    bits: int
    numpy: str | None
    opencv_problem: str
    """What importing it in a process of its own said; "" when it went well."""
    tried: tuple[RuntimeTried, ...]
    """Those that the config allows, in the order in which the agent would take them."""


def examine(facts: RuntimeFacts) -> list[Finding]:
    found = []
    if facts.bits < 64:
        found.append(
            Finding(
                subject=SUBJECT,
                verdict="wrong",
                cause=f"this Python has {facts.bits} bits; OpenCV and the runtimes come for 64 bits only",
                commands=("install the 64-bit Raspberry Pi OS",),
                detail="the kernel may have 64 bits while its programs have 32: getconf LONG_BIT tells",
            )
        )
    found += _runtimes(facts)
    if facts.opencv_problem:
        found.append(_opencv(facts))
    return found


def _runtimes(facts: RuntimeFacts) -> list[Finding]:
    pairing = f"with numpy {facts.numpy} on Python {facts.python}"
    working = [one for one in facts.tried if one.version and not one.problem]
    broken = [one for one in facts.tried if one.version and one.problem]
    found = [
        Finding(
            subject=SUBJECT,
            verdict="notice" if working else "wrong",
            cause=f"{one.name} {one.version} {pairing} does not work: {one.problem}",
            commands=(one.install,),
        )
        for one in broken
    ]
    if working:
        chosen = working[0]
        found.insert(
            0, Finding(subject=SUBJECT, verdict="ok", cause=f"{chosen.name} {chosen.version} {pairing}")
        )
    elif not broken:
        names = " nor ".join(one.name for one in facts.tried)
        found.append(
            Finding(
                subject=SUBJECT,
                verdict="wrong",
                cause=f"no TFLite runtime is installed ({'neither ' if ' nor ' in names else ''}{names})",
                commands=(facts.tried[0].install,),
            )
        )
    return found


def _opencv(facts: RuntimeFacts) -> Finding:
    commands: tuple[str, ...] = ("pip install --force-reinstall opencv-python-headless",)
    cause = "OpenCV cannot be imported"
    if "libGL" in facts.opencv_problem:
        cause = "OpenCV is the build for desktops and misses its window libraries"
        commands = ("pip uninstall -y opencv-python", "pip install opencv-python-headless")
    elif "_ARRAY_API" in facts.opencv_problem or "numpy" in facts.opencv_problem.lower():
        numpy_1 = (facts.numpy or "").startswith("1.")
        cause = f"OpenCV was built for another numpy than {facts.numpy}"
        commands = ("pip install 'opencv-python-headless<4.12'" if numpy_1 else commands[0],)
    return Finding(
        subject=SUBJECT, verdict="wrong", cause=cause, commands=commands, detail=facts.opencv_problem
    )
