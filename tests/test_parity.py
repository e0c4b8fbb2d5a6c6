"""A training repository holds its own preprocessing to the bundle in one line."""

from pathlib import Path

import bundles
import cv2
import numpy as np
import pytest

from agent.bundle import load
from agent.contracts import Array
from agent.errors import InputError
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


def test_a_bundle_without_golden_images_cannot_be_compared_with(tmp_path: Path) -> None:
    path = tmp_path / "vectors.tflite"
    path.write_bytes(bundles.pack_vectors(tmp_path).data)
    with pytest.raises(InputError, match="no golden images"):
        assert_preprocess_parity(path, theirs)
