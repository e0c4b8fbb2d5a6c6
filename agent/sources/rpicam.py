"""A Raspberry Pi's CSI camera: the program ``rpicam-vid`` writes JPEG files into a pipe.

CSI cameras are libcamera's; OpenCV does not see them, and libcamera's Python package cannot live in
every environment. The files stay encoded: the preprocess spec's own step decodes them.
"""

import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from agent.contracts import Frame, Skipped
from agent.errors import SourceError
from agent.sources.jpeg_stream import Jpeg, JpegStream
from agent.sources.naming import live_name
from agent.sources.pace import problems
from agent.sources.release import Held

WAKE_S = 0.1
CHUNK_BYTES = 1 << 20
KEPT_OF_STDERR = 4096
END_WITHIN_S = 2.0
SETPRIV = Path("/usr/bin/setpriv")
"""util-linux's; it has the kernel end the program with the thread that started it."""
INSTALL = "apt install rpicam-apps-lite, or set source.program to a program that writes JPEG files"


@dataclass(frozen=True, kw_only=True, slots=True)
class Rpicam:
    """JPEG files of a CSI camera, named by the camera and the time the file began to arrive."""

    camera: int = 0
    """Which one, as ``rpicam-hello --list-cameras`` counts them."""
    width: int = 1280
    """Pixels."""
    height: int = 720
    """Pixels."""
    fps: float = 10.0
    """Frames a second the camera takes."""
    quality: int = 93
    """JPEG quality, 1 to 100; below 80 it costs accuracy."""
    arguments: tuple[str, ...] = ()
    """Further arguments of the program, such as ``--shutter 10000 --gain 2``, each word an item."""
    program: str = "rpicam-vid"
    """The program, or another that takes the same arguments and writes JPEG files to its output;
    ``libcamera-vid`` before Debian 12."""
    read_timeout_ms: int = 5_000
    """A program that has written no whole picture for so long hangs, and is started anew."""
    max_bytes: int = 16 * 1024 * 1024
    """A larger file is skipped."""

    @property
    def live(self) -> bool:
        return True

    def problems(self) -> list[str]:
        """Options that make no sense, by name."""
        found = problems(
            fps=self.fps,
            width=self.width,
            height=self.height,
            quality=self.quality,
            read_timeout_ms=self.read_timeout_ms,
            max_bytes=self.max_bytes,
        )
        if self.quality > 100:
            found.append(f"quality: must be at most 100, got {self.quality}")
        if self.camera < 0:
            found.append(f"camera: must be at least 0, got {self.camera}")
        if not self.program:
            found.append("program: must name one")
        return found

    @property
    def command(self) -> list[str]:
        """The program and its arguments."""
        options = {
            "camera": self.camera,
            "width": self.width,
            "height": self.height,
            "framerate": f"{self.fps:g}",
            "quality": self.quality,
            "codec": "mjpeg",
            "timeout": 0,
            "output": "-",
        }
        named = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        return [self.program, *named, "--nopreview", "--flush", *self.arguments]

    def open(self) -> "RpicamFeed":
        """Raises SourceError for a program that is missing or cannot be started."""
        return RpicamFeed(self)


_left_behind: "list[subprocess.Popen[bytes]]" = []
"""Programs that not even SIGKILL has ended yet: they hang in the kernel."""


class RpicamFeed:
    """The running program. It ends with its pipe when it next writes; an agent that is killed takes it
    along even if it hangs, where there is ``SETPRIV``: the thread that opens must live as long as the feed.
    """

    resumes = False

    def __init__(self, source: Rpicam) -> None:
        self._source = source
        self._shown = Path(source.program).name
        self._process = self._start()
        self._output, self._errors = _descriptor(self._process.stdout), _descriptor(self._process.stderr)
        self._said = b""
        self._held = Held(self._end)

    def __iter__(self) -> Iterator[Frame | Skipped]:
        try:
            yield from self._items()
        finally:
            self._held.close()

    def close(self) -> None:
        self._held.close()

    def _items(self) -> Iterator[Frame | Skipped]:
        files = JpegStream(max_bytes=self._source.max_bytes)
        taker = f"camera{self._source.camera}"
        heard_ns = time.monotonic_ns()
        instead = ""
        while True:
            with self._held as there:
                if not there or self._held.closed:
                    return
                chunk = self._read()
            now_ns = time.monotonic_ns()
            for item in files.feed(chunk, now_ns) if chunk is not None else ():
                if isinstance(item, Jpeg):
                    name = live_name(taker, item.began_ns)
                    yield Frame(payload=item.data, captured_ns=item.began_ns, name=name)
                    # Only a picture is a sign of life; what the reader took its time for is not silence.
                    heard_ns, instead = time.monotonic_ns(), ""
                else:
                    instead = f", only {item.reason}"
                    yield Skipped(name=live_name(taker, now_ns), reason=f"{self._shown}: {item.reason}")
            if now_ns - heard_ns >= self._source.read_timeout_ms * 1_000_000:
                silence = f"wrote no picture for {self._source.read_timeout_ms / 1000:g} s{instead}"
                raise SourceError(f"{self._shown}: {silence}{self._last_words()}")

    def _read(self) -> bytes | None:
        """What the program wrote; None: nothing for a moment. Raises SourceError at its end."""
        ready, _, _ = select.select([self._output, self._errors], [], [], WAKE_S)
        if self._errors in ready:
            # It is read at all so that the program never waits for room in this pipe.
            words = os.read(self._errors, 65536)
            self._said = (self._said + words)[-KEPT_OF_STDERR:]
            if not words and self._output not in ready:
                # Closed, and so for ever ready; a program that lives on without it is still heard.
                self._held.rest(WAKE_S)
        if self._output not in ready:
            return None
        chunk = os.read(self._output, CHUNK_BYTES)
        if not chunk:
            raise SourceError(f"{self._shown}: {self._how_it_ended()}{self._last_words()}")
        return chunk

    def _how_it_ended(self) -> str:
        try:
            code = self._process.wait(END_WITHIN_S)
        except subprocess.TimeoutExpired:
            return "closed its output"
        while words := os.read(self._errors, 65536) if _readable(self._errors) else b"":
            self._said = (self._said + words)[-KEPT_OF_STDERR:]
        return f"was ended by signal {-code}" if code < 0 else f"ended with exit status {code}"

    def _last_words(self) -> str:
        lines = [line.strip() for line in self._said.decode("utf-8", "replace").splitlines() if line.strip()]
        errors = [line for line in lines if "error" in line.lower()] or lines
        return f": {errors[-1][:200]}" if errors else ""

    def _start(self) -> "subprocess.Popen[bytes]":
        _left_behind[:] = [process for process in _left_behind if process.poll() is None]
        if _left_behind:
            # Another one would hang as well, and one more with every further start.
            raise SourceError(f"{self._shown}: process {_left_behind[0].pid} hangs and cannot be ended")
        try:
            return subprocess.Popen(
                [*_ends_with_us(self._source.program), *self._source.command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
            )
        except FileNotFoundError:
            raise SourceError(f"{self._source.program}: not found: {INSTALL}") from None
        except OSError as error:
            raise SourceError(f"{self._source.program}: cannot be started: {error.strerror}") from None

    def _end(self) -> None:
        """The camera belongs to one program: the next start needs this one gone."""
        self._process.terminate()
        try:
            self._process.wait(END_WITHIN_S)
        except subprocess.TimeoutExpired:
            self._kill()
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()

    def _kill(self) -> None:
        self._process.kill()
        try:
            self._process.wait(END_WITHIN_S)
        except subprocess.TimeoutExpired:
            _left_behind.append(self._process)


def _ends_with_us(program: str) -> list[str]:
    """Words before the command. A missing program is left to the start itself, which says so; busybox's
    setpriv, a link, cannot do it."""
    able = SETPRIV.is_file() and not SETPRIV.is_symlink() and shutil.which(program) is not None
    return [str(SETPRIV), "--pdeathsig", "KILL", "--"] if able else []


def _descriptor(pipe: object) -> int:
    number: int = pipe.fileno()  # type: ignore[attr-defined]  # both were asked for as pipes
    return number


def _readable(descriptor: int) -> bool:
    return bool(select.select([descriptor], [], [], 0)[0])
