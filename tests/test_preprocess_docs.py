"""docs/preprocessing.md: its examples run, and it names every step and parameter."""

import importlib.util
import re
from dataclasses import fields
from pathlib import Path

import cv2
import numpy as np
import pytest

from agent.preprocess.spec import dump, parse
from agent.preprocess.steps import STEPS

ROOT = Path(__file__).resolve().parent.parent
TEXT = (ROOT / "docs" / "preprocessing.md").read_text()
PYTHON = re.findall(r"^```python\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
YAML = re.findall(r"^```yaml\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("number", range(len(PYTHON)))
def test_python_examples_run(number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = PYTHON[number]
    for library in ("tensorflow", "torch"):
        if f"import {library}" in code and importlib.util.find_spec(library) is None:
            pytest.skip(f"skipped: no {library}")
    (tmp_path / "preprocess.yaml").write_text((ROOT / "tests" / "fixtures" / "preprocess.yaml").read_text())
    (tmp_path / "images").mkdir()
    rng = np.random.default_rng(5)
    for i in range(3):
        picture = cv2.GaussianBlur(rng.integers(0, 256, (250 + i, 330, 3), dtype=np.uint8), (0, 0), 2)
        cv2.imwrite(str(tmp_path / "images" / f"{i}.jpg"), picture)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, f"docs/preprocessing.md[{number}]", "exec"), {"__name__": "example"})


def test_the_page_has_its_examples() -> None:
    assert len(PYTHON) == 4
    assert len(YAML) == 2


@pytest.mark.parametrize("text", YAML)
def test_yaml_examples_parse(text: str) -> None:
    spec = parse(text)
    assert parse(dump(spec)) == spec


def test_the_first_example_is_the_checked_in_one() -> None:
    assert parse(YAML[0]) == parse((ROOT / "tests" / "fixtures" / "preprocess.yaml").read_text())


def test_every_step_kind_parameter_and_choice_is_documented() -> None:
    missing = []
    for name, kinds in STEPS.items():
        for kind, cls in kinds.items():
            words = [name, *([kind] if kind else []), *(field.name for field in fields(cls))]
            for field in fields(cls):
                words += re.findall(r"'(\w+)'", str(field.type))
            missing += [f"{name}: {word}" for word in words if not re.search(rf"`?\b{word}\b", TEXT)]
    assert missing == []
