"""The kind ``camera`` through OpenCV's own V4L2 code, against a driver that answers inside the process.

No camera is needed, nor a kernel module: ``servers/v4l2.c`` is preloaded into a second pytest, which
runs this file again. The tests below run there; here only that they passed.
"""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest

from agent.contracts import Frame, Source
from agent.errors import SourceError
from agent.sources import camera as cameras
from agent.sources.camera import Camera
from tests.contract_source import LiveSourceContract, Reading, Scene
from tests.servers import Behaviour

SWITCH = os.environ.get("V4L2_SWITCH", "")
SHIM = Path(__file__).parent / "servers" / "v4l2.c"
with_camera = pytest.mark.skipif(not SWITCH, reason="runs inside test_a_camera_that_the_driver_plays")


def behave(behaviour: Behaviour) -> None:
    Path(SWITCH).write_text(behaviour)


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A path the driver answers for; to everybody else a character device without anything."""
    monkeypatch.setattr(cameras, "DRIVER_WAIT_S", 1.0)
    behave("well")
    (tmp_path / "video0").symlink_to(os.devnull)
    return str(tmp_path / "video0")


@with_camera
@pytest.mark.usefixtures("device")
class TestCamera(LiveSourceContract):
    kind = "camera"

    @contextmanager
    def scene(self, folder: Path) -> Iterator[Scene]:
        source = Camera(device=str(folder / "video0"), width=64, height=48, fourcc="MJPG")

        def unplug(behaviour: Behaviour) -> None:
            behave(behaviour)
            if behaviour == "close":
                time.sleep(0.1)  # longer than a picture takes: the sensor has looked

        yield Scene(source=source, behave=unplug)

    def missing(self) -> tuple[Source, str]:
        return Camera(device=9), "/dev/video9: no such camera here (No such file or directory)"


@with_camera
def test_the_time_of_capture_is_the_drivers(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("V4L2_AGE_MS", "700")
    reading = Reading(Camera(device=device), 1)
    now_ns = time.monotonic_ns()
    reading.close()
    (frame,) = reading.items
    assert isinstance(frame, Frame)
    assert frame.captured_ns <= now_ns - 700_000_000


@with_camera
def test_pixels_are_rgb_and_jpeg_files_stay_as_they_are(device: str) -> None:
    reading = Reading(Camera(device=device, fourcc="YUYV"), 1)
    reading.close()
    (frame,) = reading.items
    assert isinstance(frame, Frame) and isinstance(frame.payload, np.ndarray)
    assert frame.payload.shape == (48, 64, 3) and frame.payload.dtype == np.uint8
    assert float(frame.payload[:, :, 0].mean()) > float(frame.payload[:, :, 2].mean()) + 50
    reading = Reading(Camera(device=device, fourcc="MJPG"), 1)
    reading.close()
    (frame,) = reading.items
    files = [path.read_bytes() for path in Path(os.environ["V4L2_PICTURES"]).glob("*.jpg")]
    assert isinstance(frame, Frame) and frame.payload in files


@with_camera
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"width": 640, "height": 480}, "gives 64x48 where 640x480 was asked for; v4l2-ctl -d "),
        ({"fourcc": "H264"}, "gives 'YUYV' where H264 was asked for; v4l2-ctl -d "),
    ],
)
def test_another_size_or_format_than_asked_for_is_refused(
    device: str, options: dict[str, object], words: str
) -> None:
    with pytest.raises(SourceError) as caught:
        Camera(device=device, **options).open()  # type: ignore[arg-type]  # the test's own options
    assert words in str(caught.value)


@with_camera
def test_a_busy_camera_says_what_may_be_the_matter(device: str) -> None:
    behave("refuse")
    with pytest.raises(SourceError, match="another program may use it"):
        Camera(device=device).open()


def test_a_file_is_no_camera(tmp_path: Path) -> None:
    (tmp_path / "video").write_bytes(b"")
    with pytest.raises(SourceError, match="video: is no camera"):
        Camera(device=str(tmp_path / "video")).open()


@pytest.mark.skipif(bool(SWITCH), reason="this is it")
@pytest.mark.skipif(shutil.which("cc") is None, reason="needs a C compiler")
def test_a_camera_that_the_driver_plays(tmp_path: Path) -> None:
    library = tmp_path / "v4l2.so"
    built = ["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(SHIM), "-ldl", "-lpthread"]
    subprocess.run(built, check=True, capture_output=True)
    for column in range(8):
        image = np.full((48, 64, 3), (40, 90, 200), np.uint8)
        image[:, 8 * column : 8 * column + 8] = 255
        cv2.imwrite(str(tmp_path / f"{column}.jpg"), image)
    (tmp_path / "switch").write_text("well")
    environment = {
        **os.environ,
        "LD_PRELOAD": str(library),
        "V4L2_SWITCH": str(tmp_path / "switch"),
        "V4L2_PICTURES": str(tmp_path),
        # OpenCV waits 10 s for a picture; so long need only people wait.
        "OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT": "1",
    }
    # The plug-ins of the outer run (workers, random order) have no business in the inner one.
    for name in ("PYTEST_XDIST_WORKER", "PYTEST_ADDOPTS", "PYTEST_CURRENT_TEST"):
        environment.pop(name, None)
    command = [sys.executable, "-m", "pytest", __file__, "-v", "-n0", f"--basetemp={tmp_path / 'inner'}"]
    root = Path(__file__).parent.parent
    ran = subprocess.run(
        command, env=environment, cwd=root, capture_output=True, text=True, check=False, timeout=150
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "18 passed, 1 skipped" in ran.stdout, ran.stdout
