"""Training-side tensors survive being stored small: which form is taken, and how near it comes back."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent import pixel_file
from agent.contracts import Array, TensorSpec
from agent.errors import BundleError
from agent.golden import GoldenInput, GoldenSet, RecordedTensor, decode, encode
from agent.golden_tensor import record, restore
from agent.preprocess.compiled import compile_spec
from agent.preprocess.spec import PreprocessSpec, parse

HEAD = """\
version: "1"
steps:
- decode: {exif: ignore}
- resize: {width: 20, height: 12, method: linear_exact, aspect: stretch}
"""
UNIT = "- normalize: {divisor: 127.5, mean: [1], std: [1]}\n"
IMAGENET = "- normalize: {divisor: 255, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225]}\n"


def spec_of(
    normalize: str = "", *, order: str = "rgb", mode: str = "quantize", layout: str = "nhwc"
) -> PreprocessSpec:
    cast = f"- cast: {{mode: {mode}, rounding: half_even, layout: {layout}}}\n"
    return parse(f"{HEAD}- color: {{order: {order}}}\n{normalize}{cast}")


def tensor_of(
    dtype: str, scale: float = 0.0, zero_point: int = 0, *, channels: int = 3, nchw: bool = False
) -> TensorSpec:
    shape = (1, channels, 12, 20) if nchw else (1, 12, 20, channels)
    return TensorSpec(name="x", shape=shape, dtype=dtype, scale=scale, zero_point=zero_point)


def back(recorded: RecordedTensor, spec: PreprocessSpec, tensor: TensorSpec) -> Array:
    """Through a bundle's files, as a device gets it."""
    made = GoldenInput(
        name="a.png", encoded=b"", label=None, traces=(), outputs=(np.zeros(1),), tensor=recorded
    )
    (read,) = decode(encode(GoldenSet(inputs=(made,))), where="b").inputs
    assert read.tensor is not None
    assert (read.tensor.form, read.tensor.exact, read.tensor.sha256) == (
        recorded.form,
        recorded.exact,
        recorded.sha256,
    )
    restored = restore(read.tensor, compile_spec(spec, tensor), tensor)
    assert (restored.shape, restored.dtype.name) == (tensor.shape, tensor.dtype)
    return restored


@pytest.mark.parametrize(
    ("spec", "tensor"),
    [
        (spec_of(mode="raw"), tensor_of("uint8", 1 / 128, 128)),
        (spec_of(UNIT), tensor_of("float32")),
        (spec_of(IMAGENET), tensor_of("float32")),
        (spec_of(IMAGENET, order="bgr", layout="nchw"), tensor_of("float32", nchw=True)),
        (spec_of(UNIT), tensor_of("int8", 1 / 127.5, -1)),
        (spec_of(IMAGENET), tensor_of("int8", 0.019, -14)),
        (spec_of(UNIT), tensor_of("int16", 1 / 32767, 0)),
        (spec_of(UNIT, order="gray"), tensor_of("float32", channels=1)),
    ],
)
def test_what_the_spec_makes_is_kept_as_pixels_and_comes_back_bit_for_bit(
    spec: PreprocessSpec, tensor: TensorSpec, rng: np.random.Generator
) -> None:
    image = rng.integers(0, 256, (12, 20, 3), dtype=np.uint8)
    made = compile_spec(spec, tensor)(image).tensor
    recorded = record(made, spec, tensor)
    assert (recorded.form, recorded.exact, recorded.codes.dtype) == ("view", True, np.uint8)
    assert recorded.sha256 == hashlib.sha256(made.tobytes()).hexdigest()
    np.testing.assert_array_equal(back(recorded, spec, tensor), made)


def test_last_bits_of_another_framework_are_not_exact_but_near(rng: np.random.Generator) -> None:
    spec, tensor = spec_of(UNIT), tensor_of("float32")
    image = rng.integers(0, 256, (1, 12, 20, 3)).astype(np.float32)
    made = (image - 127.5) * np.float32(1 / 127.5)
    recorded = record(made, spec, tensor)
    assert (recorded.form, recorded.exact) == ("view", False)
    np.testing.assert_allclose(back(recorded, spec, tensor), made, atol=2e-7)


def test_another_normalisation_is_kept_per_channel(rng: np.random.Generator) -> None:
    spec, tensor = spec_of(UNIT), tensor_of("float32")
    pixels = rng.integers(3, 250, (12, 20, 3))
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    made = ((pixels / 255 - mean) / std).astype(np.float32)[None]
    recorded = record(made, spec, tensor)
    assert recorded.form == "affine"
    np.testing.assert_allclose(back(recorded, spec, tensor), made, atol=1e-6)
    np.testing.assert_allclose(recorded.scale, 1 / 255 / std, rtol=1e-6)


def test_values_between_pixels_are_kept_to_half_a_code(rng: np.random.Generator) -> None:
    spec, tensor = spec_of(UNIT), tensor_of("float32")
    made = rng.uniform(-1, 1, tensor.shape).astype(np.float32)
    recorded = record(made, spec, tensor)
    assert (recorded.form, recorded.exact) == ("affine", False)
    assert np.abs(back(recorded, spec, tensor) - made).max() <= 1.001 / 255


@pytest.mark.parametrize("dtype", ["uint8", "int8"])
def test_any_8_bit_tensor_comes_back_exactly(dtype: str, rng: np.random.Generator) -> None:
    spec, tensor = spec_of(UNIT), tensor_of(dtype, 0.02, 3)
    limits = np.iinfo(dtype)
    made = rng.integers(limits.min, limits.max + 1, tensor.shape).astype(dtype)
    recorded = record(made, spec, tensor)
    assert (recorded.form, recorded.exact) == ("affine", True)
    np.testing.assert_array_equal(back(recorded, spec, tensor), made)


def test_what_is_no_picture_is_kept_as_it_is() -> None:
    spec = parse('version: "1"\nsteps:\n- cast: {mode: quantize, rounding: half_even}\n')
    tensor = TensorSpec(name="x", shape=(1, 5), dtype="float32")
    made = np.linspace(-3, 3, 5, dtype=np.float32)[None]
    recorded = record(made, spec, tensor)
    assert (recorded.form, recorded.exact) == ("array", True)
    np.testing.assert_array_equal(back(recorded, spec, tensor), made)
    image, floats = spec_of(UNIT), tensor_of("float32")
    unusable = np.full(floats.shape, np.nan, np.float32)
    assert record(unusable, image, floats).form == "array"
    with pytest.raises(ValueError, match="expected float32"):
        record(made, image, floats)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 40), st.integers(1, 40), st.sampled_from([1, 3]), st.integers(0, 9), st.integers(1, 256)
)
def test_pixel_files_give_back_the_same_pixels(
    height: int, width: int, channels: int, seed: int, levels: int
) -> None:
    pixels = np.random.default_rng(seed).integers(0, levels, (height, width, channels)).astype(np.uint8)
    content, suffix = pixel_file.encode(pixels)
    assert suffix == (".webp" if channels == 3 else ".png")
    np.testing.assert_array_equal(pixel_file.decode(content), pixels)


def test_damaged_and_foreign_tensor_files_are_refused(rng: np.random.Generator) -> None:
    spec, tensor = spec_of(UNIT), tensor_of("float32")
    made = compile_spec(spec, tensor)(rng.integers(0, 256, (12, 20, 3), dtype=np.uint8)).tensor
    given = GoldenInput(
        name="a", encoded=b"", label=None, traces=(), outputs=(made,), tensor=record(made, spec, tensor)
    )
    files = encode(GoldenSet(inputs=(given,)))
    name = "litewatch/golden/0000.tensor.webp"
    for content, said in (
        (files[name][:60], "damaged|cut|header"),
        (b"GIF89a\x05\x00\x05\x00", "5x5 pixels as GIF are not taken"),
        (b"nothing", "not an image"),
    ):
        with pytest.raises(BundleError, match=f"b: {name}: .*({said})"):
            decode(files | {name: content}, where="b")
    del files[name]
    with pytest.raises(BundleError, match=f"{name} is missing"):
        decode(files, where="b")


def test_a_tensor_that_unpacks_to_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    flat = RecordedTensor(form="view", codes=np.zeros((400, 400, 3), np.uint8), sha256="", exact=True)
    inputs = tuple(
        GoldenInput(name=str(n), encoded=b"", label=None, traces=(), outputs=(np.zeros(1),), tensor=flat)
        for n in range(3)
    )
    files = encode(GoldenSet(inputs=inputs))
    assert sum(map(len, files.values())) < 10_000
    monkeypatch.setattr("agent.golden.MAX_TENSOR_BYTES", 2 * 400 * 400 * 3)
    with pytest.raises(BundleError, match="unpack to more than 960000 bytes"):
        decode(files, where="b")
    assert len(decode(files, where="b", most=2).inputs) == 2
