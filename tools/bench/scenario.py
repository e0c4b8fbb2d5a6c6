"""What the benches run on: MobileNet v2 and photographs of the data pack, or the demo's model."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import yaml

from agent.errors import MachineError
from tools.cli import LITEWATCH

CROPS = 8
"""Parts of each photograph that stand in for held-out pictures."""

PREPROCESS = """\
version: imagenet
steps:
- decode: {exif: ignore}
- crop: {kind: central_fraction, fraction: 0.875, rounding: tensorflow}
- resize: {width: 224, height: 224, aspect: stretch, method: linear}
- color: {order: rgb}
- cast: {mode: raw, rounding: half_even, layout: nhwc}
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Scenario:
    """A bundle, its bare model and a folder of pictures, all under ``folder``."""

    name: str
    folder: Path
    bundle: Path
    model: Path
    pictures: Path

    def config(self, name: str, *, sample_every: int, fps: float | None = None) -> Path:
        """Write an agent.yaml that shows the pictures over and over; returns its path."""
        path = self.folder / f"{name}.yaml"
        source = {"kind": "directory", "path": str(self.pictures), "loop": True}
        document = {
            "device": {"id": name, "state_dir": str(self.folder / "state")},
            "model": {"bundle": str(self.bundle), "threads": 1},
            "source": source | ({"fps": fps} if fps else {}),
            "monitor": {"sample_every": sample_every},
        }
        path.write_text(yaml.safe_dump(document))
        return path

    def agent(self, config: Path, *, frames: int, show: bool = False) -> list[str]:
        """The agent; with ``show`` it prints every prediction, as the loop does its first."""
        printing = ["--print"] if show else []
        return [*LITEWATCH, "run", "-c", str(config), *printing, "--frames", str(frames)]

    def loop(self, *, frames: int, fps: float = 0.0) -> list[str]:
        script = Path(__file__).with_name("loop.py")
        return [sys.executable, str(script), str(self.model), str(self.pictures), str(frames), str(fps)]


def data_pack() -> Path | None:
    """The folder of real models and photographs, where this machine has it."""
    return next((path for path in places() if (path / "labels.csv").is_file()), None)


def places() -> list[Path]:
    """Where it may lie: ``$LITEWATCH_DATA``, or shared/data beside or inside the checkout."""
    root = Path(__file__).resolve().parents[2]
    named = [Path(os.environ["LITEWATCH_DATA"])] if "LITEWATCH_DATA" in os.environ else []
    return [*named, root.parent / "shared" / "data", root / "shared" / "data"]


def _crops(folder: Path, sources: Sequence[Path]) -> Path:
    """Enough held-out pictures for the default window: parts of the photographs there are."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    for path in sorted(path for source in sources for path in source.iterdir()):
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if image is None:
            continue
        height, width = image.shape[:2]
        for number in range(CROPS):
            side = int(rng.uniform(0.6, 0.95) * min(height, width))
            top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
            crop = cv2.resize(
                image[top : top + side, left : left + side], (256, 256), interpolation=cv2.INTER_AREA
            )
            cv2.imwrite(str(folder / f"{path.stem}-{number}.jpg"), crop)
    return folder


def prepare(folder: Path, pack: Path) -> Scenario:
    """Pack MobileNet v2 with the data pack's photographs as its reference."""
    folder.mkdir(parents=True, exist_ok=True)
    model = folder / "mobilenet_v2.tflite"
    try:
        shutil.copyfile(pack / "models" / "coral_edgetpu_mobilenet_v2_1.0_224_quant.tflite", model)
    except OSError as error:
        raise MachineError(f"{error.filename}: the data pack is incomplete: {error.strerror}") from None
    preprocess = folder / "preprocess.yaml"
    preprocess.write_text(PREPROCESS)
    bundle = folder / "bundle.tflite"
    pictures = pack / "images" / "imagenet_sample"
    labels = pack / "labels" / "imagenet_1001_background_first.txt"
    reference = _crops(folder / "reference", [pictures, pack / "images" / "nips17_ccby"])
    options = ["--preprocess", str(preprocess), "--labels", str(labels), "--reference", str(reference)]
    done = subprocess.run(
        [*LITEWATCH, "pack", str(model), *options, "-o", str(bundle)], capture_output=True, text=True
    )
    if done.returncode:
        raise MachineError(f"pack failed: {done.stderr[-800:]}")
    return Scenario(name="MobileNet v2", folder=folder, bundle=bundle, model=model, pictures=pictures)
