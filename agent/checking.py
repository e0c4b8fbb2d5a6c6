"""The accuracy ladder on request, as a process of its own: the ladder belongs to another package, needs
other memory limits than the agent, and must not take it down.

The process borrows a hardware delegate through the control socket and publishes its result itself.
"""

import subprocess
import tempfile
import time
from collections.abc import Sequence
from typing import IO

from agent.plain_text import plain_text

WITHIN_S = 1800.0
HARMFUL, OK = 1, 0
LONGEST_REASON = 300


class Checking:
    """At most one check at a time; ``poll`` says when one has failed to run."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: IO[bytes] | None = None
        self._deadline_s = 0.0

    @property
    def running(self) -> bool:
        return self._process is not None

    def start(self, transaction: str) -> None:
        """Its result will carry ``transaction``. Raises OSError when it cannot be started."""
        # Into a file: nobody reads a pipe meanwhile, and a full one would stop the check.
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # read when the process has ended
        self._process = subprocess.Popen(
            [*self._command, "--transaction", transaction],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=self._errors,
        )
        self._deadline_s = time.monotonic() + WITHIN_S

    def poll(self) -> str | None:
        """None while it runs or none does; "" when it ended with a result, otherwise what went wrong."""
        process = self._process
        if process is None:
            return None
        if process.poll() is None:
            if time.monotonic() < self._deadline_s:
                return None
            process.kill()
            process.wait()
        self._process = None
        said = self._last_words()
        if process.returncode in (OK, HARMFUL):
            return ""
        return plain_text(said or f"exit status {process.returncode}", longest=LONGEST_REASON)

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            self._last_words()

    def _last_words(self) -> str:
        """The last line it wrote, and the file is gone."""
        if self._errors is None:
            return ""
        with self._errors as file:
            file.seek(0)
            lines = [line for line in file.read().decode("utf-8", "replace").splitlines() if line.strip()]
        self._errors = None
        return lines[-1] if lines else ""
