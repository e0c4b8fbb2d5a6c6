"""What ``recognise`` says of tensors made by other code: seeded pictures, each fault written plainly here."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from agent.contracts import TensorSpec
from agent.preprocess.compiled import compile_spec
from agent.preprocess.spec import PreprocessSpec, parse
from calibration.divergence import Divergence, Sample, recognise

Image = pytest.importorskip("PIL.Image")
Pixels = NDArray[np.uint8]
SIDE = 96

STEPS = """\
version: "1"
steps:
- decode: {{exif: ignore}}
- crop: {{kind: central_fraction, fraction: 0.875, rounding: tensorflow}}
- resize: {{width: 96, height: 96, method: {method}, aspect: stretch}}
- color: {{order: {order}}}
{normalize}- cast: {{mode: {mode}, rounding: half_away, layout: {layout}}}
"""
UNIT = "- normalize: {divisor: 127.5, mean: [1], std: [1]}\n"


def spec_of(
    *, method: str = "linear_exact", order: str = "rgb", normalize: str = UNIT, mode: str = "quantize",
    layout: str = "nhwc",
) -> PreprocessSpec:  # fmt: skip
    return parse(STEPS.format(method=method, order=order, normalize=normalize, mode=mode, layout=layout))


FLOAT = TensorSpec(name="input", shape=(1, SIDE, SIDE, 3), dtype="float32")
BYTES = TensorSpec(name="input", shape=(1, SIDE, SIDE, 3), dtype="uint8", scale=1 / 128, zero_point=128)
SIGNED = TensorSpec(name="input", shape=(1, SIDE, SIDE, 3), dtype="int8", scale=1 / 127.5, zero_point=-1)


def photograph(seed: int, height: int = 240, width: int = 320) -> Pixels:
    """Coloured texture with detail at every scale, as photographs have, and no symmetry."""
    rng = np.random.default_rng(seed)
    made = np.zeros((height, width, 3), np.float32)
    for size, weight in ((3, 60), (7, 40), (15, 25), (40, 16), (90, 10), (240, 5)):
        noise = rng.normal(0, weight, (size, size * 4 // 3, 3)).astype(np.float32)
        noise = 0.6 * noise.mean(2, keepdims=True) * 1.7 + 0.6 * noise
        made += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    made += np.linspace(-30, 30, height)[:, None, None] + np.array([12.0, 0.0, -20.0])
    return np.clip(128 + made, 0, 255).astype(np.uint8)


def png(pixels: Pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def jpeg(pixels: Pixels, quality: int = 95, **more: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality, **more)
    return file.getvalue()


PICTURES = tuple(
    encode(photograph(seed, height, width))
    for seed, (encode, height, width) in enumerate(
        [
            (png, 240, 320),
            (jpeg, 300, 220),
            (png, 250, 250),
            (jpeg, 200, 330),
        ]
    )
)


def decoded(encoded: bytes) -> Pixels:
    return np.array(Image.open(io.BytesIO(encoded)).convert("RGB"))


def central(pixels: Pixels, fraction: float = 0.875) -> Pixels:
    height, width = pixels.shape[:2]
    top, left = int((height - height * fraction) / 2), int((width - width * fraction) / 2)
    return pixels[top : height - top, left : width - left]


def resized(pixels: Pixels, how: int = cv2.INTER_LINEAR_EXACT) -> Pixels:
    return cv2.resize(np.ascontiguousarray(pixels), (SIDE, SIDE), interpolation=how)


def right(encoded: bytes) -> Pixels:
    return resized(central(decoded(encoded)))


def unit(pixels: Pixels) -> NDArray[np.float32]:
    return pixels.astype(np.float32) / np.float32(127.5) - np.float32(1)


def divergence(
    preprocess: Callable[[bytes], Any],
    spec: PreprocessSpec | None = None,
    tensor: TensorSpec = FLOAT,
    pictures: tuple[bytes, ...] = PICTURES,
) -> Divergence:
    samples = [Sample(payload=p, found=np.asarray(preprocess(p))) for p in pictures]
    return recognise(samples, spec or spec_of(), tensor)


def test_the_same_pixels_are_exact_with_and_without_a_batch_axis() -> None:
    for make in (lambda d: unit(right(d)), lambda d: unit(right(d))[None]):
        found = divergence(make)
        assert (found.step, found.within, found.share, found.residual) == (None, "exact", 1.0, 0.0)


def test_float_arithmetic_in_another_order_is_exact() -> None:
    found = divergence(lambda d: (right(d).astype(np.float64) - 127.5) / 127.5)
    assert (found.step, found.within) == (None, "exact")


@pytest.mark.parametrize(
    "resample",
    [
        pytest.param(
            lambda p: cv2.resize(p, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR), id="INTER_LINEAR"
        ),
        pytest.param(lambda p: cv2.resize(p.astype(np.float32), (SIDE, SIDE)), id="not rounded"),
    ],
)
def test_the_same_resampling_in_other_arithmetic_is_within_tolerance(resample: Callable[[Any], Any]) -> None:
    found = divergence(lambda d: unit(resample(np.ascontiguousarray(central(decoded(d))))))
    assert (found.step, found.within) == ("resize", "tolerance")
    assert 0 < found.residual < 0.5


def luma_matrix() -> NDArray[np.float64]:
    return np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])


def through_yuv(pixels: Pixels, change: Callable[[Any], Any]) -> Pixels:
    yuv = pixels.astype(np.float64) @ luma_matrix().T
    rgb = change(yuv) @ np.linalg.inv(luma_matrix()).T
    return np.clip(np.rint(rgb), 0, 255).astype(np.uint8)


def letterboxed(pixels: Pixels, value: int) -> Pixels:
    height, width = pixels.shape[:2]
    ratio = SIDE / max(height, width)
    small = Image.fromarray(pixels).resize((round(width * ratio), round(height * ratio)), Image.BILINEAR)
    canvas = Image.new("RGB", (SIDE, SIDE), (value,) * 3)
    canvas.paste(small, ((SIDE - small.width) // 2, (SIDE - small.height) // 2))
    return np.array(canvas)


def of_pixels(change: Callable[[Pixels], Any]) -> Callable[[bytes], Any]:
    """A fault on the decoded original."""
    return lambda d: unit(resized(central(change(decoded(d)))))


def of_picture(change: Callable[[Pixels], Any]) -> Callable[[bytes], Any]:
    """A fault on the cropped and resized picture."""
    return lambda d: unit(np.ascontiguousarray(change(right(d))))


def pillow(method: int) -> Callable[[bytes], Any]:
    return lambda d: unit(
        np.array(Image.fromarray(np.ascontiguousarray(central(decoded(d)))).resize((SIDE, SIDE), method))
    )


FAULTS: dict[str, tuple[str, str, Callable[[bytes], Any]]] = {
    "bgr": ("color", "channel order", of_picture(lambda p: p[..., ::-1])),
    "grey": ("color", "grey", of_picture(lambda p: np.array(Image.fromarray(p).convert("L").convert("RGB")))),
    "hsv": ("color", "color space", of_picture(lambda p: np.array(Image.fromarray(p).convert("HSV")))),
    "0..1": ("normalize", "range", lambda d: right(d) / np.float32(255)),
    "0..255": ("normalize", "range", lambda d: right(d).astype(np.float32)),
    "bytes": ("normalize", "range", right),
    "ImageNet": (
        "normalize",
        "range",
        lambda d: (right(d) / 255.0 - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225]),
    ),
    "offset": ("normalize", "offset", lambda d: unit(right(d)) + np.float32(0.1)),
    "each picture": ("normalize", "per image", lambda d: (right(d) - right(d).mean()) / right(d).std()),
    "signed": ("cast", "signedness", lambda d: unit(right(d).view(np.int8).astype(np.float32))),
    "channels first": ("cast", "layout", lambda d: unit(right(d)).transpose(2, 0, 1)),
    "channels first in memory": (
        "cast",
        "layout",
        lambda d: np.ascontiguousarray(unit(right(d)).transpose(2, 0, 1)).reshape(SIDE, SIDE, 3),
    ),
    "transposed": ("cast", "transposed", of_picture(lambda p: p.transpose(1, 0, 2))),
    "rot90": ("rotate", "rotation", of_picture(lambda p: np.rot90(p, -1))),
    "rot90 before": ("rotate", "rotation", of_pixels(lambda p: np.rot90(p, -1))),
    "rot180": ("rotate", "rotation", of_picture(lambda p: np.array(Image.fromarray(p).rotate(180)))),
    "mirrored": ("rotate", "flip", of_picture(lambda p: p[:, ::-1])),
    "whole": ("crop", "no crop", lambda d: unit(resized(decoded(d)))),
    "whole by Pillow": (
        "crop",
        "no crop",
        lambda d: unit(np.array(Image.fromarray(decoded(d)).resize((SIDE, SIDE), Image.BILINEAR))),
    ),
    "70 %": ("crop", "crop", lambda d: unit(resized(central(decoded(d), 0.7)))),
    "corner": ("crop", "crop", lambda d: unit(resized(decoded(d)[:180, :190]))),
    "letterbox": ("resize", "letterbox", lambda d: unit(letterboxed(decoded(d), 0))),
    "grey letterbox": ("resize", "letterbox", lambda d: unit(letterboxed(decoded(d), 114))),
    "nearest": ("resize", "interpolation", lambda d: unit(resized(central(decoded(d)), cv2.INTER_NEAREST))),
    "Pillow's nearest": ("resize", "interpolation", pillow(0)),
    "area": ("resize", "interpolation", lambda d: unit(resized(central(decoded(d)), cv2.INTER_AREA))),
    "cubic": ("resize", "interpolation", lambda d: unit(resized(central(decoded(d)), cv2.INTER_CUBIC))),
    "antialias": ("resize", "antialias", pillow(2)),
    "low resolution": (
        "resize",
        "low resolution",
        of_picture(
            lambda p: np.array(
                Image.fromarray(p).resize((30, 30), Image.BOX).resize((SIDE, SIDE), Image.BILINEAR)
            )
        ),
    ),
    "full range as limited": (
        "decode",
        "limited range",
        of_pixels(
            lambda p: through_yuv(p, lambda y: (y - [16, 0, 0]) * [255 / 219, 255 / 224, 255 / 224])
        ),
    ),
    "limited range as full": (
        "decode",
        "limited range",
        of_pixels(lambda p: np.rint(16 + p * (219 / 255)).astype(np.uint8)),
    ),
    "U and V": ("decode", "uv swap", of_pixels(lambda p: through_yuv(p, lambda y: y[..., [0, 2, 1]]))),
    "gamma": ("decode", "gamma", of_pixels(lambda p: np.rint(255 * (p / 255) ** 2.2).astype(np.uint8))),
    "JPEG 10": ("decode", "jpeg", of_pixels(lambda p: decoded(jpeg(np.ascontiguousarray(p), 10)))),
    "JPEG 37": ("decode", "jpeg", of_pixels(lambda p: decoded(jpeg(np.ascontiguousarray(p), 37)))),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(FAULTS))
def test_a_fault_is_named_by_its_step(name: str) -> None:
    step, kind, preprocess = FAULTS[name]
    found = divergence(preprocess)
    assert (found.step, found.kind, found.within) == (step, kind, "no"), found.sentence
    assert found.sentence.startswith(f"{step}: ")
    assert found.explained > 0.9


@pytest.mark.parametrize(
    ("first", "preprocess"),
    [
        ("crop", lambda d: resized(decoded(d))[..., ::-1] / np.float32(255)),
        ("rotate", lambda d: np.rot90(right(d))[..., ::-1] / np.float32(127.5) - 1),
        ("resize", lambda d: resized(central(decoded(d)), cv2.INTER_NEAREST)[..., ::-1].astype(np.float32)),
        ("decode", lambda d: resized(central(decoded(jpeg(decoded(d), 12)))) / np.float32(255)),
    ],
)
def test_of_several_faults_the_first_step_is_named_and_the_others_are_said(
    first: str, preprocess: Callable[[bytes], Any]
) -> None:
    found = divergence(preprocess)
    assert found.step == first, found.sentence
    assert "Further on also" in found.sentence


def quantized(real: NDArray[Any], tensor: TensorSpec) -> NDArray[Any]:
    info = np.iinfo(tensor.dtype)
    return np.clip(np.round(real / tensor.scale) + tensor.zero_point, info.min, info.max).astype(tensor.dtype)


INTEGERS: dict[str, tuple[str, str, Callable[[Pixels], Any]]] = {
    "unsigned bytes": ("cast", "signedness", lambda p: p),
    "bytes read as signed": ("cast", "signedness", lambda p: p.view(np.int8)),
    "without scale": ("cast", "scale", lambda p: unit(p).astype(np.int8)),
    "0..1": ("normalize", "range", lambda p: quantized(p / 255, SIGNED)),
    "bgr": ("color", "channel order", lambda p: quantized(unit(p), SIGNED)[..., ::-1]),
}


@pytest.mark.parametrize("name", sorted(INTEGERS))
def test_what_goes_wrong_on_the_way_into_int8(name: str) -> None:
    step, kind, preprocess = INTEGERS[name]
    found = divergence(lambda d: preprocess(right(d)), tensor=SIGNED)
    assert (found.step, found.kind, found.within) == (step, kind, "no"), found.sentence


def test_int8_by_the_scale_and_its_real_numbers_are_both_what_the_spec_makes() -> None:
    assert divergence(lambda d: quantized(unit(right(d)), SIGNED), tensor=SIGNED).within != "no"
    assert divergence(lambda d: unit(right(d)), tensor=SIGNED).within != "no"


def test_cutting_off_instead_of_rounding_is_a_cast_within_tolerance() -> None:
    spec = spec_of(normalize="- normalize: {divisor: 255, mean: [0.485], std: [0.229]}\n")
    tensor = TensorSpec(name="input", shape=(1, SIDE, SIDE, 3), dtype="int8", scale=0.0187, zero_point=-14)

    def cut_off(encoded: bytes) -> NDArray[np.int8]:
        real = (right(encoded).astype(np.float32) / np.float32(255) - np.float32(0.485)) / np.float32(0.229)
        return np.floor(real / np.float32(0.0187) + np.float32(-14)).astype(np.int8)

    found = divergence(cut_off, spec, tensor)
    assert (found.step, found.kind, found.within) == ("cast", "rounding", "tolerance"), found.sentence


def test_bytes_for_a_uint8_model() -> None:
    spec = spec_of(normalize="", mode="raw")
    assert divergence(right, spec, BYTES).within == "exact"
    assert divergence(lambda d: right(d) / 255, spec, BYTES).step == "normalize"
    assert divergence(lambda d: (right(d) / 255).astype(np.uint8), spec, BYTES).step == "normalize"
    assert divergence(lambda d: right(d) ^ 128, spec, BYTES).kind == "signedness"


def test_a_spec_with_channels_first_and_bgr() -> None:
    spec = spec_of(order="bgr", layout="nchw")
    tensor = TensorSpec(name="input", shape=(1, 3, SIDE, SIDE), dtype="float32")
    bgr = lambda d: unit(right(d))[..., ::-1].transpose(2, 0, 1)  # noqa: E731 (three of a kind)
    assert divergence(bgr, spec, tensor).within == "exact"
    assert divergence(lambda d: bgr(d)[::-1], spec, tensor).step == "color"
    assert divergence(lambda d: bgr(d).transpose(1, 2, 0), spec, tensor).kind == "layout"


def test_a_grey_model() -> None:
    spec = spec_of(order="gray")
    tensor = TensorSpec(name="input", shape=(1, SIDE, SIDE, 1), dtype="float32")
    grey = lambda d: np.array(Image.fromarray(right(d)).convert("L"))  # noqa: E731
    assert divergence(lambda d: unit(grey(d))[..., None], spec, tensor).within == "tolerance"
    assert divergence(lambda d: unit(right(d)[..., :1]), spec, tensor).step == "color"
    assert divergence(lambda d: unit(right(d)), spec, tensor).kind == "channels"
    assert divergence(lambda d: grey(d)[..., None] / 255.0, spec, tensor).step == "normalize"


@pytest.mark.parametrize(
    ("step", "kind", "found"),
    [
        ("normalize", "not finite", np.full((SIDE, SIDE, 3), np.nan, np.float32)),
        ("color", "channels", np.zeros((SIDE, SIDE, 4), np.float32)),
        ("color", "channels", np.zeros((SIDE, SIDE), np.float32)),
        ("resize", "size", np.zeros((1, 64, 64, 3), np.float32)),
        ("cast", "shape", np.zeros((7,), np.float32)),
        ("cast", "dtype", np.full((SIDE, SIDE, 3), "x")),
    ],
)
def test_what_cannot_be_compared_has_one_clear_finding(step: str, kind: str, found: Any) -> None:
    got = divergence(lambda _: found)
    assert (got.step, got.kind, got.within, got.share) == (step, kind, "no", 1.0)


def test_a_constant_tensor_is_no_crash() -> None:
    assert divergence(lambda _: np.zeros((SIDE, SIDE, 3), np.float32)).within == "no"


def test_orientation_tags_are_found_though_few_pictures_have_one() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    tagged = jpeg(photograph(9), exif=exif)

    def applying(encoded: bytes) -> Any:
        flags = cv2.IMREAD_COLOR
        bgr = cv2.imdecode(np.frombuffer(encoded, np.uint8), flags)
        return unit(resized(central(np.ascontiguousarray(bgr[..., ::-1]))))

    found = divergence(applying, pictures=(*PICTURES, tagged))
    assert (found.step, found.kind, found.share) == ("decode", "exif", 1.0), found.sentence


def test_training_tensors_that_differ_from_the_spec_count_as_the_truth() -> None:
    spec = spec_of()

    def trained(encoded: bytes) -> Any:
        return unit(right(encoded)[..., ::-1])[None]

    def against_training(make: Callable[[bytes], Any]) -> Divergence:
        return recognise(
            [Sample(payload=p, found=make(p), expected=trained(p)) for p in PICTURES], spec, FLOAT
        )

    assert against_training(trained).within == "exact"
    assert against_training(lambda d: unit(right(d))).step == "color"
    assert against_training(lambda d: right(d)[..., ::-1] / np.float32(255)).step == "normalize"


def test_vectors() -> None:
    spec = parse(
        'version: "1"\nsteps:\n- impute: {fill: [0]}\n- standardize: {mean: [1, 2, 3], std: [2, 2, 2]}\n'
        "- cast: {mode: quantize, rounding: half_away}\n"
    )
    tensor = TensorSpec(name="input", shape=(1, 3), dtype="float32")
    rows = np.random.default_rng(3).normal(2, 3, (8, 3))
    made = compile_spec(spec, tensor)

    def judged(change: Callable[[Any], Any]) -> tuple[str | None, str]:
        found = recognise([Sample(payload=r, found=change(made(r).tensor)) for r in rows], spec, tensor)
        return found.step, found.within

    assert judged(lambda t: t) == (None, "exact")
    assert judged(lambda t: t[:, ::-1]) == ("select", "no")
    assert judged(lambda t: t * 2) == ("standardize", "no")
    assert judged(lambda t: t[:, :2]) == ("select", "no")
    assert judged(lambda t: np.where(t > 0, np.nan, t)) == ("impute", "no")


PHOTOGRAPHED = ("0..1", "JPEG 10", "U and V", "antialias", "bgr", "letterbox", "mirrored", "nearest", "whole")


@pytest.mark.parametrize("name", PHOTOGRAPHED)
def test_on_photographs(name: str, data: Path) -> None:
    files = sorted((data / "images" / "imagenet_sample").glob("*"))[3:200:35]
    step, kind, preprocess = FAULTS[name]
    found = divergence(preprocess, pictures=tuple(file.read_bytes() for file in files))
    assert (found.step, found.kind) == (step, kind), found.sentence


def test_other_decoders_and_resizers_on_photographs_are_no_fault(data: Path) -> None:
    files = sorted((data / "images").glob("*/*"))[::21]
    pictures = tuple(file.read_bytes() for file in files if file.suffix.lower() in (".jpg", ".jpeg", ".png"))

    def own_bilinear(encoded: bytes) -> Any:
        pixels = central(decoded(encoded)).astype(np.float64)
        for axis in (0, 1):
            size = pixels.shape[axis]
            at = np.clip((np.arange(SIDE) + 0.5) * size / SIDE - 0.5, 0, size - 1)
            low = np.minimum(at.astype(int), size - 2)
            weight = (at - low).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
            pixels = pixels.take(low, axis) * (1 - weight) + pixels.take(low + 1, axis) * weight
        return pixels / 127.5 - 1

    found = divergence(own_bilinear, pictures=pictures)
    assert (found.step, found.within) == ("resize", "tolerance"), found.sentence


def test_no_samples_are_an_error() -> None:
    with pytest.raises(ValueError, match="no samples"):
        recognise([], spec_of(), FLOAT)
