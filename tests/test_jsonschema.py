"""The schema says what ``structure`` does: both accept and both refuse the same data."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from agent.jsonschema import Kinds, schema_of
from agent.structure import StructureProblemsError, structure, structure_kind


@dataclass(frozen=True, kw_only=True, slots=True)
class Leaf:
    """A leaf."""

    weight: float
    """In grams."""
    name: str = "oak"


@dataclass(frozen=True, kw_only=True, slots=True)
class Tree:
    leaves: tuple[Leaf, ...]
    size: tuple[int, int]
    mood: Literal["calm", "wild", 3]
    best: Leaf | None = None
    age: int | None = None
    tag: int | float | str = 0
    tall: bool = False
    notes: dict[str, float] = field(default_factory=dict)
    anything: dict[str, Any] = field(default_factory=dict)


KINDS = {"leaf": f"{__name__}:Leaf", "tree": f"{__name__}:Tree"}
GOOD = {"leaves": [{"weight": 1}], "size": [1, 2], "mood": "calm"}


def accepts(data: object, extra: Literal["forbid", "ignore"]) -> bool:
    try:
        structure(data, Tree, extra=extra)
    except StructureProblemsError:
        return False
    return True


def validates(data: object, extra: Literal["forbid", "ignore"]) -> bool:
    return bool(Draft202012Validator(schema_of(Tree, extra=extra)).is_valid(data))


def test_the_schema_is_a_valid_one() -> None:
    Draft202012Validator.check_schema(schema_of(Tree))


@pytest.mark.parametrize("extra", ["forbid", "ignore"])
@pytest.mark.parametrize(
    ("change", "fits"),
    [
        ({}, True),
        ({"best": {"weight": 2.5, "name": "elm"}, "age": 3, "tag": "x", "tall": True}, True),
        ({"best": None, "age": None, "tag": 1.5, "notes": {"a": 1}, "anything": {"a": [None, {}]}}, True),
        ({"leaves": []}, True),
        ({"mood": 3}, True),
        ({"mood": "3"}, False),
        ({"mood": "sad"}, False),
        ({"size": [1]}, False),
        ({"size": [1, 2, 3]}, False),
        ({"size": [1, "2"]}, False),
        ({"leaves": [{"name": "no weight"}]}, False),
        ({"leaves": {"weight": 1}}, False),
        ({"age": "3"}, False),
        ({"age": True}, False),
        ({"tall": 1}, False),
        ({"tag": None}, False),
        ({"notes": {"a": "1"}}, False),
        ({"best": 3}, False),
    ],
)
def test_schema_and_structure_agree(
    change: dict[str, Any], fits: bool, extra: Literal["forbid", "ignore"]
) -> None:
    data = GOOD | change
    assert (accepts(data, extra), validates(data, extra)) == (fits, fits)


@pytest.mark.parametrize("missing", sorted(GOOD))
def test_what_has_no_default_is_required(missing: str) -> None:
    data = {key: value for key, value in GOOD.items() if key != missing}
    assert (accepts(data, "forbid"), validates(data, "forbid")) == (False, False)


@pytest.mark.parametrize("place", [GOOD | {"unknown": 1}, GOOD | {"best": {"weight": 1, "unknown": 1}}])
def test_unknown_keys_are_refused_or_allowed_at_every_depth(place: dict[str, Any]) -> None:
    assert (accepts(place, "forbid"), validates(place, "forbid")) == (False, False)
    assert (accepts(place, "ignore"), validates(place, "ignore")) == (True, True)


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from([0.5, "calm", "oak"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["weight", "name"]), inner),
    max_leaves=5,
)


@settings(max_examples=300, deadline=None)
@given(st.fixed_dictionaries({}, optional=dict.fromkeys(Tree.__dataclass_fields__, _json)))
def test_schema_and_structure_agree_on_anything(change: dict[str, Any]) -> None:
    data = GOOD | change
    assert validates(data, "forbid") == accepts(data, "forbid")


def test_docstrings_and_defaults_are_told() -> None:
    leaf = schema_of(Tree)["$defs"]["Leaf"]
    assert leaf["description"] == "A leaf."
    assert leaf["properties"]["weight"] == {"type": "number", "description": "In grams."}
    assert leaf["properties"]["name"] == {"type": "string", "default": "oak"}
    assert leaf["required"] == ["weight"]
    assert "description" not in schema_of(Tree)


@dataclass(frozen=True, kw_only=True, slots=True)
class Forest:
    first: object


@pytest.mark.parametrize(
    ("data", "fits"),
    [
        ({"kind": "leaf", "weight": 1}, True),
        ({"kind": "tree", **GOOD}, True),
        ("leaf", True),
        ({"kind": "leaf"}, False),
        ({"kind": "tree", "weight": 1}, False),
        ({"kind": "rock"}, False),
        ({"weight": 1}, False),
        ("rock", False),
    ],
)
def test_a_registry_offers_its_kinds(data: object, fits: bool) -> None:
    kinds = {object: Kinds(registry=KINDS, shorthand=True)}
    schema = schema_of(Forest, kinds=kinds)
    assert Draft202012Validator(schema).is_valid({"first": data}) == fits
    if isinstance(data, dict):  # a leaf needs a weight, which the bare name cannot give
        assert _made(lambda: structure_kind(data, KINDS, root="first")) == fits


def _made(make: Callable[[], object]) -> bool:
    try:
        make()
    except StructureProblemsError:
        return False
    return True


def test_a_type_without_a_schema_is_our_own_defect() -> None:
    @dataclass
    class Odd:
        value: set[int]

    with pytest.raises(TypeError, match=r"no JSON Schema for set\[int\]"):
        schema_of(Odd)
