"""The recorder: what a training script writes is what ``pack`` takes."""

import csv
import subprocess
import sys
from pathlib import Path

import bundles
import cv2
import numpy as np
import pytest
import textures
import tiny

from agent.errors import BundleError, LabelError
from calibration.recorder import Recorder

ROOT = Path(__file__).resolve().parent.parent


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "recording.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def encoded(image: np.ndarray, suffix: str = ".png") -> bytes:
    return cv2.imencode(suffix, image[..., ::-1])[1].tobytes()


def record_textures(folder: Path, *, outputs: bool = True, swapped: bool = False) -> Path:
    """A training script: its own preprocessing, and the float model's answers."""
    images, labels = textures.draw(40, seed=5)
    model = tiny.runner(tiny.TWIN_FLOAT)
    with Recorder(folder) as recorder:
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            seen = image[..., ::-1] if swapped else image
            tensor = cv2.resize(seen[1:-1, 1:-1], (16, 16), interpolation=cv2.INTER_LINEAR_EXACT) / 127.5 - 1
            made = model.run(tensor[None].astype(np.float32))[0]
            recorder.record(
                encoded(image), tensor, label, made if outputs else None, name=f"train/{number}.png"
            )
    return folder


@pytest.mark.runtime
def test_a_recording_is_a_golden_set_with_training_tensors_and_float_outputs(tmp_path: Path) -> None:
    folder = record_textures(tmp_path / "recording")
    made = bundles.pack_twin(tmp_path, golden=folder, golden_margin=4, float_model=None)
    golden = made.bundle.golden
    assert golden.recording is not None
    assert (golden.recording.origin, golden.recording.float_model) == ("recorded", None)
    assert made.parity is not None
    # float64 in the script, float32 in the spec: a value may round to the next code.
    assert (made.parity.compared, made.parity.differs) == (40, False)
    assert len(golden.inputs) == 36
    model = tiny.runner(tiny.TWIN_FLOAT)
    images, labels = textures.draw(40, seed=5)
    for given in golden.inputs[:6]:
        number = int(Path(given.name).stem)
        assert given.label == labels[number]
        assert given.encoded == encoded(images[number])
        assert given.float_outputs is not None
        tensor = cv2.resize(images[number][1:-1, 1:-1], (16, 16), interpolation=cv2.INTER_LINEAR_EXACT)
        expected = model.run(tensor[None].astype(np.float32) / np.float32(127.5) - 1)[0]
        np.testing.assert_allclose(given.float_outputs[0], expected, atol=1e-6)
    assert made.figures.float_accuracy is not None


@pytest.mark.runtime
def test_a_recording_of_another_preprocessing_is_refused(tmp_path: Path) -> None:
    folder = record_textures(tmp_path / "recording", swapped=True)
    with pytest.raises(BundleError, match=r"40 of 40 .* first differing step: color"):
        bundles.pack_twin(tmp_path, golden=folder, golden_margin=4, float_model=None)


@pytest.mark.runtime
def test_outputs_of_another_size_are_refused(tmp_path: Path) -> None:
    folder = record_textures(tmp_path / "recording", outputs=False)
    named = rows(folder)
    with (folder / "recording.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ("file", "label", "tensor", "outputs"))
        writer.writeheader()
        writer.writerows([row | {"outputs": "outputs/x.npy"} for row in named])
    np.save(folder / "outputs" / "x.npy", np.zeros(7))
    with pytest.raises(BundleError, match=r"outputs/x.npy: outputs of \[7\] numbers, the model gives \[4\]"):
        bundles.pack_twin(tmp_path, golden=folder, float_model=None)


def test_names_labels_and_outputs_of_every_kind(tmp_path: Path) -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    with Recorder(tmp_path) as recorder:
        recorder.record(encoded(image), image)
        recorder.record(encoded(image, ".jpg"), image, np.int64(3))
        recorder.record(encoded(image), image, 0.5, [0.1, 0.9], name="/data/cat/a;b.png")
        recorder.record(encoded(image), image, "red", [np.zeros(2), np.zeros((1, 3))], name="dog/a_b.png")
        assert len(recorder) == 4
    names = ["000000.png", "000001.jpg", "a_b.png", "a_b-2.png"]
    assert [row["file"] for row in rows(tmp_path)] == [f"inputs/{name}" for name in names]
    assert [row["tensor"] for row in rows(tmp_path)] == [f"tensors/{name}.npy" for name in names]
    assert [row["label"] for row in rows(tmp_path)] == ["", "3", "0.5", "red"]
    assert [row["outputs"] for row in rows(tmp_path)] == [
        "",
        "",
        "outputs/a_b.png.0.npy",
        "outputs/a_b-2.png.0.npy;outputs/a_b-2.png.1.npy",
    ]
    np.testing.assert_array_equal(np.load(tmp_path / "outputs" / "a_b.png.0.npy"), [0.1, 0.9])
    assert np.load(tmp_path / "outputs" / "a_b-2.png.1.npy").shape == (1, 3)


def test_a_script_that_breaks_off_leaves_what_it_recorded(tmp_path: Path) -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    with pytest.raises(RuntimeError), Recorder(tmp_path) as recorder:
        recorder.record(encoded(image), image, 1)
        raise RuntimeError
    assert len(rows(tmp_path)) == 1
    with pytest.raises(LabelError, match="holds a recording already"):
        Recorder(tmp_path)


class Unreadable:
    def __array__(self, *_: object, **__: object) -> np.ndarray:
        raise RuntimeError("gone")


def test_a_record_that_fails_leaves_nothing_and_keeps_its_name_free(tmp_path: Path) -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    with Recorder(tmp_path) as recorder:
        for tensor, label, outputs, error in (
            (Unreadable(), 1, None, RuntimeError),
            (np.array(["text"]), 1, None, LabelError),
            (image, 1, [image, Unreadable()], RuntimeError),
            (image, 1, np.array([None, None]), LabelError),
            (image, np.zeros(2), None, LabelError),
            (image, object(), None, LabelError),
        ):
            with pytest.raises(error):
                recorder.record(encoded(image), tensor, label, outputs, name="a.png")
            assert len(recorder) == 0
            assert [path for path in tmp_path.rglob("*.*") if path.name != "recording.csv"] == []
        # A folder in a file's place: the original is written, the tensor is not.
        (tmp_path / "tensors" / "a.png.npy").mkdir()
        with pytest.raises(OSError, match="directory"):
            recorder.record(encoded(image), image, name="a.png")
        (tmp_path / "tensors" / "a.png.npy").rmdir()
        assert list((tmp_path / "inputs").iterdir()) == []
        recorder.record(encoded(image), image, name="a.png")
    assert [row["file"] for row in rows(tmp_path)] == ["inputs/a.png"]


def test_names_that_are_none_and_names_that_some_file_systems_take_for_one(tmp_path: Path) -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    with Recorder(tmp_path) as recorder:
        for name in ("..", "a/..", "/", "", ".", " ", "a\n.png"):
            with pytest.raises(LabelError, match="is no file name"):
                recorder.record(encoded(image), image, name=name)
        for name in ("A.png", "a.PNG", "x/../a.png"):
            recorder.record(encoded(image), image, name=name)
    assert [row["file"] for row in rows(tmp_path)] == ["inputs/A.png", "inputs/a-2.PNG", "inputs/a-3.png"]


def test_a_truth_value_is_a_class(tmp_path: Path) -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    with Recorder(tmp_path) as recorder:
        for label in (True, np.bool_(False), np.array([2]), b"red"):
            recorder.record(encoded(image), image, label)
    assert [row["label"] for row in rows(tmp_path)] == ["1", "0", "2", "red"]


def test_a_training_script_needs_numpy_only() -> None:
    code = (
        "import sys; import calibration.recorder; "
        "assert not {'cv2', 'yaml', 'cattrs', 'click', 'ai_edge_litert'} & set(sys.modules), sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
