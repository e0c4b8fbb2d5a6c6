"""The factors in which two specs differ, and that every mix of them is a spec that runs."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.contracts import TensorSpec
from agent.errors import SpecError
from agent.preprocess.compiled import compile_spec
from agent.preprocess.spec import PreprocessSpec, fingerprint, parse
from calibration.factors import factors, mix

SQUARE = TensorSpec(name="x", shape=(1, 24, 24, 3), dtype="uint8", scale=1 / 128, zero_point=128)
WIDE = TensorSpec(name="x", shape=(1, 24, 32, 3), dtype="float32")
CROP = "- crop: {kind: central_fraction, fraction: 0.875, rounding: floor}\n"
TORCH = (
    "- resize: {width: 28, height: 28, method: linear, aspect: shorter_side}\n"
    "- crop: {kind: center, width: 24, height: 24, rounding: floor}\n"
)
LETTERBOX = (
    "- resize: {width: 24, height: 24, method: linear, aspect: fit}\n"
    "- pad: {kind: size, width: 24, height: 24, value: [10, 20, 30], position: center}\n"
)
TRAINED = "- normalize: {mean: [127.5], std: [127.5]}\n"


def squashed(method: str = "linear", width: int = 24) -> str:
    return f"- resize: {{width: {width}, height: 24, method: {method}, aspect: stretch}}\n"


def image(
    *, exif: str = "ignore", geometry: str = CROP + squashed(), order: str = "rgb", normalize: str = TRAINED,
    mode: str = "quantize", rounding: str = "half_away", early_color: bool = False,
) -> PreprocessSpec:  # fmt: skip
    color = f"- color: {{order: {order}}}\n"
    body = color + geometry if early_color else geometry + color
    cast = f"- cast: {{mode: {mode}, rounding: {rounding}, layout: nhwc}}\n"
    return parse(f'version: "1"\nsteps:\n- decode: {{exif: {exif}}}\n{body}{normalize}{cast}')


def names(a: PreprocessSpec, b: PreprocessSpec) -> list[tuple[str, str]]:
    return [(factor.name, factor.step) for factor in factors(a, b)]


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (image(), []),
        (image(early_color=True), [("step order", "color")]),
        (image(exif="apply"), [("decoder", "decode")]),
        (image(order="bgr"), [("colour order", "color")]),
        (image(geometry=squashed()), [("crop", "crop")]),
        (image(geometry=CROP.replace("0.875", "0.8") + squashed()), [("crop", "crop")]),
        (image(geometry=CROP + squashed("nearest")), [("interpolation", "resize")]),
        (image(geometry=CROP + squashed("area")), [("antialias", "resize")]),
        (
            image(geometry=CROP + squashed("pillow_bicubic")),
            [("interpolation", "resize"), ("antialias", "resize")],
        ),
        (image(normalize="- normalize: {mean: [0], std: [255]}\n"), [("normalisation", "normalize")]),
        (image(mode="raw"), [("normalisation", "cast")]),
        (image(rounding="truncate"), [("rounding", "cast")]),
        (
            image(geometry=CROP + squashed() + "- rotate: {clockwise: 90, flip: none}\n"),
            [("rotation", "rotate")],
        ),
        (image(geometry=TORCH), [("crop", "crop"), ("resize aspect", "resize")]),
        (image(geometry=LETTERBOX), [("crop", "crop"), ("resize aspect", "resize")]),
        (
            image(geometry=CROP + "- pad: {kind: square, value: [0], position: center}\n" + squashed()),
            [("padding", "pad")],
        ),
        (
            image(geometry="- crop: {kind: center_square, rounding: floor}\n" + squashed()),
            [("crop", "crop"), ("resize aspect", "resize")],
        ),
        (image(geometry=CROP + squashed("area", 6) + squashed()), [("resize", "resize")]),
    ],
)
def test_each_difference_has_its_name(other: PreprocessSpec, expected: list[tuple[str, str]]) -> None:
    assert names(image(), other) == expected


def test_a_frame_of_another_colour_is_padding_alone() -> None:
    other = image(geometry=LETTERBOX.replace("[10, 20, 30]", "[0]"))
    assert names(image(geometry=LETTERBOX), other) == [("padding", "pad")]


def test_the_same_frame_in_the_colours_own_order_is_no_padding_factor() -> None:
    swapped = image(geometry=LETTERBOX.replace("[10, 20, 30]", "[30, 20, 10]"), order="bgr", early_color=True)
    assert names(image(geometry=LETTERBOX), swapped) == [("colour order", "color")]


def test_what_differs_is_told_as_in_the_file() -> None:
    (crop, aspect) = factors(image(), image(geometry=LETTERBOX))
    assert (crop.trained, crop.deployed) == (
        "crop: {kind: central_fraction, fraction: 0.875, rounding: floor}",
        "none",
    )
    assert aspect.trained == "resize: {width: 24, height: 24, aspect: stretch}"
    assert aspect.deployed.startswith("resize: {width: 24, height: 24, aspect: fit}; pad: {kind: size")


def test_torchs_resize_and_crop_against_a_squash() -> None:
    """Keeping the central 6/7 and keeping the aspect are two things, though one resize does both."""
    torch, squash = image(geometry=TORCH), image(geometry=squashed())
    assert names(torch, squash) == [("crop", "crop"), ("resize aspect", "resize")]
    uncropped = mix(torch, squash, {"crop"})
    expected = image(geometry="- crop: {kind: center_square, rounding: floor}\n" + squashed())
    assert fingerprint(uncropped) == fingerprint(expected)
    stretched = mix(torch, squash, {"resize aspect"})
    share = CROP.replace("0.875", str(round(24 / 28, 4)))
    assert fingerprint(stretched) == fingerprint(image(geometry=share + squashed()))


def test_one_factor_changes_only_what_it_names() -> None:
    other = image(exif="apply", order="bgr", geometry=squashed("nearest"), rounding="floor")
    assert fingerprint(mix(image(), other, {"crop"})) == fingerprint(image(geometry=squashed()))
    assert fingerprint(mix(image(), other, {"colour order"})) == fingerprint(image(order="bgr"))
    both = mix(image(), other, {"decoder", "interpolation"})
    assert fingerprint(both) == fingerprint(image(exif="apply", geometry=CROP + squashed("nearest")))


def test_kernel_and_antialias_change_one_by_one() -> None:
    other = image(geometry=CROP + squashed("pillow13_bicubic"))
    kernel, smooth = mix(image(), other, {"interpolation"}), mix(image(), other, {"antialias"})
    assert fingerprint(kernel) == fingerprint(image(geometry=CROP + squashed("cubic")))
    assert fingerprint(smooth) == fingerprint(image(geometry=CROP + squashed("pillow13_bilinear")))


def test_a_turned_picture_keeps_the_tensors_size() -> None:
    upright = image(geometry=squashed(width=32))
    turned = image(
        geometry="- resize: {width: 24, height: 32, method: area, aspect: stretch}\n"
        "- rotate: {clockwise: 90, flip: none}\n"
    )
    assert names(upright, turned) == [("antialias", "resize"), ("rotation", "rotate")]
    for chosen in ({"antialias"}, {"rotation"}):
        assert run(mix(upright, turned, chosen), WIDE, (50, 40)).shape == (1, 24, 32, 3)


GEOMETRIES = st.sampled_from(
    [
        squashed(),
        CROP + squashed("cubic"),
        TORCH,
        TORCH.replace("linear", "pillow_bilinear"),
        LETTERBOX,
        CROP + LETTERBOX.replace("fit", "fit_floor").replace("linear", "tf_bilinear"),
        "- crop: {kind: center_square, rounding: half_even}\n" + squashed("area"),
        "- pad: {kind: square, value: [0], position: top_left}\n" + CROP + squashed("lanczos4"),
        squashed("area", 8) + squashed("nearest"),
        "- crop: {kind: box, units: relative, left: 0.1, top: 0, right: 0.9, bottom: 0.7}\n" + squashed(),
        "- crop: {kind: center, width: 24, height: 24, rounding: floor}\n",
        "- resize: {width: 30, height: 30, method: pillow_bicubic, aspect: stretch}\n"
        "- crop: {kind: center, width: 24, height: 24, rounding: floor}\n",
    ]
)
TURNS = st.sampled_from(
    ["", "- rotate: {clockwise: 90, flip: none}\n", "- rotate: {clockwise: 180, flip: vertical}\n"]
)


@st.composite
def specs(draw: st.DrawFn) -> PreprocessSpec:
    turn, geometry = draw(TURNS), draw(GEOMETRIES)
    return image(
        exif=draw(st.sampled_from(["ignore", "apply"])),
        geometry=turn + geometry if draw(st.booleans()) else geometry + turn,
        order=draw(st.sampled_from(["rgb", "bgr"])),
        normalize=draw(
            st.sampled_from(["", TRAINED, "- normalize: {mean: [1, 2, 3], std: [2], divisor: 255}\n"])
        ),
        mode=draw(st.sampled_from(["raw", "quantize"])),
        rounding=draw(st.sampled_from(["half_away", "half_even", "floor"])),
        early_color=draw(st.booleans()),
    )


def run(spec: PreprocessSpec, tensor: TensorSpec, size: tuple[int, int]) -> np.ndarray:
    pixels = np.random.default_rng(1).integers(0, 256, (*size, 3)).astype(np.uint8)
    return compile_spec(spec, tensor)(pixels).tensor


@settings(max_examples=40, deadline=None)
@given(specs(), specs())
def test_every_mix_runs_and_the_ends_are_the_specs_themselves(
    training: PreprocessSpec, deployed: PreprocessSpec
) -> None:
    found = [factor.name for factor in factors(training, deployed)]
    assert len(set(found)) == len(found)
    assert (found == []) == (fingerprint(training) == fingerprint(deployed))
    assert mix(training, deployed, ()) == training
    assert fingerprint(mix(training, deployed, found)) == fingerprint(deployed)
    subsets = [chosen for count in (1, 2, len(found) - 1) for chosen in combinations(found, max(count, 0))]
    for chosen in subsets[:16]:
        made = mix(training, deployed, chosen)
        assert run(made, SQUARE, (61, 47)).shape == SQUARE.shape
        # Going on from a mix needs just the factors that are left.
        assert {factor.name for factor in factors(training, made)} <= {*found, "geometry", "step order"}


def vector(*steps: str, rounding: str = "half_away") -> PreprocessSpec:
    lines = "\n".join(f"- {step}" for step in (*steps, f"cast: {{mode: quantize, rounding: {rounding}}}"))
    return parse(f'version: "1"\nsteps:\n{lines}\n')


def test_vectors_have_factors_too() -> None:
    trained = vector("impute: {fill: [0]}", "standardize: {mean: [1, 2], std: [2, 2]}")
    deployed = vector(
        "clip: {low: [0], high: [9]}", "standardize: {mean: [0, 0], std: [1, 1]}", rounding="floor"
    )
    assert names(trained, deployed) == [
        ("imputation", "impute"),
        ("clipping", "clip"),
        ("normalisation", "standardize"),
        ("rounding", "cast"),
    ]
    clipped = mix(trained, deployed, {"clipping"})
    assert clipped.steps == (
        trained.steps[0], deployed.steps[0], trained.steps[1], trained.steps[2],
    )  # fmt: skip
    assert mix(trained, deployed, {"imputation", "clipping", "normalisation", "rounding"}) == deployed


def test_vector_steps_that_cannot_be_aligned_are_one_factor() -> None:
    trained = vector("impute: {fill: [0]}", "clip: {low: [1], high: [2]}")
    deployed = vector("clip: {low: [1], high: [2]}", "impute: {fill: [0]}", rounding="floor")
    assert names(trained, deployed) == [("preparation", "select"), ("rounding", "cast")]
    assert mix(trained, deployed, {"preparation"}).steps[:2] == deployed.steps[:2]


def test_what_cannot_be_mixed_is_refused() -> None:
    with pytest.raises(SpecError, match="training's spec prepares images, the deployed one vectors"):
        factors(image(), vector("impute: {fill: [0]}"))
    with pytest.raises(ValueError, match="no factor colour among crop"):
        mix(image(), image(geometry=squashed()), {"colour"})
