"""A video file, frame by frame, as decoded RGB pixels."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import cv2
import numpy as np

from agent.contracts import Frame, Image
from agent.errors import SourceError
from agent.sources.pace import Pace, problems


@dataclass(frozen=True, kw_only=True, slots=True)
class Video:
    """Frames of a video file; frame n of ``door.avi`` is called ``door.avi#n``, from 0."""

    path: str
    """The video file."""
    fps: float | None = None
    """Frames a second, like a camera that waits for nobody; none: as fast as the model takes them."""
    native: bool = False
    """Play at the rate the file itself states."""
    loop: bool = False
    """Begin again after the last frame."""

    @property
    def live(self) -> bool:
        return self.native or self.fps is not None

    def problems(self) -> list[str]:
        """Options that make no sense, by name."""
        found = problems(fps=self.fps)
        if self.native and self.fps is not None:
            found.append("native: the file's own rate and fps cannot both hold; set one of the two")
        return found

    def open(self) -> "VideoFeed":
        """Raises SourceError for a file that is missing or that OpenCV cannot play."""
        return VideoFeed(self)


class VideoFeed:
    """The opened video."""

    resumes = False

    def __init__(self, source: Video) -> None:
        self._source = source
        self._name = Path(source.path).name
        # OpenCV's capture must not be released by one thread while another reads from it.
        self._lock = Lock()
        self._capture = self._open()
        self._pace = Pace(self._native_fps() if source.native else source.fps)

    def __iter__(self) -> Iterator[Frame]:
        while True:
            index = 0
            while (image := self._read()) is not None and self._pace.turn():
                yield Frame(payload=image, captured_ns=time.monotonic_ns(), name=f"{self._name}#{index}")
                index += 1
            if self._pace.closed:
                return
            if not index:
                raise SourceError(f"{self._source.path}: no frame of this video can be decoded")
            if not self._source.loop:
                return
            self._rewind()

    def close(self) -> None:
        """Returns at once even while a read hangs; then whoever reads releases the capture."""
        self._pace.close()
        if self._lock.acquire(blocking=False):
            try:
                self._capture.release()
            finally:
                self._lock.release()

    def _open(self) -> cv2.VideoCapture:
        if not Path(self._source.path).is_file():
            raise SourceError(f"{self._source.path}: no such video file")
        capture = cv2.VideoCapture(self._source.path)
        if not capture.isOpened():
            raise SourceError(f"{self._source.path}: OpenCV cannot play this file")
        return capture

    def _native_fps(self) -> float:
        fps = float(self._capture.get(cv2.CAP_PROP_FPS))
        if not (math.isfinite(fps) and 0 < fps <= 1000):
            raise SourceError(f"{self._source.path}: states no frame rate; set fps instead of native")
        return fps

    def _read(self) -> Image | None:
        with self._lock:
            if self._pace.closed:
                return None
            decoded, bgr = self._capture.read()
        return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8) if decoded else None

    def _rewind(self) -> None:
        # Seeking back to frame 0 fails in silence with some codecs; opening again does not.
        with self._lock:
            if not self._pace.closed:
                self._capture.release()
                self._capture = self._open()
