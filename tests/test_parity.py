"""A training repository holds its own preprocessing to the bundle in one line."""

from dataclasses import replace
from pathlib import Path

import bundles
import cv2
import numpy as np
import pytest

from agent.bundle import load
from agent.contracts import Array
from agent.errors import InputError
from agent.golden import GoldenSet
from calibration import tflite_metadata
from calibration.divergence import Sample, recognise
from calibration.parity import assert_preprocess_parity, preprocess_divergence


def theirs(encoded: bytes) -> Array:
    bgr = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    return cv2.resize(bgr, (8, 8), interpolation=cv2.INTER_LINEAR_EXACT)[..., ::-1]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parity")
    path = folder / "model.bundle.tflite"
    path.write_bytes(bundles.pack_images(folder, count=40).data)
    return path


def test_the_same_preprocessing_passes(bundle: Path) -> None:
    assert_preprocess_parity(bundle, theirs, within="exact")
    assert_preprocess_parity(str(bundle), lambda data: theirs(data)[None])
    assert_preprocess_parity(load(bundle), theirs)


def test_another_colour_order_fails_and_is_named(bundle: Path) -> None:
    with pytest.raises(
        AssertionError, match=r"differs from the bundle's: color: the channels come in the order BGR"
    ):
        assert_preprocess_parity(bundle, lambda data: theirs(data)[..., ::-1])


def test_another_range_fails_and_is_named(bundle: Path) -> None:
    with pytest.raises(AssertionError, match=r"normalize: the values are 0 to 1"):
        assert_preprocess_parity(bundle, lambda data: theirs(data) / 255)


def test_rounding_passes_unless_exact_is_asked(bundle: Path) -> None:
    def one_more(data: bytes) -> Array:
        made = theirs(data).copy()
        made[0, 0, 0] = made[0, 0, 0] + 1 if made[0, 0, 0] < 255 else 254
        return made

    assert_preprocess_parity(bundle, one_more)
    assert preprocess_divergence(bundle, one_more).within == "tolerance"
    with pytest.raises(AssertionError, match="within tolerance"):
        assert_preprocess_parity(bundle, one_more, within="exact")


@pytest.fixture(scope="module")
def readings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parity_vectors")
    path = folder / "vectors.tflite"
    golden = bundles.write_vectors(folder / "golden.csv", 40, seed=9)
    path.write_bytes(bundles.pack_vectors(folder, golden=golden, golden_count=32, golden_margin=0).data)
    return path


def test_a_bundle_of_vectors_is_compared_too(readings: Path) -> None:
    assert_preprocess_parity(readings, lambda values: values.astype(np.float32)[None], within="exact")
    with pytest.raises(AssertionError, match=r"select: elements 0 are scaled .* in another unit"):
        assert_preprocess_parity(readings, lambda values: (values * 3.6).astype(np.float32))


@pytest.mark.parametrize(
    ("made", "said"),
    [([[1.0], [2.0, 3.0]], "list that is none"), (None, "got NoneType"), (["a"], "values of type <U1")],
)
def test_what_is_no_array_is_one_clear_error(readings: Path, made: object, said: str) -> None:
    with pytest.raises(InputError, match=f"preprocess of .*: expected an array of numbers, .*{said}"):
        assert_preprocess_parity(readings, lambda values: made)


def test_a_bundle_without_golden_inputs_cannot_be_compared_with(readings: Path) -> None:
    bare = replace(load(readings), golden=GoldenSet())
    with pytest.raises(InputError, match="no golden inputs"):
        assert_preprocess_parity(bare, theirs)


def test_who_differs_is_told_apart(readings: Path, bundle: Path) -> None:
    """Training's own tensors are not the spec's; this pipeline makes the spec's."""
    for path, ours, other in (
        (readings, lambda values: values.astype(np.float32)[None], lambda made: made * 3.6),
        (bundle, theirs, lambda made: made[..., ::-1]),
    ):
        loaded = load(path)
        tensor = tflite_metadata.read(loaded.flatbuffer, where="").inputs[0]
        golden = loaded.golden.inputs[:16]
        samples = [
            Sample(
                payload=given.payload,
                found=ours(given.payload),
                expected=np.ascontiguousarray(
                    other(ours(given.payload)).astype(tensor.dtype).reshape(tensor.shape)
                ),
            )
            for given in golden
        ]
        seen = recognise(samples, loaded.spec, tensor)
        assert (seen.who, seen.within) == ("training", "no")
        assert "training does otherwise than the spec (" in seen.sentence
        swapped = [replace(s, found=s.expected, expected=s.found) for s in samples]
        assert recognise(swapped, loaded.spec, tensor).who == "here"
