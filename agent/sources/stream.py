"""An RTSP or HTTP stream of a network camera, through OpenCV's FFmpeg.

A stream of JPEG files is delivered as files, so that the preprocess spec's own step decodes them as it
did in training; any other as RGB pixels. The time of capture is the arrival of the picture: how old it
was by then, the camera and the network know.
"""

import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import cv2

from agent.errors import SourceError
from agent.sources import url as urls
from agent.sources.opencv_feed import OpenCvFeed, Opened, open_params
from agent.sources.pace import problems

ENVIRONMENT = "OPENCV_FFMPEG_CAPTURE_OPTIONS"
"""OpenCV takes FFmpeg's own options from nowhere else, as ``name;value|name;value``."""
DEBIAN_AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt"


@dataclass(frozen=True, kw_only=True, slots=True)
class Stream:
    """Pictures of a network camera, named by its host and the time they arrived."""

    url: str
    """``rtsp://``, ``rtsps://``, ``http://`` or ``https://``; never published or logged with what is
    secret in it."""
    username: str | None = None
    """In place of a user in the URL."""
    password_file: str | None = None
    """File whose first line is the password of ``username``; read at each opening."""
    ca: str | None = None
    """File with the camera's certificate or its authority, for rtsps and https; default: the system's
    authorities."""
    transport: Literal["tcp", "udp"] = "tcp"
    """How RTSP carries the pictures; UDP loses some and shows what is left of them."""
    fps: float | None = None
    """At most so many frames a second; none: all of them."""
    open_timeout_ms: int = 10_000
    """A camera that has not answered after this is tried again later."""
    read_timeout_ms: int = 5_000
    """A stream without a picture for so long is lost."""

    @property
    def live(self) -> bool:
        return True

    def problems(self) -> list[str]:
        """Options that make no sense, by name."""
        found = problems(
            fps=self.fps, open_timeout_ms=self.open_timeout_ms, read_timeout_ms=self.read_timeout_ms
        )
        found += [
            f"{name}: must be at most 600000, got {value}"
            for name, value in (
                ("open_timeout_ms", self.open_timeout_ms),
                ("read_timeout_ms", self.read_timeout_ms),
            )
            if value > 600_000
        ]
        unusable = urls.url_problem(self.url)
        return found + ([f"url: {unusable}"] if unusable else self._problems_together())

    def _problems_together(self) -> list[str]:
        found = []
        if (self.username is None) != (self.password_file is None):
            found.append("username: needs password_file, and password_file needs username")
        if self.username is not None and urls.has_credentials(self.url):
            found.append("username: the url names a user already; set one of the two")
        if self.ca is not None and any(char in self.ca for char in ";|"):
            found.append("ca: OpenCV cannot be told of a path with ; or |")
        if self.ca is not None and not urls.encrypted(self.url):
            found.append("ca: only for rtsps and https")
        if self.ca is None and urls.encrypted(self.url) and urls.names_an_address(self.url):
            found.append(
                "ca: must name the camera's certificate or its authority: FFmpeg compares a certificate "
                "with a name, not with an address"
            )
        return found

    def public(self) -> dict[str, Any]:
        """Options as others may see them, where they differ."""
        return {"url": urls.shown(self.url)}

    def open(self) -> OpenCvFeed:
        """Raises SourceError for a stream that is refused, silent, or cannot be decoded."""
        shown = urls.shown(self.url)
        capture = self._capture()
        if not capture.isOpened():
            capture.release()
            raise SourceError(
                f"{shown}: cannot be opened: refused, not found, no answer within "
                f"{self.open_timeout_ms / 1000:g} s, or wrong user, password or certificate"
            )
        jpeg = int(capture.get(cv2.CAP_PROP_FOURCC)) == cv2.VideoWriter.fourcc(*"MJPG")
        return OpenCvFeed(
            Opened(
                capture=capture,
                shown=shown,
                taker=urlsplit(self.url).hostname or "stream",
                fps=self.fps,
                silence_s=self.read_timeout_ms / 1000,
                encoded=jpeg and bool(capture.set(cv2.CAP_PROP_FORMAT, -1)),
            )
        )

    def _capture(self) -> cv2.VideoCapture:
        params = open_params(
            OPEN_TIMEOUT_MSEC=self.open_timeout_ms,
            READ_TIMEOUT_MSEC=self.read_timeout_ms,
            # FFmpeg holds back one picture for each thread that decodes.
            N_THREADS=1,
        )
        options = self._ffmpeg_options()
        # Only when it changes: other threads read the environment while it would be written.
        if os.environ.get(ENVIRONMENT) != options:
            os.environ[ENVIRONMENT] = options
        try:
            return cv2.VideoCapture(self._address(), cv2.CAP_FFMPEG, params)
        except cv2.error:
            raise SourceError(f"{urls.shown(self.url)}: cannot be opened by this OpenCV") from None

    def _ffmpeg_options(self) -> str:
        # Nobody needs the stream's rate: finding it out would cost a second of pictures that grow old.
        options = [f"rtsp_transport;{self.transport}", "fpsprobesize;0"]
        if urls.encrypted(self.url):
            options += ["tls_verify;1", f"ca_file;{self.ca or _authorities()}"]
        return "|".join(options)

    def _address(self) -> str:
        if self.username is None or self.password_file is None:
            return self.url
        try:
            text = Path(self.password_file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "not UTF-8"
            raise SourceError(f"source.password_file: {self.password_file} cannot be read: {why}") from None
        return urls.with_credentials(self.url, self.username, text.split("\n", 1)[0].rstrip("\r"))


def _authorities() -> str:
    return ssl.get_default_verify_paths().cafile or DEBIAN_AUTHORITIES
