"""YAML and JSON are read strictly."""

import pytest

from agent.document import DocumentError, read_json, read_yaml


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2", "line 2: key 'a' appears twice"),
        ("a: &x [1]\nb: *x", "line 2: anchors and aliases are not supported"),
        ("? [1]\n: 2", "line 1: keys must be plain words"),
        ("a: 1\n b: 2", "line 2: mapping values are not allowed here"),
        ("!!python/object:os.system x", "line 1: could not determine a constructor for the tag "
         "'tag:yaml.org,2002:python/object:os.system'"),
        ("[" * 3000, "nested too deeply"),
    ],
)  # fmt: skip
def test_yaml_that_is_refused(text: str, message: str) -> None:
    with pytest.raises(DocumentError) as caught:
        read_yaml(text)
    assert str(caught.value) == message


@pytest.mark.parametrize("text", ["x: !!int ''", "x: !!float ''", "x: !!bool foo", "x: !!timestamp foo"])
def test_a_value_that_does_not_fit_its_tag(text: str) -> None:
    with pytest.raises(DocumentError):
        read_yaml(text)


def test_yaml_that_is_read() -> None:
    assert read_yaml("a: {b: [1, 2.5, x, 1e-3, -2.5E6, 1e]}") == {
        "a": {"b": [1, 2.5, "x", 0.001, -2.5e6, "1e"]}
    }


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\xff", "not UTF-8 at byte 0"),
        (b"[NaN]", "not JSON: NaN is not a number"),
        (b'{"a": 1, "a": 2}', "not JSON: a key appears twice"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_json_that_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(DocumentError) as caught:
        read_json(data)
    assert str(caught.value) == message
