"""A child process of the agent that answers messages, and can be got rid of.

What it is made for: a driver in it may crash, hang or be stuck in the kernel. Nothing here waits longer
than it says, and nothing is left behind: neither the process (a zombie is reaped) nor a file.
"""

import contextlib
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence

from agent.plain_text import plain_text

CLOSING_S = 2.0
"""A child that was told to go and has not after this is killed."""
_KEPT = 4096
_WORDS_S = 1.0
"""A process that the child left behind may hold its standard error open for ever."""
_LONGEST_WORDS = 300


class GoneError(Exception):
    """The child did not answer; the message says what became of it."""


class Spawned:
    """``python -P -m module CHANNEL DESCRIPTOR LIFELINE``, with a channel of messages to it.

    ``descriptor`` is handed on. The child finds the packages where this process does, except in the
    working directory. The lifeline is a pipe that closes when this process or this object ends.
    """

    def __init__(self, module: str, descriptor: int) -> None:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        read_end, write_end = os.pipe()
        self._lifeline = os.fdopen(write_end, "wb", buffering=0)
        self._words = _Words()
        self._lock = threading.Lock()
        handed = (theirs.fileno(), descriptor, read_end)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", module, *map(str, handed)],
                pass_fds=handed,
                stdin=subprocess.DEVNULL,
                stdout=self._words.inlet,
                stderr=self._words.inlet,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(os.path.isabs, sys.path))},
            )
        except OSError as error:
            raise GoneError(f"cannot start {sys.executable or 'Python'}: {error}") from error
        finally:
            theirs.close()
            os.close(read_end)
            self._words.close_inlet()

    @property
    def pid(self) -> int:
        return self._process.pid

    def patience(self, timeout_s: float) -> None:
        """How long ``ask`` waits from now on."""
        self._channel.settimeout(timeout_s)

    def ask(self, message: bytes, longest: int) -> bytes:
        """Its answer to ``message``. Raises GoneError, and then the child has ended or was killed."""
        try:
            self._channel.send(message)
            answer = self._channel.recv(longest)
        except TimeoutError:
            patience = self._channel.gettimeout()
            self.kill()
            raise GoneError(f"no answer within {patience:g} s") from None
        except OSError:  # the channel is broken, or was closed by another thread
            answer = b""
        if not answer:
            self.kill()
            raise GoneError(self._end())
        return answer

    def close(self) -> None:
        """Let it end in its own way, within CLOSING_S; then kill it."""
        with contextlib.suppress(OSError):
            self._channel.shutdown(socket.SHUT_WR)
        self._leave(CLOSING_S)

    def kill(self) -> None:
        # What has crashed already has a signal of its own to tell.
        self._leave(1.0 if self._hung_up() else 0.0)

    def _hung_up(self) -> bool:
        look = select.poll()
        try:
            look.register(self._channel, select.POLLRDHUP)
        except ValueError:  # closed already
            return False
        return bool(look.poll(0))

    def _leave(self, wait_s: float) -> None:
        with self._lock:
            for patience_s, last in ((wait_s, False), (CLOSING_S, True)):
                try:
                    self._process.wait(patience_s)
                    break
                except subprocess.TimeoutExpired:
                    # Stuck in the kernel it dies later; subprocess reaps it when the next one is started.
                    if not last:
                        self._process.kill()
            self._channel.close()
            self._lifeline.close()
            self._words.finish()

    def _end(self) -> str:
        code = self._process.returncode
        if code is None:
            what = "hung up, and cannot be killed"
        elif code < 0:
            what = f"killed by signal {-code} ({_signal_name(-code)})"
        else:
            what = f"ended with exit status {code}"
        words = self._words.last
        return f"{what}: {words}" if words else what


class _Words:
    """What a child writes to its standard error: its end is kept. A thread reads it, so that a driver
    that says too much is never stopped by a full pipe."""

    def __init__(self) -> None:
        outlet, self.inlet = os.pipe()
        self._outlet = os.fdopen(outlet, "rb", buffering=0)
        self._kept = b""
        self._listener = threading.Thread(target=self._listen, name="driver's words", daemon=True)
        self._listener.start()

    def close_inlet(self) -> None:
        """Once the child has it."""
        os.close(self.inlet)

    def finish(self) -> None:
        """Hear a child that has ended to its end."""
        self._listener.join(_WORDS_S)

    @property
    def last(self) -> str:
        """Its last line, or "" when it said nothing."""
        lines = self._kept.decode("utf-8", "replace").splitlines()
        said = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return plain_text(said, longest=_LONGEST_WORDS)

    def _listen(self) -> None:
        with self._outlet:
            while heard := self._outlet.read(1 << 16):
                self._kept = (self._kept + heard)[-_KEPT:]


def _signal_name(number: int) -> str:
    names: Sequence[str] = [one.name for one in signal.Signals if one == number]
    return names[0] if names else "unknown"
