"""preprocess.yaml: the list of steps between a frame and the model's input tensor.

A spec has the training team's ``version`` (a label) and ``steps``; its *fingerprint* says whether
two specs prepare the same: SHA-256 over the canonical JSON of the typed steps, the revision of
each and ``SCHEMA_VERSION``, but not ``version`` nor limits that change no pixel. What OpenCV and
the file decoders of a machine make of the steps is no part of it: see ``preprocess.trace``.
"""

import difflib
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any, Final

import yaml

from agent.document import DocumentError, read_yaml
from agent.errors import SpecError
from agent.preprocess.decoding import Decode
from agent.preprocess.steps import REVISIONS, STEPS, Step
from agent.preprocess.validity import step_problems
from agent.preprocess.vectors import Select
from agent.structure import StructureProblemsError, structure

SCHEMA_VERSION: Final = 1
"""Changes when the form of preprocess.yaml, or of its canonical JSON, changes its meaning."""
_MAX_CHARACTERS: Final = 262_144


@dataclass(frozen=True, kw_only=True, slots=True)
class PreprocessSpec:
    """The steps in order. Build it with ``parse``, or in code and let ``validate`` check it."""

    version: str
    steps: tuple[Step, ...]


def parse(text: str, *, where: str = "preprocess.yaml") -> PreprocessSpec:
    """A spec from YAML. Raises SpecError with every problem, each ``where: path: what``."""
    if len(text) > _MAX_CHARACTERS:
        raise SpecError(f"{where}: larger than {_MAX_CHARACTERS} characters, no preprocessing spec")
    try:
        data = read_yaml(text)
    except DocumentError as error:
        raise SpecError(f"{where}: {error}") from None
    problems: list[str] = []
    spec = _spec(data, problems)
    if spec is None or problems:
        raise SpecError(*(f"{where}: {problem}" for problem in problems))
    return spec


def validate(spec: PreprocessSpec, *, where: str = "preprocess") -> PreprocessSpec:
    """``spec`` as ``parse`` would have read it (numbers of the declared types), or SpecError."""
    problems: list[str] = []
    checked = _spec(_plain(spec), problems)
    if checked is None or problems:
        raise SpecError(*(f"{where}: {problem}" for problem in problems))
    return checked


def dump(spec: PreprocessSpec) -> str:
    """YAML that ``parse`` reads back as the same spec."""
    return yaml.safe_dump(_plain(spec), sort_keys=False, allow_unicode=True, width=100)


def is_image(spec: PreprocessSpec) -> bool:
    """Whether the spec prepares images; otherwise it prepares vectors."""
    return bool(spec.steps) and isinstance(spec.steps[0], Decode)


def element_names(spec: PreprocessSpec, length: int) -> tuple[str, ...]:
    """What the ``length`` elements of a vector are called behind the last ``select``.

    By name where the spec names the columns, else ``element_<position>``.
    """
    names = tuple(f"element_{i}" for i in range(length))
    for i, select in enumerate(step for step in spec.steps if isinstance(step, Select)):
        if select.columns:
            names = tuple(select.columns[at] for at in select.positions)
        elif i == 0:
            names = tuple(f"element_{at}" for at in select.positions)
        else:
            names = tuple(names[at] for at in select.positions)
    return names


def canonical(spec: PreprocessSpec) -> str:
    """The JSON that the fingerprint is taken of. Raises SpecError when the spec is not valid."""
    steps = [_identity(step) for step in validate(spec).steps]
    return _json({"schema": SCHEMA_VERSION, "steps": steps})


def fingerprint(spec: PreprocessSpec) -> str:
    """64 hexadecimal characters, equal exactly when two specs prepare inputs the same way."""
    return hashlib.sha256(canonical(spec).encode()).hexdigest()


def revisions(spec: PreprocessSpec) -> tuple[tuple[str, int], ...]:
    """(name, revision) of each step in order, as this agent runs them."""
    return tuple((step.NAME, step.REVISION) for step in spec.steps)


def check_runnable(schema_version: int, revisions: Sequence[tuple[str, int]]) -> None:
    """Raises SpecError, naming both sides, when a bundle's steps are not those of this agent."""
    if schema_version != SCHEMA_VERSION:
        raise SpecError(
            f"preprocess: the bundle's spec has schema {schema_version}, this agent reads schema "
            f"{SCHEMA_VERSION}: {_remedy(schema_version < SCHEMA_VERSION)}"
        )
    problems = []
    for name, revision in dict.fromkeys((name, revision) for name, revision in revisions):
        here = REVISIONS.get(name)
        if here is None:
            known = ", ".join(REVISIONS)
            problems.append(
                f"preprocess: step {name!r} of the bundle is unknown to this agent (known: {known}): "
                f"{_remedy(False)}"
            )
        elif here != revision:
            problems.append(
                f"preprocess: step {name!r} has revision {revision} in the bundle, this agent runs "
                f"revision {here}: {_remedy(revision < here)}"
            )
    if problems:
        raise SpecError(*problems)


def differing_steps(a: PreprocessSpec, b: PreprocessSpec) -> tuple[str, ...]:
    """Names of the steps in which two specs differ (changed, missing, moved), in order, each once."""
    left, right = ([_json(_identity(step)) for step in validate(spec).steps] for spec in (a, b))
    found: list[str] = []
    for tag, i, j, k, m in difflib.SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        if tag != "equal":
            found += [step.NAME for step in (*a.steps[i:j], *b.steps[k:m])]
    return tuple(dict.fromkeys(found))


def _remedy(bundle_is_older: bool) -> str:
    if bundle_is_older:
        return "pack the bundle again with this version of Litewatch, or run the version that packed it"
    return (
        "update the agent to the version of Litewatch that packed the bundle, or pack it again with this one"
    )


def _spec(data: object, problems: list[str]) -> PreprocessSpec | None:
    if not isinstance(data, Mapping):
        problems.append("expected a mapping with 'version' and 'steps'")
        return None
    unknown = ", ".join(repr(key) for key in data if key not in ("version", "steps"))
    if unknown:
        problems.append(f"unknown key {unknown} (known: steps, version)")
    version, entries = data.get("version"), data.get("steps")
    if not isinstance(version, str):
        what = "required key is missing" if version is None else f"expected text, got {version!r} (quote it)"
        problems.append(f"version: {what}")
    if not isinstance(entries, (list, tuple)):
        problems.append("steps: " + ("required key is missing" if entries is None else "expected a list"))
        return None
    steps = [_step(entry, f"steps[{i}]", problems) for i, entry in enumerate(entries)]
    typed = tuple(step for step in steps if step is not None)
    if len(typed) != len(steps) or not isinstance(version, str):
        return None
    problems += step_problems(typed)
    return PreprocessSpec(version=version, steps=typed)


def _step(entry: object, place: str, problems: list[str]) -> Step | None:
    if not isinstance(entry, Mapping) or len(entry) != 1:
        problems.append(f"{place}: expected one step, such as 'resize: {{…}}'")
        return None
    ((name, parameters),) = entry.items()
    kinds = STEPS.get(name)
    if kinds is None:
        problems.append(f"{place}: unknown step {name!r} (known: {', '.join(STEPS)})")
        return None
    if not isinstance(parameters, Mapping):
        problems.append(f"{place}.{name}: expected a mapping of parameters")
        return None
    kind = parameters.get("kind", "") if "" not in kinds else ""
    if not isinstance(kind, str) or kind not in kinds:
        what = f"expected one of {', '.join(kinds)}"
        problems.append(f"{place}.{name}.kind: {what}" + (f", got {kind!r}" if kind else ""))
        return None
    rest = {key: value for key, value in parameters.items() if key != "kind" or "" in kinds}
    try:
        return structure(rest, kinds[kind], root=f"{place}.{name}")
    except StructureProblemsError as error:
        problems += error.problems
        return None


def _plain(spec: PreprocessSpec) -> dict[str, Any]:
    return {"version": spec.version, "steps": [{step.NAME: _parameters(step)} for step in spec.steps]}


def _parameters(step: Step) -> dict[str, Any]:
    """As in YAML: the kind, every required parameter, and the optional ones that are not default."""
    given = {f.name: getattr(step, f.name) for f in fields(step)}
    kept = {f.name: given[f.name] for f in fields(step) if f.default is MISSING or given[f.name] != f.default}
    kind = {"kind": step.KIND} if step.KIND else {}
    return kind | {key: list(v) if isinstance(v, tuple) else v for key, v in kept.items()}


def _identity(step: Step) -> dict[str, Any]:
    """What makes a step another step: name, kind, revision and the parameters that can move a value."""
    counted = [f.name for f in fields(step) if f.metadata.get("fingerprint", True)]
    parameters = {name: _unsigned_zero(getattr(step, name)) for name in counted}
    return {"step": step.NAME, "kind": step.KIND, "revision": step.REVISION, "parameters": parameters}


def _unsigned_zero(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_unsigned_zero(item) for item in value]
    return value + 0.0 if isinstance(value, float) else value


def _json(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
