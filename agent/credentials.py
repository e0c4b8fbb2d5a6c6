"""Files that systemd hands over: passwords and keys that no user but root may read on disk.

The unit loads the directory ``secrets`` below the config's; systemd calls its file ``secrets/key``
``secrets_key`` and puts it where only this service sees it.
"""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from agent.config import AgentConfig

FILES = frozenset({"password_file", "ca", "certificate", "key"})
"""Options, of the broker's section or a source's, that name such files."""


def with_credentials(config: AgentConfig, environment: Mapping[str, str]) -> AgentConfig:
    """``config``, its relative paths to secrets replaced by what systemd handed over, where it did."""
    folder = environment.get("CREDENTIALS_DIRECTORY")
    if not folder:
        return config
    source, mqtt = (_handed_over(options, Path(folder)) for options in (config.source, config.mqtt))
    return replace(config, source=source, mqtt=mqtt)


def _handed_over(options: Any, folder: Path) -> Any:
    if not is_dataclass(options) or isinstance(options, type):
        return options
    changed = {}
    for field in fields(options):
        value = getattr(options, field.name)
        if is_dataclass(value):
            changed[field.name] = _handed_over(value, folder)
        elif field.name in FILES and isinstance(value, str):
            credential = folder / value.replace("/", "_")
            changed[field.name] = str(credential) if credential.is_file() else value
    return replace(options, **changed)
