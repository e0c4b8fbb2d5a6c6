"""Whole processes measured from outside, by the operating system's own accounting."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.errors import MachineError

LAUNCHER = Path(__file__).with_name("launch.py")


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One finished process: user and system time, peak resident memory, time to its first line."""

    cpu_s: float
    wall_s: float
    peak_rss_mib: float
    first_line_s: float


def measure(command: Sequence[str]) -> Run:
    """Run ``command`` to its end. Raises MachineError with its last words when it fails."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", str(LAUNCHER), *command], capture_output=True, text=True
    )
    if done.returncode:
        raise MachineError(f"{' '.join(command)} cannot be run: {done.stderr[-400:]}")
    found = json.loads(done.stdout)
    if found["code"]:
        raise MachineError(f"{' '.join(command)} failed with {found['code']}: {found['last_words']}")
    return Run(
        cpu_s=found["cpu_s"],
        wall_s=found["wall_s"],
        peak_rss_mib=found["peak_rss_mib"],
        first_line_s=found["first_line_s"],
    )
