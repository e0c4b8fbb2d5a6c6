"""``litewatch pack`` and ``inspect``: from a model and held-out inputs to a verified bundle."""

import csv
import io
import json
import os
import shlex
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import bundles
import cv2
import flatbuffer_writer as fbw
import numpy as np
import pytest
import tiny

from agent import bundle as bundle_files
from agent.contracts import TensorSpec
from agent.decode.classification import ClassificationDecoder
from agent.decode.detection import DetectionDecoder
from agent.decode.regression import RegressionDecoder
from agent.errors import BundleError
from agent.monitor.pixels import pixel_counts
from calibration.golden import choose
from calibration.labelled import Input, Inputs
from calibration.plan import Request, find_labels, read_model
from calibration.reference_builder import name_hash
from calibration.task import Choice, guess_task, guess_values
from tools.cli import main

pytestmark = pytest.mark.runtime


def problems(folder: Path, **request: Any) -> list[str]:
    with pytest.raises(BundleError) as caught:
        bundles.pack_images(folder, count=request.pop("count", 20), **request)
    return [problem.replace(f"{folder}/", "") for problem in caught.value.problems]


def litewatch(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.fixture
def parts(tmp_path: Path) -> list[object]:
    """The arguments of a pack command for the tiny classifier and 40 images."""
    bundles.pack_images(tmp_path, count=40)
    files = {name: tmp_path / name for name in ("model.tflite", "preprocess.yaml", "labels.txt", "held_out")}
    return [
        *("pack", files["model.tflite"], "--preprocess", files["preprocess.yaml"]),
        *("--labels", files["labels.txt"], "--reference", files["held_out"] / "labels.csv"),
        *("-o", tmp_path / "out.tflite", "--created", bundles.CREATED),
    ]


def test_the_reference_counts_what_the_images_are(tmp_path: Path) -> None:
    packed = bundles.pack_images(tmp_path, count=200)
    reference, built = packed.bundle.reference, packed.built
    images = [cv2.imread(str(path))[..., ::-1] for path in sorted((tmp_path / "held_out").glob("*.png"))]
    small = {
        f"{number:05d}.png": cv2.resize(image, (8, 8), interpolation=cv2.INTER_LINEAR_EXACT)
        for number, image in enumerate(images)
    }
    profile = [image for name, image in small.items() if name_hash(name, "half") % 2 == 0]
    calibration = [name for name in small if name_hash(name, "half") % 2 == 1]
    assert reference.profile.n == len(profile)
    assert len(reference.calibration) == len(calibration) == 200 - len(profile)
    expected = sum(pixel_counts(np.ascontiguousarray(image)) for image in profile)
    np.testing.assert_array_equal(reference.profile.pixels, expected)
    red = reference.features.index("red_mean")
    np.testing.assert_allclose(
        reference.profile.mean[red], np.mean([image[..., 0].mean() for image in profile]), rtol=1e-5
    )
    in_order = sorted(calibration, key=lambda name: name_hash(name, "half"))
    np.testing.assert_allclose(
        reference.calibration[:, red], [small[name][..., 0].mean() for name in in_order], rtol=1e-5
    )
    assert set(reference.groups.names) == {"red", "green", "blue", "other"}
    assert (built.used, built.labelled, built.correct, built.skipped) == (200, 200, 200, ())


def test_held_out_error_of_a_regression(tmp_path: Path) -> None:
    packed = bundles.pack_vectors(tmp_path, count=300)
    rows = np.loadtxt(tmp_path / "held_out.csv", delimiter=",", skiprows=1)
    expected = np.mean((2 * rows[:, 0] + 1 - rows[:, 1]) ** 2)
    assert packed.bundle.reference.mse == pytest.approx(expected, rel=1e-5)
    assert packed.bundle.reference.accuracy is None
    assert packed.bundle.decoder == RegressionDecoder()
    assert packed.decoder_reason == "one output of a single number"


def test_a_label_beyond_every_scale_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def with_a_large_one(path: Path, count: int) -> Path:
        path = write(path, count)
        lines = path.read_text().splitlines()
        reading = lines[3].split(",")[0]
        path.write_text("\n".join([*lines[:3], f"{reading},1e200", *lines[4:]]) + "\n")
        return path

    write = bundles.write_vectors
    monkeypatch.setattr(bundles, "write_vectors", with_a_large_one)
    with pytest.raises(BundleError) as caught:
        bundles.pack_vectors(tmp_path, count=40)
    (problem,) = caught.value.problems
    assert problem.endswith(": expected a label within ±1e+60, got 1e+200")


def test_equal_inputs_give_equal_bytes(tmp_path: Path) -> None:
    first = bundles.pack_images(tmp_path / "a", count=40).data
    second = bundles.pack_images(tmp_path / "b", count=40).data
    assert first == second
    later = bundles.pack_images(tmp_path / "c", count=40, created="2026-01-02T03:04:06Z").data
    assert later != first


def test_the_order_of_the_inputs_moves_no_count(tmp_path: Path) -> None:
    table = bundles.write_images(tmp_path / "held_out", 60)
    header, *rows = table.read_text().splitlines()
    reversed_table = table.with_name("reversed.csv")
    reversed_table.write_text("\n".join([header, *reversed(rows)]) + "\n")
    one, other = (
        bundles.pack_images(tmp_path / name, held_out=held_out).bundle
        for name, held_out in (("a", table), ("b", reversed_table))
    )
    np.testing.assert_array_equal(one.reference.profile.counts, other.reference.profile.counts)
    np.testing.assert_array_equal(one.reference.calibration, other.reference.calibration)
    assert [golden.name for golden in one.golden.inputs] == [golden.name for golden in other.golden.inputs]


def test_golden_inputs_are_a_fixed_random_choice() -> None:
    inputs = [Input(name=f"{number}.png", label=None, path=Path()) for number in range(1000)]
    chosen = [given.name for given in choose(Inputs(where="x", inputs=tuple(inputs)))]
    assert chosen == [given.name for given in choose(Inputs(where="x", inputs=tuple(reversed(inputs))))]
    halves = [name_hash(name, "half") % 2 for name in chosen[:500]]
    assert 200 < sum(halves) < 300  # one choice says nothing of the other


def test_what_a_model_already_carries_survives(tmp_path: Path) -> None:
    carried = io.BytesIO(tiny.CLASSIFIER)
    with zipfile.ZipFile(carried, "a", zipfile.ZIP_DEFLATED) as made:
        made.writestr("license.txt", "free " * 100)
        made.writestr("labels.txt", "background\r\nred\r\ngreen\r\nblue")
    packed = bundles.pack_images(tmp_path, count=20, model_bytes=carried.getvalue(), labels=None)
    assert packed.bundle.labels == bundles.LABELS
    with zipfile.ZipFile(io.BytesIO(packed.data)) as files:
        assert files.read("license.txt") == b"free " * 100
        assert files.read("labels.txt") == b"background\r\nred\r\ngreen\r\nblue"
    again = bundles.pack_images(tmp_path / "again", count=20, model_bytes=packed.data, labels=None)
    assert again.data == packed.data


def test_labels_named_by_the_metadata_are_taken(tmp_path: Path) -> None:
    packed = bundles.pack_images(tmp_path / "plain", count=20, labels=None)
    assert packed.bundle.labels == ()
    described = fbw.metadata(mean=0, std=1, labels="names.txt")
    model = tmp_path / "described.tflite"
    carried = io.BytesIO(fbw.model((1, 8, 8, 3), 3, scale=1 / 255, described=described))
    with zipfile.ZipFile(carried, "a") as made:
        made.writestr("names.txt", "a\nb\n")
    model.write_bytes(carried.getvalue())
    request = Request(model=model, preprocess=model, held_out=model, created="")
    assert find_labels(request, read_model(model)) == (("a", "b"), "described.tflite: names.txt")


def test_every_problem_of_a_request_at_once(tmp_path: Path) -> None:
    (tmp_path / "four.txt").write_text("a\nb\nc\n")
    spec = bundles.IMAGE_SPEC.replace("width: 8", "width: 9").replace("mode: raw", "mode: quantize")
    held_out = tmp_path / "held_out.csv"
    held_out.write_text("file,label\nnone.png,1\n")
    found = problems(tmp_path, spec=spec, labels=tmp_path / "four.txt", held_out=held_out)
    assert found == [
        "preprocess.yaml: preprocess: the steps give 9x8 pixels (width x height), the model's input tensor "
        "is 1x8x8x3 (nhwc)",
        "four.txt: 3 lines, the model has 4 outputs (is the background class missing from the labels?)",
        "held_out.csv: line 2: no file none.png",
    ]


def test_broken_files_are_all_named(tmp_path: Path) -> None:
    found = problems(
        tmp_path,
        model_bytes=tiny.CLASSIFIER[:300],
        spec="steps: []",
        created="yesterday",
    )
    assert found == [
        "model.tflite: the model is damaged: an offset lies outside the file",
        "preprocess.yaml: version: required key is missing",
        "created: expected RFC 3339, such as 2026-01-31T12:00:00Z, got 'yesterday'",
    ]


def test_a_regression_takes_no_labels_file(tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("a\n")
    with pytest.raises(BundleError, match="a regression has no labels file"):
        bundles.pack_vectors(tmp_path, count=20, labels=labels)


def test_corrupt_images_are_counted_skipped_and_named(tmp_path: Path) -> None:
    table = bundles.write_images(tmp_path / "held_out", 40)
    (tmp_path / "held_out" / "00003.png").write_bytes(b"\x89PNG damaged")
    packed = bundles.pack_images(tmp_path, held_out=table)
    assert (packed.built.used, packed.built.labelled) == (39, 39)
    (skipped,) = packed.built.skipped
    assert skipped.startswith("00003.png: decode: ")
    for number in range(4, 9):
        (tmp_path / "held_out" / f"{number:05d}.png").write_bytes(b"nothing")
    found = problems(tmp_path / "again", held_out=table)
    assert found[0] == "more than 10% of the 40 inputs cannot be used"
    assert len(found) == 6


def test_too_few_inputs(tmp_path: Path) -> None:
    assert problems(tmp_path, count=5) == ["5 usable inputs are too few for a reference: expected at least 8"]


def test_the_edge_tpu_twin_goes_along_when_it_is_one(tmp_path: Path) -> None:
    twin = tmp_path / "twin.tflite"
    twin.write_bytes(tiny.EDGETPU)
    packed = bundles.pack_images(tmp_path, count=20, edgetpu=twin)
    assert packed.bundle.edgetpu == tiny.EDGETPU
    twin.write_bytes(tiny.CLASSIFIER)
    assert problems(tmp_path, edgetpu=twin) == [
        "twin.tflite: not compiled for the Edge TPU (no edgetpu-custom-op in it)"
    ]
    assert problems(tmp_path, model_bytes=tiny.EDGETPU) == [
        "model.tflite: compiled for the Edge TPU: pack the .tflite it was compiled from, and give this one "
        "as --edgetpu"
    ]


def test_detection_is_recognised_and_packed_without_labels(tmp_path: Path) -> None:
    packed = bundles.pack_images(tmp_path, count=30, model_bytes=tiny.DETECTOR, labels=None)
    assert packed.bundle.decoder == DetectionDecoder()
    assert packed.decoder_reason == "four outputs shaped as boxes, classes, scores and count"
    assert (packed.bundle.reference.accuracy, packed.built.labelled) == (None, 0)
    assert "output.boxes" in packed.bundle.reference.features
    assert len(packed.bundle.golden.inputs[0].outputs) == 4


def spec(*shape: int, scale: float = 0.0) -> TensorSpec:
    return TensorSpec(name="out", shape=shape, dtype="float32", scale=scale)


def test_the_task_is_guessed_from_the_outputs() -> None:
    assert guess_task([spec(1, 10)], None)[0] == "classification"
    assert guess_task([spec(1, 1)], None)[0] == "regression"
    assert guess_task([spec(), spec(), spec(), spec()], (3, 2, 1, 0))[0] == "detection"
    with pytest.raises(BundleError, match=r"^the model has 2 outputs: say what it does with --task$"):
        guess_task([spec(1, 10), spec(1, 10)], None)


def test_scores_and_logits_are_told_apart() -> None:
    rng = np.random.default_rng(3)
    logits = [rng.normal(0, 4, (1, 10)).astype(np.float32) for _ in range(16)]
    scores = [np.exp(row) / np.exp(row).sum() for row in logits]
    sigmoids = [1 / (1 + np.exp(-row)) for row in logits]
    assert guess_values(logits, spec(1, 10))[0] == "logits"
    assert guess_values(scores, spec(1, 10)) == ("scores", "they lie in 0..1 and sum to 1")
    value, reason = guess_values(sigmoids, spec(1, 10))
    assert value == "scores"
    assert reason.startswith("they lie in 0..1 (each for itself: sums are ")


def test_what_the_user_says_overrides_the_guess(tmp_path: Path) -> None:
    packed = bundles.pack_images(tmp_path, count=20, choice=Choice(values="logits"))
    assert packed.bundle.decoder == ClassificationDecoder(values="logits")
    with pytest.raises(BundleError, match="detection: "):
        bundles.pack_images(tmp_path, count=20, choice=Choice(task="detection"))


MEASURE = """
import resource, sys
from pathlib import Path
from agent.runtime.choice import choose
from calibration import packing
from calibration.plan import Request, prepare
folder = Path(sys.argv[1])
request = Request(model=folder / "model.tflite", preprocess=folder / "preprocess.yaml",
    held_out=folder / sys.argv[2], labels=folder / "labels.txt", created="2026-01-01T00:00:00Z")
packing.pack(prepare(request, choose("auto", cache=None)), key=None, progress=lambda inputs, _: inputs)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    """Held together, 1,800 more images of 480 kB would take 820 MiB."""
    bundles.pack_images(tmp_path, count=20)
    picture = np.random.default_rng(5).integers(0, 255, (400, 400, 3), dtype=np.uint8)
    encoded = cv2.imencode(".jpg", picture)[1].tobytes()
    peaks = {}
    for count in (200, 2000):
        folder = tmp_path / str(count)
        folder.mkdir()
        (folder / "0.jpg").write_bytes(encoded)
        for number in range(1, count):
            (folder / f"{number}.jpg").hardlink_to(folder / "0.jpg")
        done = subprocess.run(
            [sys.executable, "-c", MEASURE, tmp_path, str(count)], capture_output=True, text=True, check=True
        )
        peaks[count] = int(done.stdout)
    assert peaks[2000] - peaks[200] < 16 * 1024  # KiB


def test_the_command_packs_and_says_what_it_did(
    parts: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = litewatch(capsys, *parts, "--training-run", "run-42", "--json")
    assert code == 0
    said = json.loads(out)
    assert {key: said[key] for key in ("task", "labels", "inputs", "labelled", "accuracy", "golden")} == {
        "task": "classification",
        "labels": 4,
        "inputs": 40,
        "labelled": 40,
        "accuracy": 1.0,
        "golden": 8,
    }
    assert said["accuracy_low"] == pytest.approx(0.937, abs=0.001)  # Wilson, 90 %, 40 of 40
    assert said["profile_rows"] + said["calibration_rows"] == 40
    assert said["largest_window"] == said["calibration_rows"] // 4
    assert "warning: " in err
    assert "about 2,000 held-out inputs for the default of 250" in err
    made = bundle_files.load(tmp_path / "out.tflite")
    assert made.manifest.training_run == "run-42"
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_the_summary_for_people(parts: list[object], capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = litewatch(capsys, *parts)
    assert code == 0
    assert "100.0% (93.7% … 100.0%, 90 %) on 40 labelled inputs" in out
    assert "classification (one output of 4 numbers; scores: they lie in 0..1 and sum to 1)" in out


def test_source_date_epoch_makes_packing_repeatable(
    parts: list[object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1767323045")
    assert litewatch(capsys, *parts[: parts.index("--created")])[0] == 0
    by_epoch = (tmp_path / "out.tflite").read_bytes()
    assert litewatch(capsys, *parts)[0] == 0
    assert (tmp_path / "out.tflite").read_bytes() == by_epoch
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    code, _, err = litewatch(capsys, *parts[: parts.index("--created")])
    assert (code, "SOURCE_DATE_EPOCH: expected seconds since 1970, got 'yesterday'" in err) == (2, True)


def test_a_hopeless_accuracy_is_pointed_out(
    parts: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "held_out" / "labels.csv"
    header, *rows = table.read_text().splitlines()
    wrong = [f"{row.split(',')[0]},{int(row.split(',')[1]) - 1}" for row in rows]
    table.write_text("\n".join([header, *wrong]))
    _, _, err = litewatch(capsys, *parts)
    assert "held-out accuracy is 0.0%, hardly better than guessing" in err


def test_failures_leave_what_was_there(
    parts: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "out.tflite"
    output.write_bytes(b"the last good one")
    (tmp_path / "preprocess.yaml").write_text("")
    code, _, err = litewatch(capsys, *parts)
    assert (code, err) == (2, f"error: {tmp_path / 'preprocess.yaml'}: is empty\n")
    assert output.read_bytes() == b"the last good one"
    arguments = [*parts[: parts.index("-o") + 1], tmp_path / "model.tflite"]
    code, _, err = litewatch(capsys, *arguments)
    assert (code, "--output is the model itself" in err) == (2, True)
    arguments = [*parts[: parts.index("-o") + 1], tmp_path / "no" / "where.tflite"]
    (tmp_path / "preprocess.yaml").write_text(bundles.IMAGE_SPEC)
    code, _, err = litewatch(capsys, *arguments)
    assert (code, err.splitlines()[-1]) == (
        2,
        f"error: {tmp_path / 'no' / 'where.tflite'}: cannot be written: No such file or directory",
    )


def test_a_spec_to_start_from(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model, spec_file = tmp_path / "m.tflite", tmp_path / "preprocess.yaml"
    model.write_bytes(tiny.CLASSIFIER)
    code, _, err = litewatch(capsys, "pack", model)
    assert code == 2
    assert f"litewatch pack {model} --write-preprocess preprocess.yaml" in err
    code, _, err = litewatch(capsys, "pack", model, "--write-preprocess", spec_file)
    assert (code, err) == (0, f"written: {spec_file}; check it against the training code\n")
    bundles.pack_images(tmp_path / "packed", count=20, spec=spec_file.read_text())
    code, _, err = litewatch(capsys, "pack", model, "--write-preprocess", spec_file)
    assert (code, err) == (2, f"error: {spec_file}: exists already\n")


def test_a_key_is_made_and_signs(
    parts: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("cryptography", reason="signing needs the extra 'signing'")
    key = tmp_path / "signing.pem"
    code, public, _ = litewatch(capsys, "pack", "--new-key", key)
    assert code == 0
    assert key.stat().st_mode & 0o777 == 0o600
    assert litewatch(capsys, "pack", "--new-key", key)[0] == 2
    assert litewatch(capsys, *parts, "--sign", key)[0] == 0
    made = bundle_files.load(tmp_path / "out.tflite", trusted_keys=[public.strip()])
    code, out, _ = litewatch(
        capsys, "inspect", tmp_path / "out.tflite", "--trusted-key", public.strip(), "--json"
    )
    assert (code, json.loads(out)["signed_by"]) == (0, made.signed_by)
    code, _, err = litewatch(capsys, *parts, "--sign", tmp_path / "model.tflite")
    assert (code, err) == (2, f"error: {tmp_path / 'model.tflite'}: cannot be read: not text\n")


def test_inspect_shows_a_bundle(
    parts: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    litewatch(capsys, *parts)
    code, out, _ = litewatch(capsys, "inspect", tmp_path / "out.tflite")
    assert code == 0
    for text in (
        "out.tflite: good",
        "image: uint8 1×8×8×3, scale 0.00392157, zero point 0",
        "classification (values scores, output 0)",
        "4: background, red, green, blue",
        "version 7: decode, resize, color, cast",
        "100.0% (93.7% … 100.0%, 90 %) on 40 inputs",
    ):
        assert text in out
    code, out, _ = litewatch(capsys, "inspect", tmp_path / "out.tflite", "--json")
    said = json.loads(out)
    assert said["model"]["inputs"][0]["shape"] == [1, 8, 8, 3]
    assert said["reference"]["accuracy"] == 1.0
    assert len(said["golden"]) == 8


def test_inspect_of_what_is_no_good_bundle(
    parts: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, out, err = litewatch(capsys, "inspect", tmp_path / "model.tflite")
    assert code == 2
    assert "scores: uint8 1×4, scale 0.00390625, zero point 0" in out
    assert err == "error: model.tflite: is a .tflite model but not a bundle: run `litewatch pack`\n"
    litewatch(capsys, *parts)
    whole = (tmp_path / "out.tflite").read_bytes()
    (tmp_path / "cut.tflite").write_bytes(whole[:-100])
    code, _, err = litewatch(capsys, "inspect", tmp_path / "cut.tflite", "--json")
    assert (code, err) == (
        2,
        "error: cut.tflite: its end is missing or damaged (truncated while copying?)\n",
    )


def test_texts_of_a_stranger_s_bundle_cannot_dress_up(
    parts: list[object], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    packed = bundles.pack_images(tmp_path / "x", count=20, training_run="[red]good[/] \x1b[2J")
    path = tmp_path / "odd.tflite"
    path.write_bytes(packed.data)
    code, out, _ = litewatch(capsys, "inspect", path)
    assert code == 0
    assert "[red]good[/] �[2J" in out


def test_the_commands_of_the_documentation_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("cryptography", reason="signing needs the extra 'signing'")
    (tmp_path / "model.tflite").write_bytes(tiny.CLASSIFIER)
    (tmp_path / "labels.txt").write_text("\n".join(bundles.LABELS))
    bundles.write_images(tmp_path / "held_out", 40)
    monkeypatch.chdir(tmp_path)
    text = (Path(__file__).parent.parent / "docs" / "bundle.md").read_text().replace("\\\n", " ")
    commands = [
        line.removeprefix("$ litewatch ") for line in text.splitlines() if line.startswith("$ litewatch")
    ]
    assert len(commands) >= 5
    public = ""
    for command in commands:
        code, out, err = litewatch(capsys, *shlex.split(command.replace("BASE64KEY", public)))
        assert code == 0, (command, err)
        public = out.strip() if "--new-key" in command else public


def test_a_published_model_from_its_own_metadata(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The data pack's float MobileNet: labels and normalisation come out of the file."""
    model = data / "models" / "mobilenet_v1_0.25_224_1_metadata_1.tflite"
    spec_file = tmp_path / "preprocess.yaml"
    assert litewatch(capsys, "pack", model, "--write-preprocess", spec_file)[0] == 0
    cropped = "\n- crop:\n    kind: central_fraction\n    fraction: 0.875\n    rounding: floor\n- resize:\n"
    text = spec_file.read_text().replace("\n- resize:\n", cropped).replace("linear_exact", "linear")
    spec_file.write_text(text)
    with (data / "labels.csv").open(newline="") as file:
        listed = [row for row in csv.DictReader(file) if row["source"] == "nips17_ccby"]
    table = tmp_path / "held_out.csv"
    rows = (f"{data / 'images' / row['file']},{row['output_index_1001']}\n" for row in listed)
    table.write_text("".join(("file,label\n", *rows)))
    output = tmp_path / "bundle.tflite"
    given = ("--preprocess", spec_file, "--reference", table, "--no-replay", "-o", output)
    code, out, err = litewatch(capsys, "pack", model, *given, "--json")
    assert code == 0, err
    said = json.loads(out)
    assert (said["labels"], said["labelled"]) == (1001, 84)
    assert said["accuracy"] == pytest.approx(0.595, abs=0.02)  # the pack's README: 59.5 %
    with zipfile.ZipFile(model) as before, zipfile.ZipFile(output) as after:
        assert after.read("labels.txt") == before.read("labels.txt")
    assert output.read_bytes().startswith(bundle_files.load(output).flatbuffer)


def test_file_names_that_are_not_utf8(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = bundles.write_images(tmp_path / "held_out", 40).parent
    (folder / "labels.csv").unlink()
    for number, image in enumerate(sorted(folder.glob("*.png"))):
        image.rename(folder / os.fsdecode(b"caf\xe9-%02d.png" % number))
    (folder / os.fsdecode(b"caf\xe9-07.png")).write_bytes(b"\x89PNG damaged")
    bundles.pack_images(tmp_path / "plain", count=20)
    model = tmp_path / "plain" / "model.tflite"
    code, out, _ = litewatch(
        capsys,
        *("pack", model.rename(model.with_name(os.fsdecode(b"mod\xe8le.tflite"))), "--json"),
        *("--preprocess", model.with_name("preprocess.yaml"), "--labels", model.with_name("labels.txt")),
        *("--reference", folder, "-o", tmp_path / "out.tflite"),
    )
    assert code == 0
    said = json.loads(out)
    assert said["inputs"] == 39
    assert said["skipped"][0].startswith("caf\N{REPLACEMENT CHARACTER}-07.png: decode: ")
    code, out, _ = litewatch(capsys, "inspect", tmp_path / "out.tflite", "--json")
    assert code == 0
    said = json.loads(out)
    assert said["name"] == "mod\N{REPLACEMENT CHARACTER}le"
    assert {given["name"][:5] for given in said["golden"]} == {"caf\N{REPLACEMENT CHARACTER}-"}
