"""Messages to bytes and back: strict UTF-8 JSON, every problem of a payload by its dotted path.

Decoding trusts nothing: size, nesting, numbers (finite, 64 bits) and text (no NUL, no lone
surrogate) are bounded before a value is built, so what comes out fits every database. Unknown keys
are ignored: an older reader survives a newer writer.
"""

import dataclasses
import json
import math
import re
from typing import Any, NoReturn

from agent.errors import WireError
from agent.jsonschema import schema_of
from agent.structure import StructureProblemsError, structure
from agent.telemetry.clock import parse_utc
from agent.telemetry.messages import KINDS, Body, Envelope, identifier_problem, schema_name

MAX_BYTES = 262_144
"""Largest payload, the envelope included."""
BODY_BYTES = MAX_BYTES - 4_096
"""Largest body: what remains when the envelope has its room."""
MAX_DEPTH = 16
_INTEGER_LIMIT = 2**63
_GROWTH = 8
"""More often than this nothing grows when it is written anew (``1e15`` becomes 18 characters)."""

_BODY_LAST = re.compile(r',"body":null\}$')


def body_json(body: Body) -> str:
    """The body as compact JSON. WireError when it is too large or holds what ``decode`` would refuse.

    Halves of surrogate pairs (a file name that is not UTF-8) become question marks.
    """
    data = dataclasses.asdict(body)
    try:
        text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (ValueError, TypeError, RecursionError) as error:
        raise WireError(
            *(_unfit(data, "body", 1) or [f"body: cannot be written as JSON ({error})"])
        ) from None
    encoded = text.encode("utf-8", "replace")
    if len(encoded) > BODY_BYTES:
        raise WireError(f"body: {len(encoded)} bytes, at most {BODY_BYTES} can be sent")
    text = encoded.decode()
    problems = _unfit(json.loads(text), "body", 1)
    if problems:
        raise WireError(*problems)
    return text


def encode(envelope: Envelope) -> bytes:
    """The payload of a message; WireError as for ``body_json``."""
    return encode_around(envelope, body_json(envelope.body))


def encode_around(envelope: Envelope, body: str) -> bytes:
    """The payload of an envelope (its own body is not looked at) around a body kept as JSON."""
    head = dataclasses.replace(envelope, body=None)
    fields = {name: value for name, value in dataclasses.asdict(head).items() if name != "body"}
    text = json.dumps(fields | {"body": None}, ensure_ascii=False, separators=(",", ":"))
    return _BODY_LAST.sub("", text).encode() + b',"body":' + body.encode() + b"}"


def decode(data: bytes, *, kind: str) -> Envelope:
    """The message in ``data``, which came on the topic of ``kind``; WireError with every problem."""
    fields = _parse(data)
    _check_schema(fields.get("schema"), kind)
    problems: list[str] = []
    body = _structured(fields.get("body"), KINDS[kind].body, "body", problems)
    envelope = _structured(fields | {"body": None}, Envelope, "", problems)
    if envelope is not None:
        problems += _envelope_problems(envelope)
    if envelope is not None and not problems and len(data) > BODY_BYTES // _GROWTH:
        problems += _size_problems(envelope, compact(fields.get("body")))
    if problems:
        raise WireError(*problems)
    message: Envelope = dataclasses.replace(envelope, body=body)
    return message


def compact(body: object) -> str:
    """Plain data as the JSON that ``encode_around`` takes."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"))


def json_schema(kind: str) -> dict[str, Any]:
    """JSON Schema (2020-12) of a whole message of ``kind``: the envelope around its body."""
    schema = schema_of(Envelope, extra="ignore")
    body = schema_of(KINDS[kind].body, extra="ignore")
    schema["$defs"] = schema.get("$defs", {}) | body.pop("$defs", {})
    body.pop("$schema")
    schema["title"] = schema_name(kind)
    schema["properties"] |= {"schema": {"const": schema_name(kind)}, "body": body}
    return schema


def _parse(data: bytes) -> dict[str, Any]:
    if len(data) > MAX_BYTES:
        raise WireError(f"payload: {len(data)} bytes, at most {MAX_BYTES} are read")
    try:
        fields = json.loads(data.decode("utf-8"), parse_constant=_refuse_constant)
    except UnicodeDecodeError as error:
        raise WireError(f"payload: not UTF-8 at byte {error.start}") from None
    except RecursionError:
        raise WireError(f"payload: nested deeper than {MAX_DEPTH} levels") from None
    except ValueError as error:
        raise WireError(f"payload: not JSON ({error})") from None
    if not isinstance(fields, dict):
        raise WireError(f"payload: expected a JSON object, got {type(fields).__name__}")
    problems = _unfit(fields, "", 0)
    if problems:
        raise WireError(*problems[:10])
    return fields


def _size_problems(envelope: Envelope, body: str) -> list[str]:
    """What is read must fit once more when it is written anew, as whoever keeps it does."""
    size = len(body.encode())
    if size > BODY_BYTES:
        return [f"body: {size} bytes, at most {BODY_BYTES} are read"]
    whole = len(encode_around(envelope, body))
    return [f"payload: {whole} bytes when written anew"] if whole > MAX_BYTES else []


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")


def _check_schema(schema: object, kind: str) -> None:
    expected = schema_name(kind)
    found = (
        re.fullmatch(r"litewatch\.([a-z]{1,32})/([0-9]{1,6})", schema) if isinstance(schema, str) else None
    )
    if schema == expected:
        return
    if found and found[1] == kind and int(found[2]) > KINDS[kind].version:
        reader = "agent" if KINDS[kind].inbound else "collector"
        raise WireError(f"schema: {schema} is newer than {expected}: update the {reader}")
    if schema is None:
        raise WireError("schema: required key is missing")
    raise WireError(f"schema: expected {expected}, got {str(schema)[:60]!r}")


def _structured(data: object, cls: type[Any], root: str, problems: list[str]) -> Any:
    try:
        return structure(data, cls, extra="ignore", root=root)
    except StructureProblemsError as error:
        problems += error.problems
        return None


def _envelope_problems(envelope: Envelope) -> list[str]:
    problems = [
        f"{name}: {problem}"
        for name in ("device", "site", "session")
        if (problem := identifier_problem(getattr(envelope, name)))
    ]
    problems += [f"{name}: must not be negative" for name in ("seq", "floor") if getattr(envelope, name) < 0]
    for name in ("sent_at", "created_at"):
        text = getattr(envelope, name)
        try:
            if text is not None:
                parse_utc(text)
        except (ValueError, OverflowError):
            problems.append(f"{name}: expected a time like 2026-01-31T12:00:00Z, got {text[:40]!r}")
    return problems


def _unfit(value: object, path: str, depth: int) -> list[str]:
    """Where in plain data something stands that must not travel."""
    if isinstance(value, (dict, list, tuple)):
        if depth >= MAX_DEPTH:
            return [f"{path or 'payload'}: nested deeper than {MAX_DEPTH} levels"]
        if isinstance(value, dict):
            items = [(f"{path}.{key}" if path else str(key), item) for key, item in value.items()]
            found = [problem for key in value if (problem := _unfit_text(key, f"{path or 'payload'}: a key"))]
        else:
            items = [(f"{path}[{index}]", item) for index, item in enumerate(value)]
            found = []
        return found + [problem for at, item in items for problem in _unfit(item, at, depth + 1)]
    problem = _unfit_scalar(value, path)
    return [problem] if problem else []


def _unfit_scalar(value: object, path: str) -> str | None:
    if isinstance(value, float):
        return None if math.isfinite(value) else f"{path}: expected a finite number, got {value}"
    if isinstance(value, int):
        return None if abs(value) < _INTEGER_LIMIT else f"{path}: an integer beyond 64 bits"
    if isinstance(value, str):
        return _unfit_text(value, f"{path}:")
    return None if value is None else f"{path}: {type(value).__name__} cannot be written as JSON"


def _unfit_text(text: object, place: str) -> str | None:
    if not isinstance(text, str):
        return f"{place} is no text"
    if "\0" in text:
        return f"{place} holds a NUL character"
    if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
        return f"{place} holds half of a surrogate pair"
    return None
