"""Schemes made for real by TensorFlow, LiteRT's quantizer and quantization-aware training, on a tiny net."""

import csv
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from tools.cli import LITEWATCH

pytestmark = [pytest.mark.workstation, pytest.mark.timeout(900)]
pytest.importorskip("tensorflow", reason="skipped: no tensorflow")

ROOT = Path(__file__).resolve().parent.parent
SPEC = """\
version: "1"
steps:
- decode: {exif: ignore}
- resize: {width: 24, height: 24, method: linear_exact, aspect: stretch}
- color: {order: rgb}
- normalize: {mean: [127.5], std: [127.5]}
- cast: {mode: quantize, rounding: half_even, layout: nhwc}
"""
TRAINING = """\
import csv, sys, cv2, numpy as np, tensorflow as tf
tf.keras.utils.set_random_seed(1)
rows = list(csv.DictReader(open("train/labels.csv")))
x = np.stack([cv2.imread("train/" + r["file"])[..., ::-1] for r in rows]).astype("float32") / 127.5 - 1
y = np.array([int(r["label"]) for r in rows])
K = tf.keras
model = K.Sequential([
    K.layers.Input((24, 24, 3)), K.layers.Conv2D(16, 3, strides=2), K.layers.BatchNormalization(),
    K.layers.ReLU(), K.layers.DepthwiseConv2D(3), K.layers.ReLU(), K.layers.Conv2D(32, 3), K.layers.ReLU(),
    K.layers.GlobalAveragePooling2D(), K.layers.Dense(4), K.layers.Softmax()])
model.compile(K.optimizers.Adam(3e-3), "sparse_categorical_crossentropy")
model.fit(x, y, epochs=40, batch_size=32, verbose=0)
model.save("model.keras")
model.export("saved", verbose=False)
"""


def shapes(folder: Path, count: int, seed: int) -> Path:
    """Pictures of four classes: a disc, a square, a cross or stripes on noise."""
    folder.mkdir()
    rng = np.random.default_rng(seed)
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("file", "label"))
        for number in range(count):
            label = number % 4
            image = rng.integers(0, 120, (24, 24, 3), dtype=np.uint8)
            colour = tuple(int(v) for v in rng.integers(120, 256, 3))
            x, y, r = (int(v) for v in rng.integers((8, 8, 4), (16, 16, 7)))
            if label == 0:
                cv2.circle(image, (x, y), r, colour, -1)
            elif label == 1:
                cv2.rectangle(image, (x - r, y - r), (x + r, y + r), colour, -1)
            elif label == 2:
                cv2.line(image, (x - r, y), (x + r, y), colour, 2)
                cv2.line(image, (x, y - r), (x, y + r), colour, 2)
            else:
                image[::4] = colour
            cv2.imwrite(str(folder / f"{number:04d}.png"), image)
            writer.writerow((f"{number:04d}.png", label))
    return folder / "labels.csv"


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    shapes(folder / "train", 800, seed=1)
    shapes(folder / "held_out", 200, seed=2)
    (folder / "preprocess.yaml").write_text(SPEC)
    done = subprocess.run([sys.executable, "-c", TRAINING], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


def litewatch(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*LITEWATCH, *arguments], cwd=folder, env=environment(), capture_output=True, text=True
    )


def environment() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": str(ROOT)}


def compare(folder: Path, model: str, *options: str) -> dict[str, Any]:
    done = litewatch(
        folder,
        "schemes",
        model,
        *("--preprocess", "preprocess.yaml", "--images", "held_out/labels.csv", "-o", "made", "--json"),
        *options,
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_every_scheme_is_made_measured_and_ready_to_pack(trained: Path) -> None:
    result = compare(
        trained,
        "model.keras",
        *("--representative", "train", "--train", "train/labels.csv", "--epochs", "2"),
        *("--float-layers", "2", "--picture", "schemes.svg"),
    )
    assert result["missing"] == []
    rows = {row["scheme"]["name"]: row for row in result["rows"]}
    assert set(rows) == {
        "float32", "float16", "dynamic", "int8", "int8-io", "uint8-io", "int8-per-tensor", "int16x8",
        "mixed", "qat",
    }  # fmt: skip
    assert rows["float32"]["flips"] == 0
    assert rows["float32"]["quality"] > 0.9
    for name in ("float16", "int8", "int8-io", "uint8-io", "int16x8", "mixed", "qat"):
        assert rows[name]["quality"] > rows["float32"]["quality"] - 0.05, name
    assert rows["int8"]["bytes"] < rows["float32"]["bytes"]
    assert rows["int8"]["flips"] == sum(
        a != b for a, b in zip(tops(trained, rows["float32"]), tops(trained, rows["int8"]), strict=True)
    )
    assert "2 layers in float" in rows["mixed"]["note"]
    assert result["recommended"] in rows
    assert (trained / "schemes.svg").read_text().startswith("<svg")
    for name in ("int8-io", "mixed", "qat"):
        packed = litewatch(
            trained, "pack", rows[name]["file"], "--preprocess", "preprocess.yaml",
            "--reference", "held_out/labels.csv", "-o", f"{name}.bundle.tflite", "--json",
        )  # fmt: skip
        assert packed.returncode == 0, packed.stderr
        assert json.loads(packed.stdout)["accuracy"] == pytest.approx(rows[name]["quality"], abs=0.011)


def tops(folder: Path, row: dict[str, Any]) -> list[int]:
    """Straight through TensorFlow's interpreter, without our code."""
    import tensorflow as tf

    interpreter = tf.lite.Interpreter(str(folder / row["file"]), num_threads=1)
    interpreter.allocate_tensors()
    given, made = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    found = []
    for file in csv.DictReader((folder / "held_out/labels.csv").open()):
        image = cv2.imread(str(folder / "held_out" / file["file"]))[..., ::-1].astype(np.float32)
        interpreter.set_tensor(given["index"], (image[None] - 127.5) / np.float32(127.5))
        interpreter.invoke()
        found.append(int(interpreter.get_tensor(made["index"]).argmax()))
    return found


def test_a_saved_model_and_what_cannot_be_made_of_it(trained: Path) -> None:
    result = compare(trained, "saved", "--scheme", "dynamic", "--scheme", "int8", "--scheme", "qat")
    assert [row["scheme"]["name"] for row in result["rows"]] == ["float32", "dynamic"]
    reasons = {missing["scheme"]["name"]: missing["reason"] for missing in result["missing"]}
    assert reasons["int8"] == "it needs inputs to calibrate on (--representative)"
    assert reasons["qat"] == "it needs inputs to calibrate on (--representative)"


def test_the_documented_example_prints_what_the_page_shows(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "schemes.md").read_text()
    code = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)[0]
    expected = re.findall(r"^```text\n(.*?)^```", text, re.DOTALL | re.MULTILINE)[0]
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    arguments = (
        "schemes regression.keras --preprocess preprocess.yaml --images held_out.csv "
        "--scheme float32 --scheme dynamic -o schemes/"
    )
    assert arguments in re.sub(r"\\\n\s+", "", text)
    shown = litewatch(tmp_path, *arguments.split())
    assert shown.returncode == 0, shown.stderr
    said = [line for line in shown.stderr.splitlines() if not line.startswith("INFO:")]  # the runtime's
    assert without_times("\n".join([shown.stdout, *said])) == without_times(expected)


def without_times(text: str) -> list[str]:
    """The numbers and words in order; milliseconds differ from run to run, frames with the terminal."""
    words = re.sub(r"[┏━┳┓┃┡╇┩│└─┴┘]+", " ", text)
    return [word for word in words.split() if not re.fullmatch(r"0\.0\d+", word)]
