"""Whole processes measured from outside, by the operating system's own accounting."""

import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass

from agent.errors import MachineError


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """One finished process: user and system time, peak resident memory, time to its first line."""

    cpu_s: float
    wall_s: float
    peak_rss_mib: float
    first_line_s: float


def measure(command: Sequence[str]) -> Run:
    """Run ``command`` to its end. Raises MachineError with its last words when it fails."""
    begin = time.monotonic()
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert child.stdout is not None and child.stderr is not None
    child.stdout.readline()
    first_line_s = time.monotonic() - begin
    child.stdout.read()
    said = child.stderr.read().decode(errors="replace")
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise MachineError(f"{' '.join(command)} failed with {child.returncode}: {said[-800:]}")
    return Run(
        cpu_s=usage.ru_utime + usage.ru_stime,
        wall_s=time.monotonic() - begin,
        peak_rss_mib=usage.ru_maxrss / 1024,
        first_line_s=first_line_s,
    )
