"""YAML and JSON text to plain data, strictly: no duplicate keys, no aliases, no surprises."""

import json
import re
from collections.abc import Hashable
from typing import Any

import yaml
from yaml.constructor import ConstructorError
from yaml.nodes import MappingNode


class DocumentError(ValueError):
    """The text cannot be read; the message names the line."""


class _StrictLoader(yaml.SafeLoader):
    def construct_mapping(self, node: MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, (str, int, float, bool)):
                raise ConstructorError(None, None, "keys must be plain words", key_node.start_mark)
            if key in seen:
                raise ConstructorError(None, None, f"key {key!r} appears twice", key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep=True)

    def compose_node(self, parent: Any, index: Any) -> Any:
        # A few nested aliases expand into billions of nodes; none of our files needs one.
        if self.check_event(yaml.AliasEvent):
            here = self.get_mark()
            raise ConstructorError(None, None, "anchors and aliases are not supported", here)
        return super().compose_node(parent, index)


# PyYAML follows YAML 1.1, which reads 1e-3 as text; to everybody else it is a number.
_StrictLoader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9][0-9]*(\.[0-9]*)?[eE][-+]?[0-9]+"), list("-+0123456789")
)


def read_yaml(text: str) -> Any:
    """Plain data from one YAML document. Raises DocumentError naming the line."""
    try:
        return yaml.load(text, _StrictLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f"line {mark.line + 1}: " if mark else ""
        raise DocumentError(f"{line}{error.problem or error.context}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise DocumentError((str(error) or "not YAML").splitlines()[0]) from None
    except (LookupError, AttributeError, TypeError) as error:
        # PyYAML's own constructors fail so on values like `!!int ''` and `!!timestamp x`.
        raise DocumentError(f"a value does not fit its tag ({error!r})") from None
    except RecursionError:
        raise DocumentError("nested too deeply") from None


def read_json(data: bytes) -> Any:
    """Plain data from one UTF-8 JSON document without NaN. Raises DocumentError."""
    try:
        return json.loads(data.decode("utf-8"), parse_constant=_refuse, object_pairs_hook=_unique)
    except UnicodeDecodeError as error:
        raise DocumentError(f"not UTF-8 at byte {error.start}") from None
    except RecursionError:
        raise DocumentError("nested too deeply") from None
    except ValueError as error:
        raise DocumentError(f"not JSON: {error}") from None


def _refuse(word: str) -> float:
    raise ValueError(f"{word} is not a number")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a key appears twice")
    return made
