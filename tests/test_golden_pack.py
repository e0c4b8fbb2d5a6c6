"""``pack --golden`` and ``inspect`` as commands: what they say, and what they refuse."""

import json
from pathlib import Path

import bundles
import numpy as np
import pytest
import textures
import tiny
from test_golden import dump

from tools.cli import main

pytestmark = pytest.mark.runtime


def litewatch(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.fixture
def command(tmp_path: Path) -> list[object]:
    """A pack command for the tiny quantized twin with a golden set of 20 + 10 out of 50 textures."""
    for name, content in (("model", tiny.TWIN_INT8), ("float", tiny.TWIN_FLOAT)):
        (tmp_path / f"{name}.tflite").write_bytes(content)
    (tmp_path / "preprocess.yaml").write_text(bundles.TWIN_SPEC)
    (tmp_path / "labels.txt").write_text("\n".join(textures.LABELS))
    return [
        *("pack", tmp_path / "model.tflite", "--preprocess", tmp_path / "preprocess.yaml"),
        *("--labels", tmp_path / "labels.txt", "--reference", textures.write(tmp_path / "held_out", 30)),
        *("--golden", textures.write(tmp_path / "golden", 50, seed=22), "--golden-count", 20),
        *("--golden-margin", 10, "-o", tmp_path / "bundle.tflite"),
    ]


def test_the_summary_says_what_the_golden_set_is(
    command: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, _ = litewatch(capsys, *command, "--float", tmp_path / "float.tflite", "--json")
    assert code == 0
    said = json.loads(out)
    counts = (said["golden"], said["golden_random"], said["golden_margin"], said["golden_labelled"])
    assert counts == (30, 20, 10, 20)
    assert (said["golden_origin"], said["golden_difference"], said["golden_float"]) == ("self-made", "", True)
    assert said["training_parity"] is None
    assert 0.6 < said["float_accuracy"] <= 1.0
    assert abs(said["golden_accuracy"] - said["float_accuracy"]) <= 0.05
    code, out, _ = litewatch(capsys, "inspect", tmp_path / "bundle.tflite", "--json")
    assert code == 0
    seen = json.loads(out)
    golden = [file["bytes"] for file in seen["files"] if file["name"].startswith("litewatch/golden/")]
    assert said["golden_bytes"] == seen["golden_bytes"] == sum(golden)
    pictures = {path.name: path.stat().st_size for path in (tmp_path / "golden").glob("*.png")}
    assert seen["golden_original_bytes"] == sum(pictures[given["name"]] for given in seen["golden"])
    tensors = [file["bytes"] for file in seen["files"] if ".tensor." in file["name"]]
    assert (len(tensors), seen["golden_tensor_bytes"]) == (30, sum(tensors))
    assert [given["stratum"] for given in seen["golden"]] == ["random"] * 20 + ["margin"] * 10
    assert seen["golden"][0]["tensor"] == {"form": "view", "exact": True}
    assert seen["recording"]["origin"] == "self-made"
    code, out, _ = litewatch(capsys, "inspect", tmp_path / "bundle.tflite")
    assert f"20 random, 10 undecided; in all {sum(golden) / 2**20:.2f} MiB, originals" in out
    assert "self-made: prove that devices agree with the spec, not that the spec agrees with training" in out


def test_training_tensors_are_compared_and_said(
    command: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tensors = dump(tmp_path / "tensors", tmp_path / "golden")
    code, out, _ = litewatch(capsys, *command, "--golden-tensors", tensors)
    assert code == 0
    assert "recorded by training's own code" in out
    assert "50 of 50 training tensors are exactly what the spec makes" in out


def test_a_difference_is_refused_or_recorded(
    command: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tensors = dump(tmp_path / "tensors", tmp_path / "golden", np.fliplr)
    code, out, err = litewatch(capsys, *command, "--golden-tensors", tensors)
    assert (code, out) == (2, "")
    assert "50 of 50 training tensors are not what the spec makes; first differing step: rotate (" in err
    assert not (tmp_path / "bundle.tflite").exists()
    code, out, _ = litewatch(capsys, *command, "--golden-tensors", tensors, "--accept-difference", "--json")
    said = json.loads(out)
    assert (code, said["golden_origin"]) == (0, "recorded")
    assert "first differing step: rotate (" in said["golden_difference"]
    assert said["training_parity"]["step"] == "rotate"
    code, out, _ = litewatch(capsys, "inspect", tmp_path / "bundle.tflite")
    assert "accepted difference" in out


def test_options_that_cannot_be_met_are_all_named(
    command: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = litewatch(
        capsys,
        *command,
        *("--golden-tensors", tmp_path / "nowhere", "--float", tmp_path / "labels.txt", "--tolerance", 1),
    )
    assert code == 2
    assert [
        line.removeprefix("error: ").strip().replace(f"{tmp_path}/", "") for line in err.splitlines()
    ] == [
        "nowhere: no such folder",
        "--tolerance is for regressions, this is a classification model",
        "labels.txt: not a .tflite model (the identifier TFL3 is missing)",
    ]


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--golden-max-mb", "nan"),
        ("--golden-max-mb", "inf"),
        ("--golden-originals-mb", "nan"),
        ("--tolerance", "nan"),
        ("--tolerance", "inf"),
        ("--threshold", "nan"),
    ],
)
def test_numbers_that_are_none_are_refused(
    option: str, value: str, command: list[object], capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = litewatch(capsys, *command, option, value)
    assert code == 2
    assert option in err
    assert value in err


def test_a_place_that_cannot_be_written_is_said_before_anything_is_run(
    command: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "preprocess.yaml").write_text("this is refused as soon as it is read")
    for place, reason in (("absent/b.tflite", "No such file or directory"), ("golden", "it is a folder")):
        code, _, err = litewatch(capsys, *command[:-1], tmp_path / place)
        assert (code, err) == (2, f"error: {tmp_path / place}: cannot be written: {reason}\n")
