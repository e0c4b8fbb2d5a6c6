"""agent.yaml as frozen dataclasses; every problem is reported at once, by dotted path.

Pure: text in, values out. Which kinds of source and delegate exist is passed in, because those
are adapters and live above this floor.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, TypeVar

from agent.contracts import Source
from agent.document import DocumentError, read_yaml
from agent.errors import ConfigError
from agent.monitor.capture import CaptureOptions
from agent.monitor.drift import DEFAULT, KINDS
from agent.sections import (
    DeviceConfig,
    HealthConfig,
    ModelConfig,
    ModelOptions,
    MonitorConfig,
    MonitorOptions,
)
from agent.structure import StructureProblemsError, load_kind, structure, structure_kind
from agent.telemetry.options import MqttOptions, OutboxOptions

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class AgentConfig:
    device: DeviceConfig
    model: ModelConfig
    source: Source
    monitor: MonitorConfig
    capture: CaptureOptions
    mqtt: MqttOptions | None
    """None: the section is absent; telemetry stays in the outbox."""
    outbox: OutboxOptions
    health: HealthConfig


SECTIONS: dict[str, type[Any]] = {
    "device": DeviceConfig,
    "model": ModelOptions,
    "monitor": MonitorOptions,
    "capture": CaptureOptions,
    "mqtt": MqttOptions,
    "outbox": OutboxOptions,
    "health": HealthConfig,
}
REQUIRED = ("device", "model", "source")


def parse(
    text: str, *, sources: Mapping[str, str], delegates: Mapping[str, str], where: str = "agent.yaml"
) -> AgentConfig:
    """The config in ``text``. Raises ConfigError with every problem, each prefixed by ``where``."""
    reader = _Reader()
    config = reader.read(text, sources, delegates)
    if reader.problems or config is None:
        raise ConfigError(*(f"{where}: {problem}" for problem in reader.problems))
    return config


def json_schema(*, sources: Mapping[str, str], delegates: Mapping[str, str]) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of agent.yaml."""
    # Imported here: an agent that starts does not need it.
    from agent.jsonschema import schema_of

    definitions: dict[str, Any] = {}
    sections = {name: _hoist(schema_of(cls), definitions) for name, cls in SECTIONS.items()}
    delegate = [*_kinds_schemas(delegates, definitions), {"enum": sorted(delegates)}]
    sections["model"]["properties"]["delegate"] = {"anyOf": delegate, "default": "cpu"}
    detector = [*_kinds_schemas(KINDS, definitions), {"enum": sorted(KINDS)}]
    detectors = {"type": "array", "items": {"anyOf": detector}, "default": list(DEFAULT)}
    sections["monitor"]["properties"]["detectors"] = detectors
    sections["source"] = {"anyOf": _kinds_schemas(sources, definitions)}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "agent.yaml",
        "type": "object",
        "properties": sections,
        "required": list(REQUIRED),
        "additionalProperties": False,
        "$defs": definitions,
    }


def _hoist(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """A section's schema with its definitions moved to the document's."""
    definitions |= schema.pop("$defs", {})
    del schema["$schema"]
    return schema


def _kinds_schemas(kinds: Mapping[str, str], definitions: dict[str, Any]) -> list[dict[str, Any]]:
    from agent.jsonschema import schema_of

    options = []
    for name in sorted(kinds):
        schema = _hoist(schema_of(load_kind(kinds, name)), definitions)
        schema["properties"] = {"kind": {"const": name}} | schema["properties"]
        schema["required"] = ["kind", *schema.get("required", [])]
        options.append(schema)
    return options


class _Reader:
    """Collects problems over all sections, so that one run shows them all."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def read(self, text: str, sources: Mapping[str, str], delegates: Mapping[str, str]) -> AgentConfig | None:
        try:
            data = read_yaml(text)
        except DocumentError as error:
            self.problems.append(str(error))
            return None
        if not isinstance(data, Mapping):
            self.problems.append("expected a mapping of sections")
            return None
        known = {*SECTIONS, "source"}
        self.problems += [
            f"{key}: unknown section (known: {', '.join(sorted(known))})" for key in data if key not in known
        ]
        self.problems += [f"{key}: required section is missing" for key in REQUIRED if key not in data]
        device = self._section(data, "device", DeviceConfig)
        model = self._model(data, delegates)
        source = self._kind(data["source"], sources, "source") if "source" in data else None
        monitor = self._monitor(data)
        capture = self._section(data, "capture", CaptureOptions)
        mqtt = self._section(data, "mqtt", MqttOptions) if "mqtt" in data else None
        outbox = self._section(data, "outbox", OutboxOptions)
        health = self._section(data, "health", HealthConfig)
        if not (device and model and source and monitor and capture and outbox and health):
            return None
        return AgentConfig(
            device=device,
            model=model,
            source=source,
            monitor=monitor,
            capture=capture,
            mqtt=mqtt,
            outbox=outbox,
            health=health,
        )

    def _section(self, data: Mapping[str, Any], name: str, cls: type[T]) -> T | None:
        if name in REQUIRED and name not in data:
            return None
        given = data.get(name)
        try:
            made = structure({} if given is None else given, cls, root=name)
        except StructureProblemsError as error:
            self.problems += error.problems
            return None
        self._check(made, name)
        return made

    def _check(self, made: Any, root: str) -> None:
        """Values of the right type that make no sense: a section or kind may check its own."""
        if hasattr(made, "problems"):
            self.problems += [f"{root}.{problem.removeprefix(root + '.')}" for problem in made.problems()]

    def _model(self, data: Mapping[str, Any], delegates: Mapping[str, str]) -> ModelConfig | None:
        given = data.get("model")
        plain = given
        delegate: Any = None
        if isinstance(given, Mapping):
            plain = {key: value for key, value in given.items() if key != "delegate"}
            delegate = self._kind(given.get("delegate", "cpu"), delegates, "model.delegate", shorthand=True)
        options = self._section({**data, "model": plain} if "model" in data else data, "model", ModelOptions)
        return ModelConfig(options=options, delegate=delegate) if options and delegate else None

    def _monitor(self, data: Mapping[str, Any]) -> MonitorConfig | None:
        given = data.get("monitor")
        named: object = list(DEFAULT)
        if isinstance(given, Mapping):
            named = given.get("detectors", named)
            data = {**data, "monitor": {key: value for key, value in given.items() if key != "detectors"}}
        options = self._section(data, "monitor", MonitorOptions)
        detectors = self._detectors(named)
        if options is None or detectors is None:
            return None
        plain = {field.name: getattr(options, field.name) for field in fields(options)}
        return MonitorConfig(**plain, detectors=detectors)

    def _detectors(self, named: object) -> tuple[Any, ...] | None:
        root = "monitor.detectors"
        if not isinstance(named, list):
            self.problems.append(f"{root}: expected a list")
            return None
        made = [self._kind(item, KINDS, f"{root}[{at}]", shorthand=True) for at, item in enumerate(named)]
        if len({type(item) for item in made}) < len(made):
            self.problems.append(f"{root}: each detector can be named once")
        return tuple(made)

    def _kind(self, data: object, kinds: Mapping[str, str], root: str, *, shorthand: bool = False) -> Any:
        try:
            made = structure_kind(data, kinds, root=root, shorthand=shorthand)
        except StructureProblemsError as error:
            self.problems += error.problems
            return None
        self._check(made, root)
        return made


SECRET_KEYS = frozenset({"password", "password_file", "username", "key"})


def public(
    config: AgentConfig, *, sources: Mapping[str, str], delegates: Mapping[str, str]
) -> dict[str, Any]:
    """The config as agent.yaml would say it in full, without secrets, for the ``about`` message."""
    plain: dict[str, Any] = _plain(config)
    plain["model"] = _plain(config.model.options) | {"delegate": _with_kind(config.model.delegate, delegates)}
    plain["monitor"]["detectors"] = [_with_kind(made, KINDS) for made in config.monitor.detectors]
    plain["source"] = _with_kind(config.source, sources)
    return {name: section for name, section in plain.items() if section is not None}


def _with_kind(made: Any, kinds: Mapping[str, str]) -> dict[str, Any]:
    place = f"{type(made).__module__}:{type(made).__qualname__}"
    kind = next(name for name, registered in kinds.items() if registered == place)
    # A kind may hold secrets inside an option, as a URL does: then it says itself what to show.
    options: dict[str, Any] = _plain(made) | (made.public() if hasattr(made, "public") else {})
    return {"kind": kind} | options


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value) if f.name not in SECRET_KEYS}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value
