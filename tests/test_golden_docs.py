"""docs/golden.md: its examples run, and what they record is a golden set."""

import csv
import importlib.util
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from calibration.labelled import find_images
from calibration.recorded.training_tensors import TrainingTensors, input_list

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docs" / "golden.md").read_text()
PYTHON = re.findall(r"^```python\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


def test_the_page_has_its_examples() -> None:
    assert len(PYTHON) == 3


@pytest.mark.parametrize("number", range(3))
def test_examples_record_what_pack_takes(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = PYTHON[number]
    for library in ("tensorflow", "torch"):
        if f"import {library}" in code and importlib.util.find_spec(library) is None:
            pytest.skip(f"skipped: no {library}")
    (tmp_path / "images").mkdir()
    rng = np.random.default_rng(5)
    for i in range(3):
        picture = cv2.GaussianBlur(rng.integers(0, 256, (250 + i, 330, 3), dtype=np.uint8), (0, 0), 2)
        cv2.imwrite(str(tmp_path / "images" / f"{i}.jpg"), picture)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, f"docs/golden.md[{number}]", "exec"), {"__name__": "example"})
    with (tmp_path / "recording" / "recording.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 3
    inputs = find_images(input_list(tmp_path / "recording"), int)
    originals = {path.read_bytes() for path in (tmp_path / "images").iterdir()}
    assert {given.payload() for given in inputs} == originals
    tensors = TrainingTensors.open(tmp_path / "recording", [given.name for given in inputs])
    for path in tensors.files.values():
        tensor = np.load(path)
        assert (tensor.shape, tensor.dtype) == ((224, 224, 3), np.float32)
        assert -1 <= tensor.min() < tensor.max() <= 1
    assert all(len(files) == (number > 0) for files in tensors.output_files.values())
