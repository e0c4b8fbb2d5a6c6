"""JSON Schema (draft 2020-12) of frozen dataclasses: what ``structure`` accepts, for editors and peers.

Docstrings become descriptions: the class's own, and the text that stands under a field.
Two things JSON Schema cannot tell apart as ``structure`` does: 1 from 1.0, and what a class checks
beyond its types (ranges, names that must fit together).
"""

import ast
import inspect
import textwrap
import types
from collections.abc import Mapping
from dataclasses import MISSING, Field, asdict, dataclass, fields, is_dataclass
from itertools import pairwise
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from agent.structure import load_kind

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_SCALARS = {int: "integer", float: "number", str: "string", bool: "boolean", types.NoneType: "null"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Kinds:
    """A registry (name → ``module:Class``) whose members may stand in a field.

    With ``shorthand`` a bare string is a kind without options.
    """

    registry: Mapping[str, str]
    shorthand: bool = False


def schema_of(
    cls: type[Any],
    *,
    extra: Literal["forbid", "ignore"] = "forbid",
    kinds: Mapping[Any, Kinds] | None = None,
) -> dict[str, Any]:
    """The schema of ``cls``; ``extra`` as in ``structure``.

    ``kinds`` gives, for annotations that no dataclass describes (a Protocol), the registry to
    choose from: ``{kind: NAME, **options}``.
    """
    writer = _Writer(closed=extra == "forbid", kinds=kinds or {})
    schema = {"$schema": DIALECT, "title": cls.__name__} | writer.object_of(cls)
    return schema | ({"$defs": dict(sorted(writer.defs.items()))} if writer.defs else {})


class _Writer:
    """Collects the definitions that nested dataclasses need."""

    def __init__(self, *, closed: bool, kinds: Mapping[Any, Kinds]) -> None:
        self.defs: dict[str, Any] = {}
        self._names: dict[tuple[type[Any], str | None], str] = {}
        self._closed = closed
        self._kinds = kinds

    def object_of(self, cls: type[Any], kind: str | None = None) -> dict[str, Any]:
        hints, notes = get_type_hints(cls), _field_notes(cls)
        properties: dict[str, Any] = {"kind": {"const": kind}} if kind else {}
        for field in fields(cls):
            properties[field.name] = (
                self._value(hints[field.name]) | _default(field) | notes.get(field.name, {})
            )
        required = ["kind"] if kind else []
        required += [field.name for field in fields(cls) if not _default(field)]
        schema: dict[str, Any] = {"type": "object", **_class_note(cls), "properties": properties}
        return (
            schema | ({"required": required} if required else {}) | {"additionalProperties": not self._closed}
        )

    def _value(self, hint: Any) -> dict[str, Any]:
        if hint in self._kinds:
            return self._choice_of_kinds(self._kinds[hint])
        if hint is Any:
            return {}
        if hint in _SCALARS:
            return {"type": _SCALARS[hint]}
        if is_dataclass(hint) and isinstance(hint, type):
            return self._reference(hint)
        return self._generic(get_origin(hint), get_args(hint), hint)

    def _generic(self, origin: Any, args: tuple[Any, ...], hint: Any) -> dict[str, Any]:
        if origin in (Union, types.UnionType):
            return self._union(args)
        if origin is Literal:
            return {"enum": list(args)}
        if origin is tuple and args[-1] is Ellipsis:
            return {"type": "array", "items": self._value(args[0])}
        if origin is tuple:
            items = [self._value(arg) for arg in args]
            return {"type": "array", "prefixItems": items, "items": False, "minItems": len(items)}
        if origin is list:
            return {"type": "array", "items": self._value(args[0])}
        if origin is dict and args[0] is str:
            return {"type": "object", "additionalProperties": self._value(args[1]) or True}
        raise TypeError(f"no JSON Schema for {hint!r}")

    def _union(self, args: tuple[Any, ...]) -> dict[str, Any]:
        if all(arg in _SCALARS for arg in args):
            return {"type": [_SCALARS[arg] for arg in args]}
        return {"anyOf": [self._value(arg) for arg in args]}

    def _reference(self, cls: type[Any], kind: str | None = None) -> dict[str, Any]:
        if (cls, kind) not in self._names:
            name, number = cls.__name__, 2
            while name in self.defs:
                name, number = f"{cls.__name__}{number}", number + 1
            self._names[cls, kind] = name
            self.defs[name] = {}  # a class that holds itself finds its name taken
            self.defs[name] = self.object_of(cls, kind)
        return {"$ref": f"#/$defs/{self._names[cls, kind]}"}

    def _choice_of_kinds(self, choice: Kinds) -> dict[str, Any]:
        options = [self._reference(load_kind(choice.registry, name), name) for name in choice.registry]
        if choice.shorthand:
            options.append({"enum": list(choice.registry)})
        return {"anyOf": options}


def _default(field: Field[Any]) -> dict[str, Any]:
    if field.default is not MISSING:
        return {"default": _plain(field.default)}
    if field.default_factory is not MISSING:
        return {"default": _plain(field.default_factory())}
    return {}


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return _plain(asdict(value))
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (tuple, list)) else value


def _class_note(cls: type[Any]) -> dict[str, str]:
    generated = (cls.__doc__ or "").startswith(f"{cls.__name__}(")
    return {"description": inspect.cleandoc(cls.__doc__)} if cls.__doc__ and not generated else {}


def _field_notes(cls: type[Any]) -> dict[str, dict[str, str]]:
    """The text under each field, read from the source where there is one."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    except (OSError, TypeError, SyntaxError):
        return {}
    body = tree.body[0].body if isinstance(tree.body[0], ast.ClassDef) else []
    return {
        field.target.id: {"description": inspect.cleandoc(note.value.value)}
        for field, note in pairwise(body)
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(note, ast.Expr) and isinstance(note.value, ast.Constant)
        if isinstance(note.value.value, str)
    }
