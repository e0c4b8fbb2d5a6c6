"""The golden set: which inputs, what is recorded of them, and what training's tensors are held against."""

import csv
import hashlib
import json
from pathlib import Path
from typing import Any

import bundles
import cv2
import numpy as np
import pytest
import textures
import tiny

from agent import bundle as bundle_files
from agent.contracts import Array, Classification, Detections, Regression, TensorSpec
from agent.decode.classification import ClassificationDecoder
from agent.decode.regression import RegressionDecoder
from agent.errors import BundleError
from agent.golden import GoldenInput, GoldenSet, decode, encode
from agent.golden_tensor import restore
from agent.preprocess.compiled import compile_spec
from agent.quantize import quantize
from agent.selftest import answers
from calibration.golden import choose, margin
from calibration.labelled import find_images
from calibration.outcomes import Truth, read_answers, right
from calibration.packing import Packed
from calibration.recorded.doubts import answer_doubts
from calibration.recorded.figures import figures

pytestmark = pytest.mark.runtime


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("golden")


@pytest.fixture(scope="module")
def packed(folder: Path) -> Packed:
    return bundles.pack_twin(folder)


def prepared_by_hand(path: Path) -> Array:
    """What ``bundles.TWIN_SPEC`` says, without the agent's code: real numbers, 16x16x3."""
    image = cv2.imread(str(path))[1:-1, 1:-1, ::-1]
    small = cv2.resize(np.ascontiguousarray(image), (16, 16), interpolation=cv2.INTER_LINEAR_EXACT)
    return small.astype(np.float32) / np.float32(127.5) - np.float32(1)


def dump(folder: Path, images: Path, change: Any = lambda tensor: tensor) -> Path:
    """Training's own tensors of the images, as ``.npy`` of real numbers."""
    folder.mkdir()
    for path in sorted(images.glob("*.png")):
        np.save(folder / f"{path.name}.npy", change(prepared_by_hand(path)))
    return folder


def problems(folder: Path, **request: Any) -> list[str]:
    with pytest.raises(BundleError) as caught:
        bundles.pack_twin(folder, **request)
    return [problem.replace(f"{folder}/", "") for problem in caught.value.problems]


def test_both_strata_are_recorded_the_random_one_first(packed: Packed, folder: Path) -> None:
    golden = packed.bundle.golden
    assert [given.stratum for given in golden.inputs] == ["random"] * 32 + ["margin"] * 16
    blind = [given.name for given in choose(find_images(folder / "golden" / "labels.csv", int))]
    assert [given.name for given in golden.stratum("random")] == blind[:32]
    labels = dict(csv.reader((folder / "golden" / "labels.csv").open()))
    assert all(str(given.label) == labels[given.name] for given in golden.inputs)
    first = golden.inputs[0]
    assert first.encoded == (folder / "golden" / first.name).read_bytes()
    assert [trace.step for trace in first.traces] == [
        "decode",
        "crop",
        "resize",
        "color",
        "normalize",
        "cast",
    ]


def test_the_margin_stratum_is_the_least_decided_of_the_rest(packed: Packed, folder: Path) -> None:
    runner = tiny.runner(tiny.TWIN_INT8)
    inputs = choose(find_images(folder / "golden" / "labels.csv", int))[32:]
    leads = {}
    for given in inputs:
        assert given.path is not None
        tensor = quantize(prepared_by_hand(given.path)[None], runner.input, "half_even")
        second, first = np.sort(runner.run(tensor)[0].astype(int).ravel())[-2:]
        leads[given.name] = first - second
    chosen = [given.name for given in packed.bundle.golden.stratum("margin")]
    assert [leads[name] for name in chosen] == sorted(leads.values())[:16]


def test_outputs_are_those_of_the_training_tensor_and_of_the_float_twin(packed: Packed, folder: Path) -> None:
    bundle = packed.bundle
    reference, floating = tiny.runner(tiny.TWIN_INT8, kernels="reference"), tiny.runner(tiny.TWIN_FLOAT)
    compiled = compile_spec(bundle.spec, reference.input)
    for given in bundle.golden.inputs[::5]:
        assert given.tensor is not None
        assert given.float_outputs is not None
        real = prepared_by_hand(folder / "golden" / given.name)[None]
        tensor = quantize(real, reference.input, "half_even")
        restored = restore(given.tensor, compiled, reference.input)
        np.testing.assert_array_equal(restored, tensor)
        assert given.tensor.sha256 == hashlib.sha256(tensor.tobytes()).hexdigest()
        np.testing.assert_array_equal(reference.run(tensor)[0], given.outputs[0])
        stored = (tensor.astype(np.float32) + 1) * np.float32(reference.input.scale)
        np.testing.assert_allclose(floating.run(stored)[0], given.float_outputs[0], atol=1e-6)
    random = bundle.golden.stratum("random")
    right = np.mean([int(np.argmax(given.outputs[0])) == given.label for given in random])
    twin = [int(np.argmax(given.float_outputs[0])) == given.label for given in random if given.float_outputs]
    assert (packed.figures.accuracy, packed.figures.float_accuracy) == (right, np.mean(twin))
    assert 0.7 < right < 1


def test_a_bundle_says_who_recorded_it_and_where(packed: Packed) -> None:
    recording = packed.bundle.golden.recording
    assert recording is not None
    assert (recording.origin, recording.difference, recording.tolerance) == ("self-made", "", None)
    assert (recording.runtime, recording.opencv) == (tiny.runtime().name, cv2.__version__)
    assert recording.float_model == hashlib.sha256(tiny.TWIN_FLOAT).hexdigest()


def test_without_a_golden_set_a_few_held_out_inputs_are_recorded(tmp_path: Path) -> None:
    golden = bundles.pack_images(tmp_path, count=40).bundle.golden
    assert [given.stratum for given in golden.inputs] == ["random"] * 8
    assert all(given.tensor is not None and given.tensor.exact for given in golden.inputs)
    assert golden.inputs[0].float_outputs is None
    assert golden.recording is not None
    assert golden.recording.origin == "self-made"


def test_a_bundle_of_before_still_reads(packed: Packed) -> None:
    """Without strata, tensors, float outputs and recording, as earlier versions wrote it."""
    files = encode(packed.bundle.golden)
    index = json.loads(files["litewatch/golden/index.json"])
    old = {
        "outputs": index["outputs"],
        "inputs": [
            {key: given[key] for key in ("name", "file", "label", "vector", "traces")}
            for given in index["inputs"]
        ],
    }
    kept = {name: content for name, content in files.items() if "tensor" not in name and "float" not in name}
    golden = decode(kept | {"litewatch/golden/index.json": json.dumps(old).encode()}, where="b")
    assert golden.recording is None
    assert {(given.stratum, given.tensor, given.float_outputs) for given in golden.inputs} == {
        ("random", None, None)
    }
    assert [given.encoded for given in golden.inputs] == [
        given.encoded for given in packed.bundle.golden.inputs
    ]


def test_an_agent_keeps_only_what_it_needs_but_verifies_all(packed: Packed) -> None:
    whole = bundle_files.read(packed.data, name="b")
    few = bundle_files.read(packed.data, name="b", most_golden=4)
    assert [given.name for given in few.golden.inputs] == [given.name for given in whole.golden.inputs[:4]]
    assert few.golden.inputs[3].traces == whole.golden.inputs[3].traces
    assert few.golden.inputs[3].outputs[0].base is None
    assert few.golden.recording == whole.golden.recording
    last = whole.golden.inputs[-1].encoded
    place = packed.data.index(last) + len(last) // 2
    damaged = packed.data[:place] + bytes([packed.data[place] ^ 1]) + packed.data[place + 1 :]
    with pytest.raises(BundleError, match=r"golden/0047\.png"):
        bundle_files.read(damaged, name="b", most_golden=4)


def test_float_outputs_are_kept_where_every_input_has_them(packed: Packed) -> None:
    inputs = packed.bundle.golden.inputs[:2]
    without = GoldenInput(
        name="x", encoded=b"", label=None, traces=(), outputs=inputs[0].outputs, float_outputs=None
    )
    read = decode(encode(GoldenSet(inputs=(*inputs, without))), where="b")
    assert [given.float_outputs for given in read.inputs] == [None] * 3


def test_too_little_room_means_fewer_inputs_in_blind_order(tmp_path: Path, packed: Packed) -> None:
    sizes = [file.bytes for file in packed.bundle.manifest.files if ".tensor." in file.name]
    room = sum(sizes[:40])
    small = bundles.pack_twin(tmp_path, golden_max_bytes=room)
    names = [given.name for given in small.bundle.golden.inputs]
    assert names == [given.name for given in packed.bundle.golden.inputs[:40]]
    assert small.notes[0].startswith("only 40 golden inputs: the recorded tensors of one more would be above")
    assert problems(tmp_path / "none", golden_max_bytes=10)[0].endswith("no golden input can be recorded")


def test_unreadable_golden_inputs_are_passed_over_and_said(tmp_path: Path, packed: Packed) -> None:
    table = textures.write(tmp_path / "golden", 80, seed=22)
    broken = packed.bundle.golden.inputs[3].name
    (tmp_path / "golden" / broken).write_bytes(b"\x89PNG damaged")
    made = bundles.pack_twin(tmp_path, golden=table)
    names = [given.name for given in made.bundle.golden.stratum("random")]
    assert broken not in names
    assert len(names) == 32
    (note,) = made.notes
    assert note.startswith(f"golden inputs that cannot be used: 1, the first: {broken}: decode: not an image")


def test_training_tensors_of_the_same_numbers_are_recorded(tmp_path: Path) -> None:
    table = textures.write(tmp_path / "golden", 80, seed=22)
    made = bundles.pack_twin(
        tmp_path, golden=table, golden_tensors=dump(tmp_path / "tensors", tmp_path / "golden")
    )
    recording = made.bundle.golden.recording
    assert recording is not None
    assert (recording.origin, recording.difference) == ("recorded", "")
    assert made.parity is not None
    assert (made.parity.compared, made.parity.exact) == (80, 80)


@pytest.mark.parametrize(
    ("change", "step"),
    [
        (lambda tensor: tensor[..., ::-1], "color"),
        (lambda tensor: (tensor + 1) / 2, "normalize"),
        (lambda tensor: np.rot90(tensor), "rotate"),
    ],
)
def test_other_training_tensors_are_refused_with_the_step(change: Any, step: str, tmp_path: Path) -> None:
    table = textures.write(tmp_path / "golden", 80, seed=22)
    tensors = dump(tmp_path / "tensors", tmp_path / "golden", change)
    found = problems(tmp_path, golden=table, golden_tensors=tensors)
    start = f"tensors: 80 of 80 training tensors are not what the spec makes; first differing step: {step} ("
    assert found[0].startswith(start)
    assert "--accept-difference" in found[1]


def test_an_accepted_difference_is_recorded_and_the_agent_still_answers(tmp_path: Path) -> None:
    table = textures.write(tmp_path / "golden", 80, seed=22)
    tensors = dump(tmp_path / "tensors", tmp_path / "golden", lambda tensor: tensor[..., ::-1])
    made = bundles.pack_twin(tmp_path, golden=table, golden_tensors=tensors, accept_difference=True).bundle
    assert made.golden.recording is not None
    assert made.golden.recording.origin == "recorded"
    assert "first differing step: color" in made.golden.recording.difference
    runner = tiny.runner(tiny.TWIN_INT8, kernels="reference")
    compiled = compile_spec(made.spec, runner.input)
    given = made.golden.inputs[0]
    assert given.tensor is not None
    swapped = prepared_by_hand(tmp_path / "golden" / given.name)[None, ..., ::-1]
    np.testing.assert_array_equal(
        restore(given.tensor, compiled, runner.input), quantize(swapped, runner.input, "half_even")
    )
    np.testing.assert_array_equal(
        runner.run(restore(given.tensor, compiled, runner.input))[0], given.outputs[0]
    )
    assert answers(made, compiled, runner).right


def test_unusable_training_tensors_are_named(tmp_path: Path) -> None:
    table = textures.write(tmp_path / "golden", 80, seed=22)
    folder, held_out = tmp_path / "tensors", textures.write(tmp_path / "held_out", 20)
    request = {"golden": table, "golden_tensors": folder, "held_out": held_out}
    assert problems(tmp_path, **request) == ["tensors: no such folder"]
    folder.mkdir()
    (none,) = problems(tmp_path, **request)
    assert none.startswith("tensors: no tensor of any golden input in it (00000.png.npy")
    first = choose(find_images(table, int))[0].name
    for tensor, said in (
        (
            np.zeros((3, 16, 16), np.float32),
            "is 3x16x16, the model's input 1x16x16x3: its axes are in another order (cast: layout)",
        ),
        (
            np.zeros((8, 8, 3), np.float32),
            "is 8x8x3, the model's input 1x16x16x3 (with or without its first axis)",
        ),
        (np.full((16, 16, 3), np.nan, np.float32), "holds numbers that are not finite"),
        (
            np.full((16, 16, 3), 200, np.uint8),
            "holds uint8 from 200 to 200, which cannot be the int8 that the model takes by "
            "'cast: {mode: quantize}'",
        ),
        (np.array(["text"]), "is no .npy array of numbers: not a .npy array of plain numbers"),
    ):
        np.save(folder / f"{first}.npy", tensor)
        assert problems(tmp_path, **request) == [f"tensors/{first}.npy: {said}"]


def test_one_tensor_for_two_inputs_is_refused(tmp_path: Path) -> None:
    for label in ("0", "1"):
        textures.write(tmp_path / "golden" / label, 2, seed=22)
        (tmp_path / "golden" / label / "labels.csv").unlink()
    folder = tmp_path / "tensors"
    folder.mkdir()
    np.save(folder / "00000.npy", np.zeros((16, 16, 3), np.float32))
    (found,) = problems(tmp_path, golden=tmp_path / "golden", golden_tensors=folder)
    assert found.startswith("tensors: one tensor for 2 inputs, such as 0/00000.png and 1/00000.png")


def test_a_model_that_is_no_twin_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.tflite").write_bytes(tiny.CLASSIFIER)
    (tmp_path / "text.tflite").write_bytes(b"not a model at all")
    start = "other.tflite: is not the float twin: its"
    assert problems(tmp_path, float_model=tmp_path / "other.tflite") == [
        f"{start} input is uint8, expected float32",
        f"{start} input is (1, 8, 8, 3), that of the quantized model (1, 16, 16, 3)",
        f"{start} outputs are uint8, expected float32",
    ]
    (found,) = problems(tmp_path, float_model=tmp_path / "text.tflite")
    assert "not a .tflite model" in found
    assert problems(tmp_path, float_model=tiny.STRANGER_DYNAMIC) == [
        "float.tflite: is not the float twin: 1 of its weights are quantized "
        "(sequential_1/second_1/convolution: int8)"
    ]


def test_a_stranger_in_the_place_of_the_float_twin_is_doubted(tmp_path: Path, packed: Packed) -> None:
    assert packed.notes == ()
    notes = bundles.pack_twin(tmp_path, float_model=tiny.STRANGER_FLOAT).notes
    assert notes[0].endswith("is it the model that this one was quantized from?")
    assert notes[0].startswith("the float model's weights are not this model's (")


def answered(own: list[int], twin: list[int], labels: list[int | None]) -> GoldenSet:
    """A golden set of a classifier of 4 that gave these answers."""
    inputs = [
        GoldenInput(
            name=str(number),
            encoded=b"",
            label=label,
            traces=(),
            outputs=(np.eye(4, dtype=np.uint8)[mine][None] * 255,),
            float_outputs=(np.eye(4, dtype=np.float32)[theirs][None],),
        )
        for number, (mine, theirs, label) in enumerate(zip(own, twin, labels, strict=True))
    ]
    return GoldenSet(inputs=tuple(inputs))


def test_answers_that_twins_do_not_give_are_pointed_out() -> None:
    outputs = (TensorSpec(name="scores", shape=(1, 4), dtype="uint8", scale=1 / 256, zero_point=0),)

    def doubts(own: list[int], twin: list[int], labels: list[int | None]) -> list[str]:
        found = answer_doubts(answered(own, twin, labels), ClassificationDecoder(values="scores"), outputs)
        return [doubt.partition(":")[0] for doubt in found]

    same, none = [0, 1, 2, 3] * 10, [None] * 40
    assert doubts(same, same, none) == doubts(same, same, list(same)) == []
    # A sixth of the answers moved, as quantization-aware training does.
    assert doubts(same, [1] * 7 + same[7:], list(same)) == []
    few, worse = (
        "the float model gives the same answer to only 13 of 40 golden inputs",
        "the float model is wrong where this one is right on 27 golden inputs, the other way round on 0",
    )
    other = [3] * 36 + same[36:]
    assert doubts(same, other, none) == doubts(other, same, list(same)) == [few]
    assert doubts(same, other, list(same)) == [few, worse]


def test_the_tolerance_of_a_regression(tmp_path: Path) -> None:
    made = bundles.pack_vectors(tmp_path / "a", count=200)
    mse = made.built.reference.mse
    assert mse is not None
    assert made.figures.tolerance == pytest.approx(2 * mse**0.5)
    assert made.figures.tolerance_reason == "2 x the held-out RMSE"
    assert made.bundle.golden.recording is not None
    assert made.bundle.golden.recording.tolerance == made.figures.tolerance
    given = bundles.pack_vectors(tmp_path / "b", count=200, tolerance=0.25).figures
    assert (given.tolerance, given.tolerance_reason) == (0.25, "as given")
    assert problems(tmp_path / "c", tolerance=1.0) == [
        "--tolerance is for regressions, this is a classification model"
    ]


def regression(values: list[float], labels: list[float] | None, floats: list[float] | None) -> GoldenSet:
    return GoldenSet(
        inputs=tuple(
            GoldenInput(
                name=str(number),
                encoded=b"",
                label=None if labels is None else labels[number],
                traces=(),
                outputs=(np.array([[value]], np.float32),),
                float_outputs=None if floats is None else (np.array([[floats[number]]], np.float32),),
            )
            for number, value in enumerate(values)
        )
    )


def test_a_worse_model_does_not_make_more_right() -> None:
    outputs = (TensorSpec(name="y", shape=(1, 1), dtype="float32"),)
    rng = np.random.default_rng(4)
    truth = rng.normal(0, 10, 60)
    broken, floats = list(truth + rng.normal(0, 30, 60)), list(truth + rng.normal(0, 1, 60))

    def found(golden: GoldenSet, **given: Any) -> Any:
        values: dict[str, Any] = {"tolerance": None, "mse": 900.0, "labels": list(truth)}
        return figures(golden, decoder=RegressionDecoder(), outputs=outputs, **(values | given))

    with_twin = found(regression(broken, list(truth), floats))
    rmse = float(np.sqrt(np.mean((np.float32(floats) - truth) ** 2)))
    assert with_twin.tolerance == pytest.approx(2 * rmse)
    assert with_twin.tolerance_reason == "2 x the float model's RMSE on the golden inputs"
    assert with_twin.float_accuracy > 0.9 > 0.2 > with_twin.accuracy
    alone = found(regression(broken, list(truth), None))
    low, high = np.percentile(truth, (5, 95))
    assert alone.tolerance == pytest.approx((high - low) / 10)
    assert alone.tolerance_reason == "a tenth of the labels' range, less than 2 x the held-out RMSE"
    assert [note.partition(",")[0] for note in alone.notes] == [
        "the held-out RMSE of 30 is no smaller than the standard deviation of the labels"
    ]
    good = found(regression(floats, list(truth), None), mse=1.0)
    assert (good.tolerance, good.tolerance_reason, good.notes) == (2.0, "2 x the held-out RMSE", ())
    unlabelled = found(regression([0.0, 5.0, 20.0], None, None), mse=None, labels=[])
    assert (unlabelled.tolerance, unlabelled.tolerance_reason) == (
        2.0,
        "a tenth of the range of the golden outputs",
    )


def test_every_value_of_a_regression_has_to_be_right() -> None:
    outputs = (TensorSpec(name="y", shape=(1, 3), dtype="float32"),)
    made = [(np.array([[1, 1.1, 0.9]], np.float32),), (np.array([[1, 1, 5]], np.float32),)]
    answers = read_answers(made, outputs, RegressionDecoder())
    assert list(right(answers, Truth(labels=(1.0, 1.0), tolerance=0.2))) == [True, False]
    golden = GoldenSet(
        inputs=tuple(GoldenInput(name="", encoded=b"", label=1.0, traces=(), outputs=one) for one in made)
    )
    found = figures(golden, decoder=RegressionDecoder(), outputs=outputs, tolerance=0.2, mse=None)
    assert found.accuracy == 0.5


def test_too_few_inputs_are_said(tmp_path: Path) -> None:
    table = textures.write(tmp_path / "golden", 40, seed=22)
    assert bundles.pack_twin(tmp_path, golden=table).notes == (
        "8 undecided golden inputs of the 16 asked for: there were no more",
    )
    assert bundles.pack_twin(tmp_path, golden=table, golden_count=50).notes == (
        "40 random golden inputs of the 50 asked for: there were no more",
        "0 undecided golden inputs of the 16 asked for: there were no more",
    )


def test_originals_have_a_limit_of_their_own(tmp_path: Path, packed: Packed) -> None:
    room = sum(len(given.encoded) for given in packed.bundle.golden.inputs[:10])
    made = bundles.pack_twin(tmp_path, golden_max_originals_bytes=room)
    assert len(made.bundle.golden.inputs) == 10
    assert made.notes[0].startswith("only 10 golden inputs: the originals of one more would be above")


def test_vectors_have_golden_sets_too(tmp_path: Path) -> None:
    table = bundles.write_vectors(tmp_path / "golden.csv", 40, seed=9)
    made = bundles.pack_vectors(tmp_path, golden=table, golden_count=20)
    assert len(made.bundle.golden.inputs) == 20
    assert made.notes == ("no margin stratum: it is made for classes and detections only",)
    first = made.bundle.golden.inputs[0]
    assert first.tensor is not None
    assert (first.tensor.form, first.tensor.exact) == ("array", True)
    tensors = tmp_path / "tensors"
    tensors.mkdir()
    for given in made.bundle.golden.inputs:
        assert isinstance(given.payload, np.ndarray)
        np.save(tensors / f"{given.name}.npy", given.payload.astype(np.float32) * 2)
    with pytest.raises(BundleError, match=r"20 of 20 training tensors .*; first differing step: select "):
        bundles.pack_vectors(tmp_path / "again", golden=table, golden_count=20, golden_tensors=tensors)


def test_margins() -> None:
    scores = np.array([0.1, 0.7, 0.2], np.float32)
    assert margin(Classification(scores=scores, top=1, score=0.7)) == pytest.approx(0.5)
    found = Detections(
        boxes=np.zeros((2, 4), np.float32),
        classes=np.zeros(2, np.int64),
        scores=np.array([0.9, 0.45], np.float32),
    )
    assert margin(found, 0.5) == pytest.approx(0.05)
    assert margin(Regression(values=np.zeros(1))) is None


def test_real_models_and_their_float_twin(tmp_path: Path, data: Path) -> None:
    """MobileNet v1 0.25 uint8 and float on 24 photographs: the pack's known accuracy within noise."""
    with (data / "labels.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if "imagenet_sample" in row["file"]]
    for name, chosen in (("held_out.csv", rows[:20]), ("golden.csv", rows[60:84])):
        with (tmp_path / name).open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("file", "label"))
            writer.writerows((data / "images" / row["file"], row["output_index_1001"]) for row in chosen)
    resize = "width: 8, height: 8"
    spec = bundles.IMAGE_SPEC.replace(resize, "width: 224, height: 224")
    spec = spec.replace(
        "- resize", "- crop: {kind: central_fraction, fraction: 0.875, rounding: tensorflow}\n- resize"
    )
    made = bundles.pack_images(
        tmp_path,
        model_bytes=(data / "models" / "mobilenet_v1_0.25_224_quant.tflite").read_bytes(),
        spec=spec,
        labels=data / "labels" / "imagenet_1001_background_first.txt",
        held_out=tmp_path / "held_out.csv",
        golden=tmp_path / "golden.csv",
        golden_count=16,
        golden_margin=4,
        float_model=data / "models" / "mobilenet_v1_0.25_224_1_metadata_1.tflite",
    )
    golden = made.bundle.golden
    assert [given.stratum for given in golden.inputs] == ["random"] * 16 + ["margin"] * 4
    assert {(given.tensor.form, given.tensor.exact) for given in golden.inputs if given.tensor} == {
        ("view", True)
    }
    sizes = [file.bytes for file in made.bundle.manifest.files if ".tensor.webp" in file.name]
    assert len(sizes) == 20
    assert 50_000 < np.mean(sizes) < 110_000
    agreed = [
        int(np.argmax(given.outputs[0])) == int(np.argmax(given.float_outputs[0]))
        for given in golden.inputs
        if given.float_outputs is not None
    ]
    assert 12 <= sum(agreed) <= 20
    assert made.figures.float_accuracy is not None
    assert 0.3 <= made.figures.float_accuracy <= 0.9
