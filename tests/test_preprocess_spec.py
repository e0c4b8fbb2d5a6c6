"""preprocess.yaml: parsing, problems, round trip, fingerprint, what this agent can run."""

import dataclasses
import json
import random
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from agent.errors import SpecError
from agent.preprocess.decoding import Decode
from agent.preprocess.geometry import Box, PadToSize
from agent.preprocess.resize import Resize
from agent.preprocess.spec import (
    SCHEMA_VERSION,
    PreprocessSpec,
    canonical,
    check_runnable,
    differing_steps,
    dump,
    fingerprint,
    is_image,
    parse,
    revisions,
    validate,
)
from agent.preprocess.steps import REVISIONS, STEPS
from agent.preprocess.values import Cast, Color, Normalize

FIXTURE = (Path(__file__).parent / "fixtures" / "preprocess.yaml").read_text()

IMAGE: dict[str, Any] = {
    "version": "1",
    "steps": [
        {"decode": {"exif": "apply"}},
        {"crop": {"kind": "central_fraction", "fraction": 0.875, "rounding": "floor"}},
        {"crop": {"kind": "center_square", "rounding": "floor"}},
        {"crop": {"kind": "center", "width": 90, "height": 80, "rounding": "floor"}},
        {"crop": {"kind": "box", "units": "pixels", "left": 0, "top": 0, "right": 70, "bottom": 60}},
        {"resize": {"width": 64, "height": 64, "method": "area", "aspect": "stretch"}},
        {"pad": {"kind": "size", "width": 200, "height": 200, "value": [0, 1, 2], "position": "center"}},
        {"pad": {"kind": "square", "value": [3], "position": "center"}},
        {"rotate": {"clockwise": 90, "flip": "none"}},
        {"color": {"order": "rgb"}},
        {"normalize": {"mean": [4], "std": [4], "scale": 0.5, "divisor": 2}},
        {"cast": {"mode": "quantize", "rounding": "half_even", "layout": "nhwc"}},
    ],
}
VECTOR: dict[str, Any] = {
    "version": "1",
    "steps": [
        {"select": {"indices": [0, 1], "columns": ["a", "b", "c"]}},
        {"impute": {"fill": [1, 2]}},
        {"clip": {"low": [-4, -5], "high": [7, 8]}},
        {"standardize": {"mean": [1, 2], "std": [3, 4]}},
        {"cast": {"mode": "quantize", "rounding": "half_even"}},
    ],
}


def of(data: Any) -> PreprocessSpec:
    return parse(yaml.safe_dump(data))


def with_step(data: dict[str, Any], at: int, **changes: Any) -> dict[str, Any]:
    ((name, parameters),) = data["steps"][at].items()
    steps = list(data["steps"])
    steps[at] = {name: parameters | changes}
    return data | {"steps": steps}


def problems_of(text: str) -> tuple[str, ...]:
    with pytest.raises(SpecError) as caught:
        parse(text)
    return caught.value.problems


def test_the_checked_in_example_round_trips() -> None:
    spec = parse(FIXTURE)
    assert spec.version == "2026-01"
    assert is_image(spec)
    assert [step.NAME for step in spec.steps] == ["decode", "crop", "resize", "color", "normalize", "cast"]
    assert spec.steps[4] == Normalize(mean=(1.0,), std=(1.0,), divisor=127.5)
    assert parse(dump(spec)) == spec


@pytest.mark.parametrize("data", [IMAGE, VECTOR])
def test_every_step_round_trips_with_its_fingerprint(data: dict[str, Any]) -> None:
    spec = of(data)
    again = parse(dump(spec))
    assert again == spec
    assert fingerprint(again) == fingerprint(spec)
    assert is_image(spec) == (data is IMAGE)


def test_the_fingerprint_is_what_the_documentation_says() -> None:
    spec = of({"version": "x", "steps": [{"cast": {"mode": "raw", "rounding": "floor"}}]})
    expected = {
        "schema": 1,
        "steps": [
            {
                "step": "cast",
                "kind": "",
                "revision": 1,
                "parameters": {"mode": "raw", "rounding": "floor", "layout": None},
            }
        ],
    }
    assert canonical(spec) == json.dumps(expected, sort_keys=True, separators=(",", ":"))
    # Bundles in the field carry such numbers: they may never change by accident.
    assert fingerprint(spec) == "bfd3c72a3c746f2dc325b78d09c4fa54b09e6979819bbe724e1935a95bdd23c1"
    assert fingerprint(parse(FIXTURE)) == "3d4a015642fac4e20eb31aab6be69b12a73e22bdc9271d8f0e505b2fec34d4b3"


@given(st.randoms(use_true_random=False), st.sampled_from([IMAGE, VECTOR]))
def test_spelling_does_not_change_the_fingerprint(rng: random.Random, data: dict[str, Any]) -> None:
    def respelled(value: Any) -> Any:
        if isinstance(value, dict):
            items = [(key, respelled(item)) for key, item in value.items()]
            rng.shuffle(items)
            return dict(items)
        return [respelled(item) for item in value] if isinstance(value, list) else value

    text = yaml.safe_dump(respelled(data), sort_keys=False, default_flow_style=rng.choice([None, False]))
    text = "# a comment\n\n" + text.replace("- 4\n", "- 4.0  # four\n").replace("[4,", "[4.0,   ")
    assert fingerprint(parse(text)) == fingerprint(of(data))


def test_neither_the_version_nor_a_limit_changes_the_fingerprint() -> None:
    base = fingerprint(of(IMAGE))
    assert fingerprint(of(IMAGE | {"version": "another"})) == base
    assert fingerprint(of(with_step(IMAGE, 0, max_pixels=1000))) == base


def other_values(cls: type[Any], name: str, value: Any) -> list[Any]:
    hint = get_type_hints(cls)[name]
    if get_origin(hint) is Literal:
        return [choice for choice in get_args(hint) if choice != value]
    if name == "layout":
        return ["nchw"] if value else []
    if isinstance(value, list):
        return [[*value[:-1], value[-1] + (1 if isinstance(value[-1], (int, float)) else "x")]]
    return [value + 1 if isinstance(value, int) else value / 2]


def parameter_changes() -> list[Any]:
    cases = []
    for label, data in (("image", IMAGE), ("vector", VECTOR)):
        for at, step in enumerate(data["steps"]):
            ((name, parameters),) = step.items()
            cls = STEPS[name][parameters.get("kind", "")]
            for key, value in parameters.items():
                changes = [] if key == "kind" else other_values(cls, key, value)
                cases += [pytest.param(data, at, {key: v}, id=f"{label}-{at}-{key}-{v}") for v in changes]
    return cases


@pytest.mark.parametrize(("data", "at", "change"), parameter_changes())
def test_every_change_of_a_parameter_changes_the_fingerprint(
    data: dict[str, Any], at: int, change: dict[str, Any]
) -> None:
    if change.get("units") == "relative":
        data = with_step(data, at, right=1, bottom=1)
    changed = of(with_step(data, at, **change))
    assert fingerprint(changed) != fingerprint(of(data))
    assert differing_steps(changed, of(data)) == (changed.steps[at].NAME,)


def test_the_examples_above_cover_every_parameter() -> None:
    used = {
        (name, parameters.get("kind", ""), key)
        for data in (IMAGE, VECTOR)
        for step in data["steps"]
        for name, parameters in step.items()
        for key in parameters
    }
    declared = {
        (name, kind, field.name)
        for name, kinds in STEPS.items()
        for kind, cls in kinds.items()
        for field in dataclasses.fields(cls)
    }
    # A limit that is no part of the fingerprint, and the other way to say `indices`.
    assert declared - used == {("decode", "", "max_pixels"), ("select", "", "names")}


def test_order_of_steps_counts() -> None:
    swapped = list(IMAGE["steps"])
    swapped[8], swapped[9] = swapped[9], swapped[8]
    other = of(IMAGE | {"steps": swapped})
    assert fingerprint(other) != fingerprint(of(IMAGE))
    assert set(differing_steps(of(IMAGE), other)) <= {"rotate", "color"}
    assert differing_steps(of(IMAGE), other) != ()


def test_differing_steps_names_what_is_missing_and_what_changed_in_order() -> None:
    legacy = """
version: legacy
steps:
  - decode: {exif: ignore}
  - resize: {width: 224, height: 224, method: nearest, aspect: stretch}
  - color: {order: rgb}
  - normalize: {divisor: 255, mean: [0], std: [1]}
  - cast: {mode: quantize, rounding: half_even, layout: nhwc}
"""
    assert differing_steps(parse(FIXTURE), parse(legacy)) == ("crop", "resize", "normalize")
    assert differing_steps(parse(legacy), parse(legacy)) == ()


def test_numbers_given_in_code_are_read_as_declared() -> None:
    steps = (
        Decode(exif="ignore"),
        Color(order="rgb"),
        Normalize(mean=(1,), std=(2,)),
        Cast(mode="quantize", rounding="floor", layout="nhwc"),
    )
    in_code = PreprocessSpec(version="1", steps=steps)
    assert fingerprint(in_code) == fingerprint(parse(dump(in_code)))
    assert validate(in_code) == parse(dump(in_code))
    with pytest.raises(SpecError, match=r"^preprocess: steps: required step color is missing$"):
        fingerprint(PreprocessSpec(version="1", steps=(steps[0], steps[3])))


def test_all_problems_at_once_by_their_paths() -> None:
    text = """
version: 3
extra: 1
steps:
  - decode: {}
  - crop: {kind: round}
  - crop: {}
  - resize: {width: 0, height: 224, method: bilinear, aspect: stretch}
  - resize: {width: "224", height: 224, method: linear, aspect: stretch, antialias: true}
  - sharpen: {}
  - color
  - pad: 3
  - {rotate: {clockwise: 90, flip: none}, color: {order: rgb}}
  - normalize: {mean: [a], std: .nan}
"""
    crops = "expected one of central_fraction, center_square, center, box"
    methods = (
        "nearest, linear, linear_exact, area, cubic, lanczos4, tf_bilinear, pillow_bilinear, "
        "pillow_bicubic, pillow13_bilinear, pillow13_bicubic"
    )
    assert problems_of(text) == (
        "preprocess.yaml: unknown key 'extra' (known: steps, version)",
        "preprocess.yaml: version: expected text, got 3 (quote it)",
        "preprocess.yaml: steps[0].decode.exif: required key is missing",
        f"preprocess.yaml: steps[1].crop.kind: {crops}, got 'round'",
        f"preprocess.yaml: steps[2].crop.kind: {crops}",
        f"preprocess.yaml: steps[3].resize.method: expected one of {methods}, got 'bilinear'",
        "preprocess.yaml: steps[4].resize.width: expected int, got '224'",
        "preprocess.yaml: steps[4].resize: unknown key 'antialias' (known: aspect, height, method, width)",
        f"preprocess.yaml: steps[5]: unknown step 'sharpen' (known: {', '.join(STEPS)})",
        "preprocess.yaml: steps[6]: expected one step, such as 'resize: {…}'",
        "preprocess.yaml: steps[7].pad: expected a mapping of parameters",
        "preprocess.yaml: steps[8]: expected one step, such as 'resize: {…}'",
        "preprocess.yaml: steps[9].normalize.mean[0]: expected float, got 'a'",
        "preprocess.yaml: steps[9].normalize.std: expected a list, got nan",
    )


DECODE, COLOR = {"decode": {"exif": "ignore"}}, {"color": {"order": "rgb"}}
CAST = {"cast": {"mode": "raw", "rounding": "floor", "layout": "nhwc"}}
ORDER = "the order is decode; crop, resize, pad, rotate, color (once) in any order; normalize; cast"
TF = {"resize": {"width": 8, "height": 8, "method": "tf_bilinear", "aspect": "stretch"}}
BOX: dict[str, Any] = {
    "crop": {"kind": "box", "units": "pixels", "left": 0, "top": 0, "right": 9, "bottom": 9}
}
PAD = {"value": [0], "position": "center"}


@pytest.mark.parametrize(
    ("steps", "problems"),
    [
        ([], ["steps: expected at least one step"]),
        ([DECODE, CAST], ["steps: required step color is missing"]),
        ([COLOR, DECODE, CAST], [f"steps[1]: decode cannot stand here; {ORDER}"]),
        ([DECODE, COLOR, COLOR, CAST], [f"steps[2]: color cannot stand here; {ORDER}"]),
        ([DECODE, COLOR, CAST, TF], [f"steps[3]: resize cannot stand here; {ORDER}"]),
        (
            [DECODE, COLOR, {"impute": {"fill": [0]}}, CAST],
            ["steps[2]: impute is a step for vectors, this spec is not"],
        ),
        (
            [{"standardize": {"mean": [0], "std": [1]}}, {"impute": {"fill": [0]}}, {"cast": CAST["cast"]}],
            [
                "steps[1]: impute cannot stand here; the order is select, impute, clip in any order; "
                "standardize; cast"
            ],
        ),
        (
            [DECODE, COLOR, {"cast": {"mode": "raw", "rounding": "floor"}}],
            ["steps[2].cast.layout: required for images: expected one of nhwc, nchw"],
        ),
        ([CAST], ["steps[0].cast.layout: has no meaning for vectors"]),
        (
            [DECODE, BOX | {"crop": BOX["crop"] | {"right": 300_000, "bottom": 1e300}}, TF, COLOR, CAST],
            [
                "steps[1].crop.right: expected whole pixels from 0 to 16384, got 300000.0",
                "steps[1].crop.bottom: expected whole pixels from 0 to 16384, got 1e+300",
            ],
        ),
        (
            [DECODE, BOX | {"crop": BOX["crop"] | {"right": 16_384, "bottom": 16_384}}, TF, COLOR, CAST],
            ["steps[1].crop.right: the box holds more than 50,000,000 pixels"],
        ),
        ([DECODE, TF, BOX, COLOR, CAST], ["steps[2].crop: the box 0,0 to 9,9 does not fit an image of 8x8"]),
        (
            [DECODE, BOX, {"pad": PAD | {"kind": "size", "width": 9, "height": 8}}, COLOR, CAST],
            ["steps[2].pad: an image of 9x9 is larger than 9x8"],
        ),
        (
            [
                DECODE,
                {"resize": TF["resize"] | {"width": 16_384, "method": "area"}},
                {"pad": PAD | {"kind": "square"}},
                COLOR,
                CAST,
            ],
            ["steps[2].pad: would make an image of 16384x16384 pixels, more than 50,000,000"],
        ),
        (
            [
                DECODE,
                TF,
                {"crop": {"kind": "center", "width": 9, "height": 8, "rounding": "floor"}},
                COLOR,
                CAST,
            ],
            ["steps[2].crop: an image of 8x8 is smaller than 9x8"],
        ),
        (
            [DECODE, TF, {"resize": TF["resize"] | {"width": 9999, "height": 9999}}, COLOR, CAST],
            ["steps[2].resize.width: 9999x9999 are more than 50,000,000 pixels"],
        ),
        (
            [DECODE, TF, {"resize": TF["resize"] | {"method": "pillow_bilinear"}}, COLOR, CAST],
            [
                "steps[2].resize.method: pillow_bilinear needs 8-bit pixels, but tf_bilinear before it "
                "makes floats"
            ],
        ),
        (
            [DECODE, {"color": {"order": "gray"}}, {"normalize": {"mean": [1, 2, 3], "std": [1]}}, CAST],
            ["steps[2].normalize: the image has 1 channel(s), mean or std 3 numbers"],
        ),
        (
            [DECODE, {"pad": {"kind": "square", "value": [0.5], "position": "center"}}, COLOR, CAST],
            ["steps[1].pad.value: expected whole numbers, the image is 8-bit here"],
        ),
        (
            [DECODE, {"pad": {"kind": "square", "value": [1, 2], "position": "center"}}, COLOR, CAST],
            ["steps[1].pad.value: expected 1 or 3 numbers, got 2"],
        ),
        (
            [
                DECODE,
                {"crop": {"kind": "central_fraction", "fraction": 87.5, "rounding": "floor"}},
                COLOR,
                CAST,
            ],
            ["steps[1].crop.fraction: expected more than 0 and at most 1, got 87.5"],
        ),
        (
            [{"select": {"indices": [0, 1]}}, {"impute": {"fill": [1, 2, 3]}}, {"cast": CAST["cast"]}],
            [
                "steps[1].impute: expected 1 or 2 numbers per parameter, got 3",
                "steps[2].cast.layout: has no meaning for vectors",
            ],
        ),
    ],
)
def test_specs_that_make_no_sense(steps: list[Any], problems: list[str]) -> None:
    text = json.dumps({"version": "1", "steps": steps})
    assert problems_of(text) == tuple(f"preprocess.yaml: {problem}" for problem in problems)


def test_a_spec_is_judged_without_making_its_images(monkeypatch: pytest.MonkeyPatch) -> None:
    def touched(*_: object) -> None:
        raise AssertionError("an image was made")

    for step in (Box, Resize, PadToSize):
        monkeypatch.setattr(step, "apply", touched)
    large = {"resize": TF["resize"] | {"width": 7000, "height": 7000}}
    text = json.dumps({"version": "1", "steps": [DECODE, large, BOX, large, COLOR, CAST]})
    assert len(parse(text).steps) == 6


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "expected a mapping with 'version' and 'steps'"),
        ("[1, 2]", "expected a mapping with 'version' and 'steps'"),
        ("version: '1'", "steps: required key is missing"),
        ("version: '1'\nsteps: {}", "steps: expected a list"),
        ("version: '1'\nversion: '2'\nsteps: []", "line 2: key 'version' appears twice"),
        ("x: " + "a" * 300_000, "larger than 262144 characters, no preprocessing spec"),
    ],
)
def test_texts_that_are_no_spec(text: str, problem: str) -> None:
    assert problems_of(text) == (f"preprocess.yaml: {problem}",)


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=5),
        lambda c: (
            st.lists(c)
            | st.dictionaries(
                st.sampled_from(
                    ["version", "steps", "decode", "crop", "kind", "resize", "cast", "width", "mean"]
                ),
                c,
            )
        ),
    )
)
def test_any_document_gives_a_spec_or_a_spec_error(data: Any) -> None:
    try:
        parse(yaml.safe_dump(data))
    except SpecError as error:
        assert all(problem.startswith("preprocess.yaml: ") for problem in error.problems)


def test_the_place_can_be_named_by_the_caller() -> None:
    with pytest.raises(SpecError, match=r"^bundle\.tflite/preprocess\.yaml: steps: required key is missing$"):
        parse("version: '1'", where="bundle.tflite/preprocess.yaml")


def test_kinds_of_one_step_share_its_revision() -> None:
    for name, kinds in STEPS.items():
        assert {cls.REVISION for cls in kinds.values()} == {REVISIONS[name]}


def test_a_spec_of_this_agent_is_runnable() -> None:
    check_runnable(SCHEMA_VERSION, revisions(of(IMAGE)))
    assert revisions(of(VECTOR)) == (
        ("select", 1),
        ("impute", 1),
        ("clip", 1),
        ("standardize", 1),
        ("cast", 1),
    )


def test_a_bundle_for_another_agent_is_refused_naming_both_sides_and_the_step() -> None:
    with pytest.raises(SpecError) as caught:
        check_runnable(SCHEMA_VERSION, [("decode", 1), ("resize", 2), ("sharpen", 1), ("cast", 0)])
    update = (
        "update the agent to the version of Litewatch that packed the bundle, or pack it again with this one"
    )
    again = "pack the bundle again with this version of Litewatch, or run the version that packed it"
    assert caught.value.problems == (
        "preprocess: step 'resize' has revision 2 in the bundle, this agent runs revision 1: " + update,
        f"preprocess: step 'sharpen' of the bundle is unknown to this agent (known: {', '.join(STEPS)}): "
        + update,
        "preprocess: step 'cast' has revision 0 in the bundle, this agent runs revision 1: " + again,
    )
    with pytest.raises(SpecError) as caught:
        check_runnable(2, [])
    assert caught.value.problems == (
        "preprocess: the bundle's spec has schema 2, this agent reads schema 1: " + update,
    )
