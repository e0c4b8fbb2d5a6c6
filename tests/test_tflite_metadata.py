"""What a .tflite says of itself, read without a runtime, from good files and from damaged ones."""

import zipfile
from pathlib import Path

import flatbuffer_writer as fbw
import pytest
import tiny
from hypothesis import given
from hypothesis import strategies as st

from agent.contracts import TensorSpec
from agent.errors import BundleError, SpecError
from agent.preprocess import spec as specs
from agent.preprocess.compiled import compile_spec
from agent.preprocess.values import Normalize
from calibration import tflite_metadata
from calibration.suggestion import suggest
from calibration.tflite_metadata import Metadata, Normalization


def test_the_tensors_of_a_model() -> None:
    model = tflite_metadata.read(tiny.CLASSIFIER, where="m")
    (entry,), (output,) = model.inputs, model.outputs
    assert (entry.name, entry.shape, entry.dtype, entry.zero_point) == ("image", (1, 8, 8, 3), "uint8", 0)
    assert entry.scale == pytest.approx(1 / 255)
    assert output == TensorSpec(name="scores", shape=(1, 4), dtype="uint8", scale=1 / 256, zero_point=0)
    assert (model.operators, model.custom_ops, model.metadata, model.edgetpu) == (3, (), None, False)


def test_custom_operators_are_named() -> None:
    assert tflite_metadata.read(tiny.EDGETPU, where="m").edgetpu
    assert tflite_metadata.read(tiny.UNKNOWN_OP, where="m").custom_ops == ("NobodyKnowsThisOp",)


def test_standard_metadata_in_every_part() -> None:
    described = fbw.metadata(mean=123.5, std=58.5, labels="names.txt")
    model = tflite_metadata.read(fbw.model((1, 8, 8, 3), 0, scale=0, described=described), where="m")
    assert model.metadata == Metadata(
        name="A test",
        description="of metadata",
        normalization=Normalization(mean=(123.5,), std=(58.5,)),
        color="rgb",
        labels_file="names.txt",
        output_names=("probability",),
    )
    normalize = specs.parse(suggest(model)).steps[3]
    assert normalize == Normalize(mean=(123.5,), std=(58.5,))


def test_standard_metadata_of_a_published_model(data: Path) -> None:
    path = data / "models" / "mobilenet_v1_0.25_224_1_metadata_1.tflite"
    model = tflite_metadata.read(path.read_bytes(), where=path.name)
    assert model.metadata is not None
    assert model.metadata.name == "MobileNetV1 image classifier"
    assert model.metadata.normalization == Normalization(mean=(127.5,), std=(127.5,))
    assert model.metadata.color == "rgb"
    assert model.metadata.output_names == ("probability",)
    assert model.metadata.labels_file == "labels.txt"
    with zipfile.ZipFile(path) as files:
        assert model.metadata.labels_file in files.namelist()


def test_detection_outputs_by_their_operator(data: Path) -> None:
    path = data / "models" / "coco_ssd_mobilenet_v1_1.0_quant_2018_06_29.tflite"
    model = tflite_metadata.read(path.read_bytes(), where=path.name)
    assert model.detection_outputs == (0, 1, 2, 3)
    assert model.metadata is not None
    assert model.metadata.labels_file == "labelmap.txt"


def test_the_suggested_spec_is_the_metadata_s(data: Path) -> None:
    path = data / "models" / "mobilenet_v1_0.25_224_1_metadata_1.tflite"
    model = tflite_metadata.read(path.read_bytes(), where=path.name)
    text = suggest(model)
    assert "# - normalize: as the model's metadata say\n" in text
    spec = specs.parse(text)
    assert [step.NAME for step in spec.steps] == ["decode", "resize", "color", "normalize", "cast"]
    compile_spec(spec, model.inputs[0])


@pytest.mark.parametrize("model", [tiny.CLASSIFIER, tiny.LINEAR, tiny.DETECTOR, tiny.FREE_BATCH])
def test_every_suggested_spec_fits_its_model(model: bytes) -> None:
    described = tflite_metadata.read(model, where="m")
    compile_spec(specs.parse(suggest(described)), described.inputs[0])


def test_no_spec_for_a_model_with_two_inputs() -> None:
    with pytest.raises(SpecError, match=r"^the model has 2 inputs; one is supported$"):
        suggest(tflite_metadata.read(tiny.TWO_INPUTS, where="m"))


@pytest.mark.parametrize(
    ("shape", "dtype", "steps"),
    [
        ((1, 3, 20, 30), 0, ["decode", "resize", "color", "normalize", "cast"]),
        ((1, 20, 30, 1), 9, ["decode", "resize", "color", "normalize", "cast"]),
        ((1, 20, 30, 3), 3, ["decode", "resize", "color", "cast"]),
        ((1, 16), 9, ["standardize", "cast"]),
        ((16,), 0, ["standardize", "cast"]),
    ],
)
def test_suggestions_for_layouts_and_types(shape: tuple[int, ...], dtype: int, steps: list[str]) -> None:
    described = tflite_metadata.read(fbw.model(shape, dtype, scale=0.5), where="m")
    spec = specs.parse(suggest(described))
    assert [step.NAME for step in spec.steps] == steps
    compile_spec(spec, described.inputs[0])


def test_damaged_models_are_refused_in_one_sentence() -> None:
    for cut in (8, 20, 100, len(tiny.CLASSIFIER) // 2):
        with pytest.raises(BundleError, match=r"^m: the model is damaged: "):
            tflite_metadata.read(tiny.CLASSIFIER[:cut], where="m")


@given(st.binary(max_size=64), st.integers(0, len(tiny.CLASSIFIER)))
def test_any_bytes_are_described_or_refused(noise: bytes, at: int) -> None:
    damaged = tiny.CLASSIFIER[:at] + noise + tiny.CLASSIFIER[at + len(noise) :]
    try:
        tflite_metadata.read(damaged, where="m")
    except BundleError as error:
        assert str(error).startswith("m: the model is damaged: ")
