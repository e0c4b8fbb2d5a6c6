"""``litewatch preprocess find``: from a model and images to ranked specs, and a file for pack."""

import csv
import json
import re
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import bundles
import click
import numpy as np
import pytest
import tiny

from agent.errors import BundleError, LabelError
from agent.preprocess.spec import parse
from calibration.candidate.question import Question, prepare
from calibration.search import Found, search
from tools.cli import main
from tools.commands.preprocess import preprocess

ROOT = Path(__file__).resolve().parent.parent
MODELS = "mobilenet_v1_0.25_224_1_metadata_1.tflite", "mobilenet_v1_0.25_224_quant.tflite"


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    assert main(["preprocess", "find", *map(str, arguments), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.tflite"
    path.write_bytes(tiny.CLASSIFIER)
    return path


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return bundles.write_images(tmp_path / "images", 40)


def photographs(data: Path, table: Path, count: int) -> Path:
    with (data / "labels.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if not row["file"].startswith("coco")]
    order = np.random.default_rng(5).permutation(len(rows))[:count]
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("file", "label"))
        writer.writerows((data / "images" / rows[at]["file"], rows[at]["output_index_1001"]) for at in order)
    return table


def colours(ranked: Iterable[dict[str, Any]]) -> set[str]:
    return {step["color"]["order"] for one in ranked for step in one["spec"]["steps"] if "color" in step}


@pytest.mark.runtime
def test_swapped_colours_are_told_apart_and_what_changes_nothing_is_not(
    model: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The tiny model sees one colour per image: a swap is ruinous, crops and turns mean nothing."""
    found = run(capsys, model, "--images", images)
    alike = [one for one in found["ranked"] if not one["distinguishable"]]
    assert colours(alike) == {"rgb"}
    assert colours(found["ranked"]) == {"rgb", "bgr"}
    assert {word for one in alike for word in one["words"]} >= {"turned 90° clockwise", "centre square"}
    assert found["labelled"] and not found["weak_model"] and found["images"] == 40
    scores = [one["score"] for one in found["ranked"]]
    assert scores == sorted(scores, reverse=True)
    assert found["ranked"][0]["worse_by"] == 0 and found["ranked"][0]["accuracy"] > 0.9
    assert any("Truly worse" in line and "bgr" in line for line in found["verdict"])


@pytest.mark.runtime
def test_the_written_file_packs(
    model: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec, bundle = tmp_path / "preprocess.yaml", tmp_path / "bundle.tflite"
    found = run(capsys, model, "--images", images, "--write", spec)
    text = spec.read_text()
    assert parse(text) == parse(json.dumps(found["ranked"][0]["spec"]))
    comment = " ".join(line.removeprefix("#").strip() for line in text.splitlines() if line.startswith("#"))
    assert "Not to be told apart from it" in comment and "centre square" in comment
    assert "Truly worse" in comment and "bgr" in comment
    packing = ("pack", model, "--preprocess", spec, "--reference", images, "-o", bundle)
    assert main(list(map(str, packing))) == 0
    capsys.readouterr()
    assert main(["preprocess", "find", str(model), "--images", str(images), "--write", str(spec)]) == 2
    assert capsys.readouterr().err == f"error: {spec}: exists already\n"
    # A bundle is searched like the model in it.
    again = run(capsys, bundle, "--images", images)
    assert again["ranked"] == found["ranked"]


@pytest.mark.runtime
def test_without_labels_it_says_that_it_is_weaker(
    model: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = run(capsys, model, "--images", images.parent)
    assert not found["labelled"]
    assert found["judged_by"] == "confidence and agreement (weaker)"
    assert any("weaker" in line for line in found["verdict"])
    assert all(one["accuracy"] is None for one in found["ranked"])


@pytest.mark.runtime
def test_people_get_a_table_and_sentences(
    model: Path, images: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["preprocess", "find", str(model), "--images", str(images), "--count", "30"]) == 0
    said = capsys.readouterr().out
    assert "Best on 30 labelled images" in said
    assert re.search(r"worse .*bgr", said)


@pytest.mark.runtime
def test_a_model_that_works_with_none_of_them_gets_no_file(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Labels that have nothing to do with the pictures."""
    table, spec = bundles.write_images(tmp_path / "images", 40), tmp_path / "preprocess.yaml"
    with table.open() as file:
        rows = list(csv.reader(file))
    shuffled = np.random.default_rng(3).permutation([label for _, label in rows[1:]])
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([rows[0], *zip((name for name, _ in rows[1:]), shuffled, strict=True)])
    code = main(["preprocess", "find", str(model), "--images", str(table), "--write", str(spec), "--json"])
    said = capsys.readouterr()
    assert (code, spec.exists()) == (1, False)
    assert json.loads(said.out)["weak_model"]
    assert f"not written: {spec}: with none of the preprocessings does the model work" in said.err


def test_a_file_that_cannot_be_written_is_said_before_the_search(
    model: Path, images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = tmp_path / "absent" / "preprocess.yaml"
    assert main(["preprocess", "find", "no.tflite", "--images", str(images), "--write", str(spec)]) == 2
    assert capsys.readouterr().err == (
        f"error: --write: {spec}: cannot be written: there is no folder {spec.parent}\n"
    )


@pytest.mark.runtime
def test_shifted_labels_are_an_error(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Class numbers without the background class in a model that has one."""
    table = bundles.write_images(tmp_path / "images", 40)
    with table.open() as file:
        rows = list(csv.reader(file))
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([rows[0], *((name, int(label) - 1) for name, label in rows[1:])])
    assert main(["preprocess", "find", str(model), "--images", str(table)]) == 2
    assert "labels: they seem one too low" in capsys.readouterr().err


@pytest.mark.runtime
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (tiny.LINEAR, "a regression model"),
        (tiny.DETECTOR, "a detection model"),
        (tiny.EDGETPU, "compiled for the Edge TPU"),
    ],
)
def test_what_cannot_be_searched_says_why(content: bytes, said: str, tmp_path: Path, images: Path) -> None:
    path = tmp_path / "other.tflite"
    path.write_bytes(content)
    with pytest.raises(BundleError, match=said):
        prepare(Question(model=path, images=images), tiny.runtime())


@pytest.mark.runtime
def test_damaged_images_are_skipped_and_named(model: Path, images: Path) -> None:
    (images.parent / "00007.png").write_bytes(b"\x89PNG damaged")
    made = prepare(Question(model=model, images=images), tiny.runtime())
    assert len(made.evaluation) == 39
    (warning,) = made.warnings
    assert warning.startswith("1 of 40 images cannot be used, the first: 00007.png: decode: ")
    for at in range(10):
        (images.parent / f"{at:05d}.png").write_bytes(b"nothing")
    with pytest.raises(LabelError, match="30 of 40 images can be used"):
        prepare(Question(model=model, images=images), tiny.runtime())


@pytest.mark.runtime
def test_the_same_question_gets_the_same_answer(model: Path, images: Path) -> None:
    def answer() -> Found:
        made = prepare(Question(model=model, images=images, count=20), tiny.runtime())
        return search(made.evaluation, scores=True, watch=lambda inputs, _: inputs)

    assert answer().ranked == answer().ranked


def test_a_real_models_preprocessing_is_among_those_that_cannot_be_told_apart(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The data pack says: central 87.5 %, bilinear, RGB, bytes as they are. 40 photographs are enough
    to refuse what ruins the model."""
    table = photographs(data, tmp_path / "held_out.csv", 40)
    found = run(capsys, data / "models" / MODELS[1], "--images", table)
    alike = [one for one in found["ranked"] if not one["distinguishable"]]
    truth = {
        "crop": {"kind": "central_fraction", "fraction": 0.875, "rounding": "tensorflow"},
        "resize": {"width": 224, "height": 224, "method": "linear", "aspect": "stretch"},
        "color": {"order": "rgb"},
    }
    assert any(
        {name: step[name] for step in one["spec"]["steps"] for name in step if name in truth} == truth
        for one in alike
    )
    assert colours(alike) == {"rgb"}
    worse = {word for one in found["ranked"] for word in one["words"] if one["distinguishable"]}
    assert worse >= {"turned 90° clockwise", "turned 270° clockwise"}


def test_the_pages_examples_exist() -> None:
    text = (ROOT / "docs" / "find.md").read_text().replace("\\\n", " ")
    examples = re.findall(r"^litewatch preprocess (.*)$", text, flags=re.MULTILINE)
    assert examples
    for line in examples:
        name, *words = shlex.split(line.split(" #")[0])
        command = preprocess.get_command(click.Context(preprocess), name)
        assert command is not None, line
        known = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("-")} <= known, line
