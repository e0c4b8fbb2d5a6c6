"""``litewatch diagnose``: from a bundle and the preprocessing in use to what each factor costs."""

import csv
import json
import os
import re
from pathlib import Path
from typing import Any

import bundles
import cv2
import numpy as np
import pytest
import textures
import tiny
import twins

from agent import bundle as bundle_files
from agent.decode.classification import ClassificationDecoder
from agent.decode.detection import DetectionDecoder
from agent.preprocess.compiled import run_steps
from agent.preprocess.spec import parse
from calibration import attribution, result_file
from calibration.diagnosis import Case, Mixes, Models, diagnose
from calibration.evaluation import Decoded, Evaluation
from calibration.factors import factors, mix
from tools.cli import main

pytestmark = pytest.mark.runtime
BGR = bundles.TWIN_SPEC.replace("rgb", "bgr")
MIXED = BGR.replace("- color", "- rotate: {clockwise: 90, flip: none}\n- color").replace(
    "linear_exact", "nearest"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the int8 texture model with 32 random golden inputs, and its float twin."""
    made = tmp_path_factory.mktemp("diagnose")
    bundles.make_golden_bundle(made)
    (made / "float.tflite").write_bytes(tiny.TWIN_FLOAT)
    (made / "bgr.yaml").write_text(BGR)
    (made / "mixed.yaml").write_text(MIXED)
    (made / "same.yaml").write_text(bundles.TWIN_SPEC.replace('"1"', '"another label"'))
    return made


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main(["diagnose", *(str(argument) for argument in arguments)])
    said = capsys.readouterr()
    return code, said.out, said.err


def as_json(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any]]:
    code, out, err = run(capsys, *arguments, "--json")
    assert out, err
    return code, json.loads(out)


def accuracy(folder: Path, spec: str) -> float:
    """Over the random stratum, step by step, with nothing of the diagnosis."""
    made = bundle_files.load(folder / "bundle.tflite")
    runner = tiny.runner(made.flatbuffer)
    golden = made.golden.stratum("random")
    tensors = [run_steps(parse(spec), runner.input, given.payload).tensor for given in golden]
    tops = [int(runner.run(tensor)[0].argmax()) for tensor in tensors]
    return float(np.mean([top == given.label for top, given in zip(tops, golden, strict=True)]))


def test_costs_add_up_to_the_loss(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = as_json(capsys, folder / "bundle.tflite", "--deployed", folder / "mixed.yaml")
    assert (found["inputs"], found["measure"], found["exact"], found["mixes"]) == (32, "accuracy", True, 8)
    assert found["trained"] == accuracy(folder, bundles.TWIN_SPEC)
    assert found["deployed"] == accuracy(folder, MIXED)
    assert found["loss_points"] == pytest.approx(100 * (found["trained"] - found["deployed"]))
    assert sum(factor["points"] for factor in found["factors"]) == pytest.approx(found["loss_points"])
    assert {(factor["name"], factor["step"]) for factor in found["factors"]} == {
        ("interpolation", "resize"),
        ("rotation", "rotate"),
        ("colour order", "color"),
    }
    assert all(factor["low"] <= factor["points"] <= factor["high"] for factor in found["factors"])
    without = MIXED.replace("- rotate: {clockwise: 90, flip: none}\n", "")
    turned = next(factor for factor in found["factors"] if factor["name"] == "rotation")
    assert turned["repaired_points"] == pytest.approx(
        100 * (accuracy(folder, without) - accuracy(folder, MIXED))
    )
    assert (found["first"], code) == ("rotation", 1)
    assert "Repair rotation first (rotate: {clockwise: 90, flip: none} instead of none)" in found["sentence"]
    assert result_file.dump(result_file.load_diagnosis(found)) == found


def test_quantization_and_kernels_are_factors_when_asked_for(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = as_json(
        capsys, folder / "bundle.tflite", "--float", folder / "float.tflite", "--kernels", "xnnpack"
    )
    assert {(f["name"], f["step"], f["trained"], f["deployed"]) for f in found["factors"]} == {
        ("quantization", None, "float", "quantized"),
        ("kernels", None, "builtin", "xnnpack"),
    }
    assert sum(factor["points"] for factor in found["factors"]) == pytest.approx(found["loss_points"])
    assert (code == 1) == any(factor["proven"] for factor in found["factors"])


def test_a_broken_quantization_is_named_with_its_layers(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One weight tensor of the quantized model is zeroed before packing."""
    tensors = [each for each in twins.graph(tiny.TWIN_INT8).tensors if each.dtype == "int8" and each.content]
    largest = max(tensors, key=lambda each: len(each.content))
    broken = twins.with_weights(tiny.TWIN_INT8, largest.index, np.zeros(len(largest.content), np.int8))
    bundle = bundles.make_golden_bundle(tmp_path, model_bytes=broken)
    code, found = as_json(
        capsys, bundle, "--deployed", folder / "bgr.yaml", "--float", folder / "float.tflite"
    )
    assert (code, found["factors"][0]["name"], found["first"]) == (1, "quantization", "quantization")
    assert "Quantize better first" in found["sentence"]
    assert largest.name in " ".join(found["layers"]["findings"]) or found["layers"]["jump"]


def test_the_same_steps_cost_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = as_json(capsys, folder / "bundle.tflite", "--deployed", folder / "same.yaml")
    assert (code, found["factors"], found["loss_points"], found["first"]) == (0, [], 0, None)
    assert found["sentence"] == (
        "The two specs prepare inputs the same, and nothing else differs: nothing to share out."
    )
    _, out, err = run(capsys, folder / "bundle.tflite", "--deployed", folder / "same.yaml")
    assert (out, err.splitlines()[0]) == ("", found["sentence"])
    assert "uantization" not in err


def test_a_table_bars_and_a_report(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "report.html"
    code, out, err = run(
        capsys, folder / "bundle.tflite", "--deployed", folder / "mixed.yaml", "--html", page
    )
    assert code == 1
    assert "rotation" in out and "█" in out and "Repair rotation first" in err
    assert "twice as large, lies inside nine times in ten" in err
    assert "rotation" in page.read_text()


def test_labelled_images_in_place_of_the_golden_set(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = textures.write(tmp_path / "images", 60, seed=5)
    arguments = (folder / "bundle.tflite", "--deployed", folder / "bgr.yaml", "--images", table)
    _, found = as_json(capsys, *arguments)
    assert found["inputs"] == 60
    with table.open("a", newline="") as file:
        (tmp_path / "images" / "broken.png").write_bytes(b"no image")
        (tmp_path / "images" / "unlabelled.png").write_bytes((tmp_path / "images" / "00000.png").read_bytes())
        csv.writer(file).writerows([("broken.png", "0"), ("unlabelled.png", "")])
    _, again = as_json(capsys, *arguments)
    assert again["factors"] == found["factors"]
    assert again["notes"][0] == "1 inputs have no label and are left out."
    assert "1 inputs cannot be used and are left out: broken.png: decode" in again["notes"][1]


def test_without_labels_agreement_is_counted_and_said(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = textures.write(tmp_path / "images", 40, seed=6).parent
    (images / "labels.csv").unlink()
    arguments = (folder / "bundle.tflite", "--deployed", folder / "mixed.yaml", "--images", images)
    code, found = as_json(capsys, *arguments)
    assert (found["measure"], found["trained"]) == ("agreement", 1.0)
    changed = 100 * (1 - found["deployed"])
    assert changed > 30
    assert f"changes {changed:.1f} % of the answers on 40 inputs without labels" in found["sentence"]
    assert "Label some inputs to know" in found["sentence"]
    # Whatever changes answers can only lower the agreement: that accuses nobody.
    assert (code, found["first"]) == (0, None)
    assert {(factor["proven"], factor["p"]) for factor in found["factors"]} == {(False, None)}
    assert found["loss_low"] >= 0
    assert any("There are no labels" in note for note in found["notes"])
    assert result_file.dump(result_file.load_diagnosis(found)) == found
    page = tmp_path / "report.html"
    code, out, err = run(capsys, *arguments, "--html", page)
    assert code == 0 and "Answers changed" in out
    body = re.sub(r"<style.*?</style>", "", page.read_text(), flags=re.DOTALL)
    for text in (out, err, body):
        assert not re.search(r"\bcosts?\b|gives? back|\bproven\b(?! harmful)|Fix first", text), text


def test_a_healthy_quantized_model_without_labels_is_not_accused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Some answers of any quantized model are not its float twin's: enough of them once made it guilty."""
    rng = np.random.default_rng(0)
    for number in range(400):
        faint = np.clip(128 + rng.normal(0, 20, (18, 18, 3)), 0, 255).astype(np.uint8)
        cv2.imwrite(str(tmp_path / f"{number}.png"), faint)
    code, found = as_json(
        capsys, folder / "bundle.tflite", "--float", folder / "float.tflite", "--images", tmp_path
    )
    assert found["loss_points"] * 4 >= 6, "six answers that only get worse would be significant"
    assert (code, found["first"], found["factors"][0]["proven"]) == (0, None, False)


@pytest.mark.parametrize("bad", ["absent/report.html", "sealed/report.html"])
def test_a_report_that_cannot_be_written_is_said_before_the_work(
    bad: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "sealed").mkdir(mode=0o500)
    if bad.startswith("sealed") and os.access(tmp_path / "sealed", os.W_OK):
        pytest.skip("this user may write everywhere")
    # The bundle does not exist either: the path is looked at first.
    code, out, err = run(capsys, tmp_path / "no.tflite", "--kernels", "xnnpack", "--html", tmp_path / bad)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: --html: {tmp_path / bad}: cannot be written: ")


def test_what_cannot_be_used_is_said_with_its_place(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = folder / "bundle.tflite"
    assert run(capsys, bundle)[0] == 2
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(bundles.TWIN_SPEC.replace("width: 16", "width: 17"))
    code, _, err = run(capsys, bundle, "--deployed", wrong)
    assert (code, f"error: {wrong}: preprocess: the steps give 17x16 pixels" in err) == (2, True)
    wrong.write_text(bundles.VECTOR_SPEC)
    assert run(capsys, bundle, "--deployed", wrong)[0] == 2
    code, _, err = run(capsys, bundle, "--deployed", tmp_path / "none.yaml")
    assert (code, err) == (2, f"error: {tmp_path / 'none.yaml'}: cannot be read: No such file or directory\n")
    code, _, err = run(capsys, bundle, "--float", bundle)
    assert (code, "is not the float twin" in err) == (2, True)
    code, _, err = run(capsys, bundle, "--deployed", folder / "bgr.yaml", "--images", tmp_path / "no.csv")
    assert (code, "no such file or folder" in err) == (2, True)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full here")
def test_a_full_disk_does_not_swallow_the_result(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(
        capsys, folder / "bundle.tflite", "--deployed", folder / "bgr.yaml", "--html", "/dev/full", "--json"
    )
    assert (code, err) == (2, "error: --html: /dev/full: cannot be written: No space left on device\n")
    assert json.loads(out)["factors"][0]["name"] == "colour order"


def test_readings_of_sensors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Right within twice the held-out RMSE (1.0): readings shifted by 2 are all wrong."""
    bundle = bundles.make_bundle(tmp_path, vectors=True)
    shifted = tmp_path / "shifted.yaml"
    shifted.write_text(bundles.VECTOR_SPEC.replace("- cast", "- standardize: {mean: [2], std: [1]}\n- cast"))
    held_out = bundles.write_vectors(tmp_path / "more.csv", 50, seed=9)
    code, found = as_json(capsys, bundle, "--deployed", shifted, "--images", held_out)
    assert (code, [f["name"] for f in found["factors"]]) == (1, ["normalisation"])
    assert found["deployed"] == 0 and found["trained"] > 0.9


def test_boxes_are_compared_with_the_healthy_models() -> None:
    """Mirrored left to right, the two boxes of the tiny detector change their scores, not their
    places; below the threshold one is lost."""
    training = parse(bundles.IMAGE_SPEC)
    deployed = parse(
        bundles.IMAGE_SPEC.replace("- color", "- rotate: {clockwise: 0, flip: horizontal}\n- color")
    )
    bright_left = np.full((8, 8, 3), 40, np.uint8)
    bright_left[:, :4] = 220
    case = Case(
        bundle="detector",
        task="detection",
        training=training,
        deployed=deployed,
        models=Models(model=tiny.runner(tiny.DETECTOR), kernels="auto"),
        decoder=DetectionDecoder(threshold=0.5),
        inputs=Decoded([bright_left] * 4),
        labels=None,
    )
    found = diagnose(case, Mixes(case))
    assert (found.measure, found.loss_points, [f.name for f in found.factors]) == (
        "agreement", 100.0, ["rotation"],
    )  # fmt: skip
    assert found.sentence == (
        "What differs changes 100.0 % of the answers on 4 inputs without labels (rotation). Whether they are "
        "better or worse cannot be said: true boxes are not read."
    )


def test_faults_that_hide_one_another_are_repaired_together() -> None:
    """Either fault alone makes every answer wrong, so repairing one alone gives nothing back."""
    training = parse(bundles.IMAGE_SPEC)
    deployed = parse(
        bundles.IMAGE_SPEC.replace("- color: {order: rgb}", "- color: {order: bgr}").replace(
            "- cast", "- normalize: {mean: [0], std: [1000]}\n- cast"
        )
    )
    red = np.full((8, 8, 3), 100, np.uint8)
    red[..., 0] = 200
    case = Case(
        bundle="colours",
        task="classification",
        training=training,
        deployed=deployed,
        models=Models(model=tiny.runner(tiny.CLASSIFIER), kernels="auto"),
        decoder=ClassificationDecoder(values="scores"),
        inputs=Decoded([red] * 12),
        labels=(1,) * 12,
    )
    found = diagnose(case, Mixes(case))
    assert [(f.points, f.repaired_points) for f in found.factors] == [(50.0, 0.0), (50.0, 0.0)]
    assert "one repair alone gives nothing back" in found.sentence
    assert "Only 12 inputs" in found.notes[0]


SHIPPED = """\
version: "1"
steps:
- decode: {exif: ignore}
- crop: {kind: central_fraction, fraction: 0.875, rounding: floor}
- resize: {width: 224, height: 224, method: linear, aspect: stretch}
- color: {order: rgb}
- cast: {mode: raw, rounding: half_away, layout: nhwc}
"""
LETTERBOX_BGR = """\
version: "1"
steps:
- decode: {exif: ignore}
- resize: {width: 224, height: 224, method: linear, aspect: fit}
- pad: {kind: size, width: 224, height: 224, value: [0], position: center}
- color: {order: bgr}
- cast: {mode: raw, rounding: half_away, layout: nhwc}
"""


def test_costs_on_photographs_and_their_intervals(data: Path, rng: np.random.Generator) -> None:
    """MobileNet v1 on the pack: the costs that were measured there (conditions.csv), and the interval
    from 64 photographs holds the cost on the other 220 in at least 85 % of draws."""
    rows = [row for row in csv.DictReader((data / "labels.csv").open()) if "coco" not in row["file"]]
    payloads = [(data / "images" / row["file"]).read_bytes() for row in rows]
    labels = [int(row["output_index_1001"]) for row in rows]
    model = tiny.runner((data / "models" / "mobilenet_v1_0.25_224_quant.tflite").read_bytes())
    evaluation = Evaluation(model, ClassificationDecoder(values="scores"), payloads, labels)
    training, deployed = parse(SHIPPED), parse(LETTERBOX_BGR)
    names = [factor.name for factor in factors(training, deployed)]
    assert names == ["crop", "resize aspect", "colour order"]
    plan = attribution.design(3)
    mixes = {
        m: mix(training, deployed, {name for i, name in enumerate(names) if m >> i & 1}) for m in plan.mixes
    }
    evaluation.prefetch(mixes.values())
    outcomes = {m: evaluation.right(spec).astype(np.float64) for m, spec in mixes.items()}
    sample = np.array(["imagenet_sample" in row["file"] for row in rows])
    # conditions.csv on imagenet_sample, another runtime's kernels: 58.5 % healthy, BGR 36.5, no crop 55.5.
    for found, measured in ((0, 0.585), (4, 0.365), (1, 0.555)):
        assert outcomes[found][sample].mean() == pytest.approx(measured, abs=0.03)
    costs = attribution.shares(outcomes, plan).costs
    assert costs.mean(axis=1).argmax() == 2
    held = []
    for _ in range(100):
        order = rng.permutation(len(rows))
        low, high = attribution.intervals(costs[:, order[:64]], np.zeros(3)).T
        truth = costs[:, order[64:]].mean(axis=1)
        held.append((low <= truth) & (truth <= high))
    assert np.mean(held, axis=0).min() >= 0.85
