"""A program that speaks ``rpicam-vid``'s pipe: the same arguments, JPEG files to standard output, words
to standard error, and the same ends. The pictures are the files of a folder.

``python fake_rpicam.py FOLDER SWITCH [rpicam-vid's arguments]``: the file SWITCH says how it behaves
(see ``tests.servers.Behaviour``; besides ``busy``: another program has the camera; ``babble``: bytes that
are no picture, without end), read before each picture. Standard library only.
"""

import argparse
import itertools
import sys
import time
from pathlib import Path


def arguments() -> argparse.Namespace:
    """As rpicam-vid reads them: what it does not know ends it."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("folder", type=Path)
    parser.add_argument("switch", type=Path)
    for name in ("camera", "width", "height", "quality", "timeout"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--framerate", type=float, required=True)
    parser.add_argument("--codec", choices=("h264", "mjpeg", "yuv420"), required=True)
    parser.add_argument("--output", required=True)
    parser.add_argument("--nopreview", action="store_true")
    parser.add_argument("--flush", action="store_true")
    parser.add_argument("--rotation", type=int, default=0)
    return parser.parse_args()


def say(words: str) -> None:
    sys.stderr.write(words + "\n")


def main() -> int:
    given = arguments()
    if given.codec != "mjpeg" or given.output != "-" or given.timeout != 0:
        say("ERROR: *** this stand-in only writes mjpeg to its output, without end ***")
        return 255
    say("[0:00:01.000000000] [1] INFO Camera camera_manager.cpp:327 libcamera v0.3.2")
    if given.switch.read_text() == "refuse":
        say("ERROR: *** no cameras available ***")
        return 255
    if given.switch.read_text() == "busy":
        say("ERROR: *** failed to acquire camera /base/soc/i2c0mux/i2c@1/imx708@1a ***")
        return 255
    pictures = [path.read_bytes() for path in sorted(given.folder.glob("*.jpg"))]
    for number, picture in enumerate(itertools.cycle(pictures)):
        behaviour = given.switch.read_text()
        while behaviour == "hang":
            time.sleep(0.02)
            behaviour = given.switch.read_text()
        while behaviour == "babble":
            sys.stdout.buffer.write(b"no picture at all")
            sys.stdout.buffer.flush()
            time.sleep(0.02)
            behaviour = given.switch.read_text()
        if behaviour == "close":
            # Once: the next start finds a camera that is well.
            given.switch.write_text("well")
            return 1
        damaged = behaviour == "corrupt" and number % 3 == 0
        sys.stdout.buffer.write(picture[: len(picture) // 2] if damaged else picture)
        sys.stdout.buffer.flush()
        say(f"#{number} ({given.framerate:.2f} fps) exp 9998.00 ag 1.12 dg 1.00")
        time.sleep(1 / given.framerate)
    return 0


if __name__ == "__main__":
    sys.exit(main())
