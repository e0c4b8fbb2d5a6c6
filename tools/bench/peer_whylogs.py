"""The peer's half of the statistics figure; run by the peers' interpreter, which has whylogs.

``python peer_whylogs.py FOLDER FRAMES`` prints the CPU microseconds a 224×224 picture costs.
"""

import sys
import time
from pathlib import Path

from PIL import Image
from whylogs.extras.image_metric import log_image


def main(folder: str, frames: int) -> None:
    paths = sorted(Path(folder).iterdir())
    pictures = [Image.open(path).convert("RGB").resize((224, 224)) for path in paths[:frames]]
    log_image(pictures[0])
    begin = time.process_time()
    for number in range(frames):
        log_image(pictures[number % len(pictures)])
    sys.stdout.write(f"{(time.process_time() - begin) / frames * 1e6:.1f}\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
