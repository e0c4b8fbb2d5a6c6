"""From plain data (YAML, JSON) to frozen dataclasses, every problem at once by dotted path.

The converters are strict: ``"5"`` is not an int, ``1`` is not a bool, NaN is not a number.
After this module no dict of somebody else's making survives.
"""

import math
import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import lru_cache
from importlib import import_module
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from cattrs import Converter, transform_error
from cattrs.errors import ForbiddenExtraKeysError

T = TypeVar("T")

INTEGER_LIMIT = 2**63
"""What Python alone can count is an error everywhere else: in a message, a database, a float."""


class StructureProblemsError(ValueError):
    """Every problem found while structuring, each ``path: what is wrong``."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def structure(data: object, cls: type[T], *, extra: str = "forbid", root: str = "") -> T:
    """Make ``data`` a ``cls``.

    ``extra`` says what happens to keys ``cls`` does not know: ``forbid`` (files that people
    write) or ``ignore`` (messages from a newer peer). ``root`` prefixes every path.
    Raises StructureProblemsError with all problems.
    """
    try:
        return _converter(extra == "forbid").structure(data, cls)
    except RecursionError:
        raise StructureProblemsError([f"{root or 'data'}: nested too deeply"]) from None
    except Exception as error:
        problems = [_problem(line, root) for line in transform_error(error, format_exception=_say)]
        raise StructureProblemsError(problems) from None


def load_kind(kinds: Mapping[str, str], kind: str) -> type[Any]:
    """The class registered as ``kind`` (``"module:Class"``), imported only now."""
    module, _, name = kinds[kind].partition(":")
    loaded: type[Any] = getattr(import_module(module), name)
    return loaded


def structure_kind(data: object, kinds: Mapping[str, str], *, root: str, shorthand: bool = False) -> Any:
    """Make ``{"kind": NAME, **options}`` an instance of the class registered under NAME.

    With ``shorthand`` a bare string is a kind without options.
    """
    if shorthand and isinstance(data, str):
        data = {"kind": data}
    if not isinstance(data, Mapping):
        raise StructureProblemsError([f"{root}: expected a mapping with 'kind', got {_show(data)}"])
    kind = data.get("kind")
    if not isinstance(kind, str) or kind not in kinds:
        known = ", ".join(sorted(kinds))
        what = "required key is missing" if kind is None else f"unknown kind {_show(kind)}"
        raise StructureProblemsError([f"{root}.kind: {what} (known: {known})"])
    options = {key: value for key, value in data.items() if key != "kind"}
    return structure(options, load_kind(kinds, kind), root=root)


@lru_cache(maxsize=2)
def _converter(forbid_extra_keys: bool) -> Converter:
    converter = Converter(forbid_extra_keys=forbid_extra_keys, detailed_validation=True)
    for scalar in (bool, int, str):
        converter.register_structure_hook(scalar, lambda value, _, want=scalar: _exactly(value, want))
    converter.register_structure_hook(float, lambda value, _: _number(value))
    converter.register_structure_hook_func(_is_scalar_union, _scalar_union)
    converter.register_structure_hook_func(_is_choice, _choice)
    converter.register_structure_hook_func(_is_tuple, lambda value, cls: _tuple(converter, value, cls))
    return converter


def _is_choice(cls: Any) -> bool:
    origin: Any = get_origin(cls)
    return origin is Literal


def _is_tuple(cls: Any) -> bool:
    return bool(get_origin(cls) is tuple)


def _tuple(converter: Converter, value: object, cls: Any) -> tuple[Any, ...]:
    if isinstance(value, (str, bytes)) or not isinstance(value, (list, tuple)):
        raise ValueError(f"expected a list, got {_show(value)}")
    args = get_args(cls)
    if len(args) == 2 and args[1] is Ellipsis:
        return tuple(converter.structure(list(value), list[args[0]]))  # type: ignore[valid-type]
    if len(value) != len(args):
        raise ValueError(f"expected a list of {len(args)}, got {len(value)}")
    return tuple(converter.structure(item, arg) for item, arg in zip(value, args, strict=True))


def _is_scalar_union(cls: Any) -> bool:
    if get_origin(cls) not in (Union, types.UnionType):
        return False
    return (
        all(arg in (bool, int, float, str, types.NoneType) for arg in get_args(cls))
        and len(get_args(cls)) > 1
    )


def _scalar_union(value: object, cls: Any) -> object:
    wanted = get_args(cls)
    if value is None and types.NoneType in wanted:
        return None
    if type(value) in wanted and not (isinstance(value, float) and not math.isfinite(value)):
        return value if isinstance(value, float) else _exactly(value, type(value))
    if float in wanted and type(value) is int:
        return float(value)
    names = " or ".join(arg.__name__ for arg in wanted if arg is not types.NoneType)
    raise ValueError(f"expected {names}, got {_show(value)}")


def _choice(value: object, cls: Any) -> object:
    choices = get_args(cls)
    if not any(type(value) is type(choice) and value == choice for choice in choices):
        raise ValueError(f"expected one of {', '.join(map(str, choices))}, got {_show(value)}")
    return value


def _exactly(value: object, want: type) -> object:
    if type(value) is not want:
        raise ValueError(f"expected {want.__name__}, got {_show(value)}")
    if isinstance(value, str) and not _travels(value):
        raise ValueError(f"holds a character no file name or message can carry: {_show(value)}")
    if want is int and not -INTEGER_LIMIT <= value < INTEGER_LIMIT:  # type: ignore[operator]  # an int
        raise ValueError("expected an integer of at most 64 bits")
    return value


def _travels(text: str) -> bool:
    """No NUL, which ends a file name, and no half of a surrogate pair, which UTF-8 cannot say."""
    return "\0" not in text and not any("\ud800" <= char <= "\udfff" for char in text)


def _number(value: object) -> float:
    if type(value) not in (int, float):
        raise ValueError(f"expected float, got {_show(value)}")
    try:
        number = float(value)  # type: ignore[arg-type]
    except OverflowError:
        raise ValueError("expected a finite number, got one too large") from None
    if not math.isfinite(number):
        raise ValueError(f"expected a finite number, got {number}")
    return number


def _show(value: object) -> str:
    text = repr(value) if isinstance(value, (str, int, float, bool, types.NoneType)) else type(value).__name__
    return text if len(text) <= 60 else text[:57] + "…"


def _say(error: BaseException, type_: type | None) -> str:
    if isinstance(error, ForbiddenExtraKeysError):
        known = sorted(field.name for field in fields(error.cl)) if is_dataclass(error.cl) else []
        return " ".join(
            f"unknown key {key!r} (known: {', '.join(known)})" for key in sorted(map(str, error.extra_fields))
        )
    if isinstance(error, KeyError):
        return "required key is missing"
    if isinstance(error, ValueError):
        return str(error)
    if isinstance(error, (TypeError, AttributeError)):
        return (
            "expected a mapping" if hasattr(type_, "__dataclass_fields__") or type_ is None else "wrong type"
        )
    return f"cannot be used ({error})"


def _problem(line: str, root: str) -> str:
    message, _, path = line.rpartition(" @ ")
    place = path.removeprefix("$").removeprefix(".")
    place = f"{root}.{place}" if root and place and not place.startswith("[") else root + place
    return f"{place or 'data'}: {message}"
