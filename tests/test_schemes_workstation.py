"""Schemes made for real by TensorFlow, LiteRT's quantizer and quantization-aware training, on a tiny net."""

import csv
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from tools.cli import LITEWATCH

pytestmark = pytest.mark.timeout(900)
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
    rows = {row["scheme"]: row for row in result["rows"]}
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


def rgb(path: Path) -> NDArray[np.float32]:
    image = cv2.imread(str(path))
    assert image is not None
    return image[..., ::-1].astype(np.float32)


def tops(folder: Path, row: dict[str, Any]) -> list[int]:
    """Straight through TensorFlow's interpreter, without our code."""
    import tensorflow as tf

    interpreter = tf.lite.Interpreter(str(folder / row["file"]), num_threads=1)
    interpreter.allocate_tensors()
    given, made = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    found = []
    for file in csv.DictReader((folder / "held_out/labels.csv").open()):
        image = rgb(folder / "held_out" / file["file"])
        interpreter.set_tensor(given["index"], (image[None] - 127.5) / np.float32(127.5))
        interpreter.invoke()
        found.append(int(interpreter.get_tensor(made["index"]).argmax()))
    return found


def schemes(folder: Path, model: str, *options: str) -> subprocess.CompletedProcess[str]:
    return litewatch(
        folder,
        *("schemes", model, "--preprocess", "preprocess.yaml", "--images", "held_out/labels.csv"),
        *("-o", "made", "--json", *options),
    )


def test_a_saved_model_and_what_cannot_be_made_of_it(trained: Path) -> None:
    (trained / "some").mkdir()
    for number in range(40):
        shutil.copy(trained / "train" / f"{number:04d}.png", trained / "some")
    (trained / "some" / "0007.png").write_bytes(b"\x89PNG")
    given = ("--representative", "some", "--train", "train/labels.csv", "--train-count", "50")
    done = schemes(trained, "saved", "--scheme", "dynamic", "--scheme", "mixed", "--scheme", "qat", *given)
    assert done.returncode == 1  # qat was asked for
    result = json.loads(done.stdout)
    assert [row["scheme"] for row in result["rows"]] == ["float32", "dynamic", "mixed"]
    assert result["missing"] == [
        {"scheme": "qat", "reason": "a SavedModel cannot be trained on: give the .keras or .h5 file"}
    ]
    assert "warning: --representative: 1 inputs were skipped: 0007.png: " in done.stderr
    assert "warning: --train: 50 inputs drawn at random are used" in done.stderr
    (trained / "schemes.json").write_text(done.stdout)
    shown = litewatch(trained, "show", "schemes.json")
    assert shown.returncode == 0
    assert "2 layers in float" in shown.stdout  # of four with weights: half of them at most


def test_a_damaged_saved_model_is_bad_input(trained: Path) -> None:
    (trained / "damaged").mkdir()
    (trained / "damaged" / "saved_model.pb").write_bytes(b"\x07damaged")
    done = schemes(trained, "damaged")
    assert done.returncode == 2
    assert done.stderr.startswith("error: damaged: TensorFlow cannot load it: ")
    assert "Traceback" not in done.stderr


def test_class_names_without_their_file_are_asked_for(trained: Path) -> None:
    (trained / "named.csv").write_text("file,label\nheld_out/0000.png,disc\n")
    arguments = ("schemes", "saved", "--preprocess", "preprocess.yaml", "--images", "named.csv", "-o", "made")
    done = litewatch(trained, *arguments)
    assert done.returncode == 2
    assert "'disc' is neither an output index" in done.stderr
    assert "--labels: give the file with the class names, one line per output" in done.stderr
    (trained / "labels.txt").write_text("disc\nsquare\ncross\nstripes\n")
    done = litewatch(trained, *arguments, "--labels", "labels.txt", "--scheme", "float16", "--json")
    assert done.returncode == 0, done.stderr
    assert [row["labelled"] for row in json.loads(done.stdout)["rows"]] == [1, 1]


HARD = """\
import numpy as np, tensorflow as tf
tf.keras.utils.set_random_seed(1)
K, L = tf.keras, tf.keras.layers
x, (pictures, y) = K.Input((24, 24, 3)), np.load("train.npz").values()
inner = K.Sequential([
    L.Input((24, 24, 3)), L.Rescaling(0.5), L.Conv2D(16, 3, strides=2), L.BatchNormalization(),
    L.LeakyReLU(negative_slope=0.02)], name="inner")
a = inner(x)
b = L.LeakyReLU(negative_slope=0.02)(L.BatchNormalization()(L.Conv2D(16, 3, padding="same")(a)))
c = L.Conv2D(32, 3)(L.Add()([a, b]))
model = K.Model(x, L.Dense(4)(L.GlobalAveragePooling2D()(L.ReLU()(c))))
model.compile(K.optimizers.Adam(3e-3), K.losses.SparseCategoricalCrossentropy(from_logits=True))
model.fit(pictures, y, epochs=25, batch_size=32, verbose=0)
model.save("hard.keras")
sized = K.Sequential([L.Input((None, None, 3)), L.Conv2D(4, 3), L.GlobalAveragePooling2D()])
sized.save("free.keras")
"""


@pytest.fixture(scope="module")
def hard(trained: Path) -> Path:
    rows = list(csv.DictReader((trained / "train/labels.csv").open()))
    x = np.stack([rgb(trained / "train" / row["file"]) for row in rows]) / np.float32(127.5) - 1
    np.savez(trained / "train.npz", x=x, y=np.array([int(row["label"]) for row in rows]))
    done = subprocess.run([sys.executable, "-c", HARD], cwd=trained, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return trained


def test_a_residual_model_with_logits_and_a_model_inside_is_trained_for_quantization(hard: Path) -> None:
    given = ("--representative", "train", "--train", "train/labels.csv")
    result = compare(hard, "hard.keras", "--scheme", "qat", "--epochs", "1", *given)
    float32, qat = result["rows"]
    assert float32["quality"] > 0.85
    # A wrong slope or scale, or a loss that takes logits for scores, costs far more than this.
    assert qat["quality"] > float32["quality"] - 0.03
    assert "not trained for: inner_rescaling" in qat["note"]


def test_an_input_without_a_size_is_bad_input(hard: Path) -> None:
    done = schemes(hard, "free.keras")
    assert done.returncode == 2
    assert "free.keras: its input has no fixed size (shape (None, None, None, 3)): export" in done.stderr


REGRESSION = """\
import csv
import numpy as np, tensorflow as tf
tf.keras.utils.set_random_seed(1)
rng = np.random.default_rng(1)
x = rng.normal(0, 1, (1200, 4)).astype("f4")
y = np.tanh(x[:, 0] * x[:, 1]) + x[:, 2] + rng.normal(0, 0.2, 1200)
L = tf.keras.layers
model = tf.keras.Sequential([L.Input((4,)), L.Dense(32, "relu"), L.Dense(32, "relu"), L.Dense(1)])
model.compile(tf.keras.optimizers.Adam(3e-3), "mse")
model.fit(x[:800], y[:800], epochs=40, verbose=0)
model.save("values.keras")
both = L.Concatenate()([model.outputs[0], model.outputs[0]])
tf.keras.Model(model.inputs[0], both).save("both.keras")
for name, part in (("train.csv", slice(0, 800)), ("held_out.csv", slice(800, 1200))):
    with open(name, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["a", "b", "c", "d", "label"])
        writer.writerows([*map(float, row), value] for row, value in zip(x[part], y[part]))
with open("preprocess.yaml", "w") as file:
    file.write('version: "1"\\nsteps:\\n- cast: {mode: quantize, rounding: half_even}\\n')
"""


def test_a_regression_is_trained_for_quantization(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", REGRESSION], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    done = litewatch(
        tmp_path,
        *("schemes", "values.keras", "--preprocess", "preprocess.yaml", "--images", "held_out.csv"),
        *("--representative", "train.csv", "--train", "train.csv", "--scheme", "qat", "-o", "made", "--json"),
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    float32, qat = result["rows"]
    assert result["measure"] == "mse"
    assert float32["quality"] < 0.15  # the noise alone is 0.04, guessing the mean 1.4
    assert qat["quality"] < 1.2 * float32["quality"]
    done = litewatch(
        tmp_path,
        *("schemes", "both.keras", "--preprocess", "preprocess.yaml", "--images", "held_out.csv"),
        *("--task", "regression", "--scheme", "float16", "-o", "made", "--json"),
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["measure"] == "mse"
    assert json.loads(done.stdout)["rows"][0]["quality"] == pytest.approx(float32["quality"], rel=1e-5)


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
