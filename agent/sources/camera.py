"""A USB (V4L2) camera through OpenCV. A CSI camera of a Raspberry Pi is the kind ``rpicam``."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

import cv2

from agent.errors import SourceError
from agent.sources.opencv_feed import OpenCvFeed, Opened
from agent.sources.pace import problems

DRIVER_WAIT_S = 10.0
"""For so long OpenCV waits for a picture of a V4L2 camera; the library offers no option for it."""
BUFFERS = 2
"""One being filled while the other is read: more would only hold older pictures."""
JPEG_FORMATS = ("MJPG", "JPEG")


@dataclass(frozen=True, kw_only=True, slots=True)
class Camera:
    """Pictures of a V4L2 camera, named by its device and the time of capture: of format MJPG the
    camera's own JPEG files, of any other RGB pixels."""

    device: str | int = 0
    """``/dev/video0``, better a link of /dev/v4l/by-id that survives another port; or the number."""
    width: int | None = None
    """Pixels; with ``height``. A camera that gives another size is refused; none: its own choice."""
    height: int | None = None
    """Pixels; with ``width``."""
    fps: float | None = None
    """Frames a second: asked of the camera, and never more are delivered; none: its own choice."""
    fourcc: str | None = None
    """The camera's format, such as ``MJPG`` or ``YUYV``; USB 2 needs MJPG for large pictures."""

    @property
    def live(self) -> bool:
        return True

    @property
    def path(self) -> str:
        return f"/dev/video{self.device}" if isinstance(self.device, int) else self.device

    def problems(self) -> list[str]:
        """Options that make no sense, by name."""
        sizes = {name: value for name in ("width", "height") if (value := getattr(self, name)) is not None}
        found = problems(fps=self.fps, **sizes)
        if len(sizes) == 1:
            found.append(f"{next(iter(sizes))}: needs {'height' if 'width' in sizes else 'width'} as well")
        if self.fourcc is not None and (len(self.fourcc) != 4 or not self.fourcc.isascii()):
            found.append(f"fourcc: must be four letters such as MJPG, got {self.fourcc!r}")
        if self.device == "" or (isinstance(self.device, int) and self.device < 0):
            found.append("device: must be a path such as /dev/video0, or a number from 0")
        return found

    def open(self) -> OpenCvFeed:
        """Raises SourceError for a camera that is missing, busy or closed to this user, or gives
        another size or format than asked for."""
        _check_device(self.path)
        capture = cv2.VideoCapture(self.path, cv2.CAP_V4L2)
        try:
            self._set_up(capture)
        except SourceError:
            capture.release()
            raise
        return OpenCvFeed(
            Opened(
                capture=capture,
                shown=self.path,
                taker=Path(self.path).name,
                fps=self.fps,
                silence_s=DRIVER_WAIT_S,
                # OpenCV's own conversion would fill what is missing of a damaged picture with grey.
                encoded=_format(capture) in JPEG_FORMATS and capture.set(cv2.CAP_PROP_CONVERT_RGB, 0),
                driver_clock=True,
            )
        )

    def _set_up(self, capture: cv2.VideoCapture) -> None:
        if not capture.isOpened():
            raise SourceError(
                f"{self.path}: cannot be opened as a camera: another program may use it, or it is one of a "
                "camera's other devices (v4l2-ctl --list-devices); for a CSI camera use kind rpicam"
            )
        # The format first: sizes and rates depend on it.
        if self.fourcc is not None:
            capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*self.fourcc))
        if self.width is not None and self.height is not None:
            capture.set(cv2.CAP_PROP_FRAME_WIDTH, self.width)
            capture.set(cv2.CAP_PROP_FRAME_HEIGHT, self.height)
        if self.fps is not None:
            capture.set(cv2.CAP_PROP_FPS, self.fps)
        capture.set(cv2.CAP_PROP_BUFFERSIZE, BUFFERS)
        self._check(capture)

    def _check(self, capture: cv2.VideoCapture) -> None:
        """A driver that does not have what is asked for takes something else in silence."""
        width, height = (int(capture.get(p)) for p in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        hint = f"v4l2-ctl -d {self.path} --list-formats-ext shows what it has"
        if self.width is not None and (width, height) != (self.width, self.height):
            asked = f"{self.width}x{self.height}"
            raise SourceError(f"{self.path}: gives {width}x{height} where {asked} was asked for; {hint}")
        given = _format(capture)
        if self.fourcc is not None and given != self.fourcc:
            raise SourceError(f"{self.path}: gives {given!r} where {self.fourcc} was asked for; {hint}")


def _format(capture: cv2.VideoCapture) -> str:
    """The four letters of the camera's format."""
    code = int(capture.get(cv2.CAP_PROP_FOURCC)) & 0xFFFFFFFF
    return code.to_bytes(4, "little").decode("latin-1")


def _check_device(path: str) -> None:
    """What can be known without OpenCV, which gives no reasons."""
    try:
        mode = Path(path).stat().st_mode
    except OSError as error:
        raise SourceError(f"{path}: no such camera here ({error.strerror})") from None
    if not stat.S_ISCHR(mode):
        raise SourceError(f"{path}: is no camera")
    if not os.access(path, os.R_OK | os.W_OK):
        raise SourceError(f"{path}: closed to this user; members of group video may use it")
