"""A check's or a diagnosis' result as plain data for a JSON file, and back.

A file may come from a device that runs an older or a newer Litewatch: keys this one does not know are
ignored, keys with a default may be absent, and everything else that is missing or of the wrong type is
reported at once, each by its dotted path.
"""

import math
import re
import sys
import types
from dataclasses import fields, is_dataclass
from functools import lru_cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from agent.errors import InputError
from agent.structure import StructureProblemsError, structure
from calibration.check_result import CheckResult
from calibration.diagnosis_result import DiagnosisResult

T = TypeVar("T")


def dump(result: CheckResult | DiagnosisResult) -> dict[str, Any]:
    """Plain values that JSON can hold; ``load(dump(result)) == result`` for finite numbers.

    JSON has no infinity and no NaN: where None is allowed they become None, elsewhere the largest
    finite number (an error that cannot be measured is as large as an error can be). What no UTF-8 text
    can hold (half of a surrogate pair, in a file name of arbitrary bytes) becomes a replacement character.
    """
    made = _plain(result, None)
    assert isinstance(made, dict)
    return made


def load(value: object, *, where: str = "") -> CheckResult:
    """The result that ``value`` (parsed JSON) holds. ``where`` (a file's name) begins each problem.

    Raises InputError with every problem: ``check.json: rungs[1].flips: required key is missing``.
    """
    return _load(value, CheckResult, where, "the result of a check")


def load_diagnosis(value: object, *, where: str = "") -> DiagnosisResult:
    """As ``load``, for what ``litewatch diagnose`` found."""
    return _load(value, DiagnosisResult, where, "the result of a diagnosis")


def _load(value: object, cls: type[T], where: str, what: str) -> T:
    begin = f"{where}: " if where else ""
    if not isinstance(value, dict):
        raise InputError(f"{begin}expected a mapping, {what}")
    try:
        return structure(value, cls, extra="ignore")
    except StructureProblemsError as error:
        raise InputError(*(f"{begin}{problem}" for problem in error.problems)) from None


def _plain(value: Any, hint: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        hints = _hints(type(value))
        return {field.name: _plain(getattr(value, field.name), hints[field.name]) for field in fields(value)}
    if isinstance(value, (tuple, list)):
        return [_plain(item, None) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str):
        return re.sub("[\0\ud800-\udfff]", "\N{REPLACEMENT CHARACTER}", value)
    if isinstance(value, float):
        return _number(value, optional=_is_optional(hint))
    return value


def _number(value: float, *, optional: bool) -> float | None:
    if math.isfinite(value):
        return value
    if optional:
        return None
    return -sys.float_info.max if value == -math.inf else sys.float_info.max


def _is_optional(hint: Any) -> bool:
    return get_origin(hint) in (Union, types.UnionType) and types.NoneType in get_args(hint)


@lru_cache(maxsize=16)
def _hints(cls: type[Any]) -> dict[str, Any]:
    return get_type_hints(cls)
