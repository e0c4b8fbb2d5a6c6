"""What is tried out in a process of its own, because it must not take the agent down: the accuracy ladder
on request, and a new agent.yaml with its bundle.

The ladder belongs to another package and needs other memory limits than the agent. Its process borrows a
hardware delegate through the control socket and publishes its result itself.
"""

import json
import signal
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from agent.plain_text import plain_text

WITHIN_S = 1800.0
REHEARSED_WITHIN_S = 45.0
"""Less than the watchdog's patience, for who waits for it."""
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
        said = "" if self._errors is None else _last_line(self._errors)
        self._errors = None
        return said


class Rehearsal:
    """Would agent.yaml and its bundle run as they are now? ``command`` prints what is wrong as a JSON list
    on its last line; whatever it dies of counts against them. At most one at a time."""

    def __init__(
        self, command: Sequence[str], *, folder: Path | None, within_s: float = REHEARSED_WITHIN_S
    ) -> None:
        """``folder`` is where the command starts."""
        self._command = command
        self._folder = folder
        self._within_s = within_s
        self._process: subprocess.Popen[bytes] | None = None
        self._files: tuple[IO[bytes], IO[bytes]] | None = None
        self._deadline_s = 0.0

    def start(self) -> None:
        """Begin, or begin anew: the files may have changed."""
        self.close()
        # Into files: nobody reads a pipe meanwhile, and a full one would stop it.
        self._files = (tempfile.TemporaryFile(), tempfile.TemporaryFile())  # noqa: SIM115  # read later
        self._deadline_s = time.monotonic() + self._within_s
        try:
            self._process = subprocess.Popen(
                self._command,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=self._files[0],
                stderr=self._files[1],
            )
        except OSError as error:
            self._files[1].write(f"cannot be started: {error.strerror}\n".encode())

    def poll(self) -> tuple[str, ...] | None:
        """None while it runs, or was never started; then once what is wrong, nothing when all is well."""
        if self._files is None:
            return None
        if self._process is not None and self._process.poll() is None:
            if time.monotonic() < self._deadline_s:
                return None
            self._end()
            return (f"trying it out took longer than {self._within_s:g} s",)
        status = None if self._process is None else self._process.returncode
        said, words = self._end()
        if status == OK:
            return _problems_in(said)
        how = plain_text(words, longest=LONGEST_REASON)
        return (f"trying it out failed: {_died_of(status)}{how}",)

    def close(self) -> None:
        if self._files is not None:
            self._end()

    def _end(self) -> tuple[str, str]:
        """The last lines it wrote; process and files are gone."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        said, words = ("", "") if self._files is None else map(_last_line, self._files)
        self._process = self._files = None
        return said, words


def _problems_in(line: str) -> tuple[str, ...]:
    try:
        return tuple(str(problem) for problem in json.loads(line))
    except (ValueError, TypeError):
        return ("trying it out failed: it did not say how it went",)


def _died_of(status: int | None) -> str:
    if status is None:
        return ""
    if status >= 0:
        return f"exit status {status}: "
    try:
        return f"{signal.Signals(-status).name}: "
    except ValueError:
        return f"signal {-status}: "


def _last_line(file: IO[bytes]) -> str:
    """The last line in ``file``, which is closed."""
    with file:
        file.seek(0)
        lines = [line for line in file.read().decode("utf-8", "replace").splitlines() if line.strip()]
    return lines[-1] if lines else ""
