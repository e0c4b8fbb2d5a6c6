"""What the benches run on: MobileNet v2 and photographs of the data pack, or the demo's model."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

from agent.errors import MachineError

LITEWATCH = (sys.executable, "-c", "from tools.cli import entry; entry()")
"""The command as a fresh process of this interpreter, whether or not it is on the PATH."""

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
            "monitor": {"sample_every": sample_every, "window": {"samples": 25}},
        }
        path.write_text(yaml.safe_dump(document))
        return path

    def agent(self, config: Path, *, frames: int) -> list[str]:
        return [*LITEWATCH, "run", "-c", str(config), "--print", "--frames", str(frames)]

    def loop(self, *, frames: int, fps: float = 0.0) -> list[str]:
        script = Path(__file__).with_name("loop.py")
        return [sys.executable, str(script), str(self.model), str(self.pictures), str(frames), str(fps)]


def data_pack() -> Path | None:
    """``$LITEWATCH_DATA``, or shared/data beside or inside the checkout."""
    root = Path(__file__).resolve().parents[2]
    candidates = [Path(os.environ["LITEWATCH_DATA"])] if "LITEWATCH_DATA" in os.environ else []
    candidates += [root.parent / "shared" / "data", root / "shared" / "data"]
    return next((path for path in candidates if (path / "labels.csv").is_file()), None)


def prepare(folder: Path, pack: Path) -> Scenario:
    """Pack MobileNet v2 with the data pack's photographs as its reference."""
    folder.mkdir(parents=True, exist_ok=True)
    model = folder / "mobilenet_v2.tflite"
    shutil.copyfile(pack / "models" / "coral_edgetpu_mobilenet_v2_1.0_224_quant.tflite", model)
    preprocess = folder / "preprocess.yaml"
    preprocess.write_text(PREPROCESS)
    bundle = folder / "bundle.tflite"
    pictures = pack / "images" / "imagenet_sample"
    labels = pack / "labels" / "imagenet_1001_background_first.txt"
    options = ["--preprocess", str(preprocess), "--labels", str(labels), "--reference", str(pictures)]
    done = subprocess.run(
        [*LITEWATCH, "pack", str(model), *options, "-o", str(bundle)], capture_output=True, text=True
    )
    if done.returncode:
        raise MachineError(f"pack failed: {done.stderr[-800:]}")
    return Scenario(name="MobileNet v2", folder=folder, bundle=bundle, model=model, pictures=pictures)
