"""``litewatch config``: is this agent.yaml good, and what may stand in one?"""

from pathlib import Path

import click

from agent import config as agent_config
from agent.errors import ConfigError
from agent.runtime import KINDS as DELEGATES
from agent.sources import KINDS as SOURCES
from agent.telemetry import wire
from agent.telemetry.messages import KINDS as MESSAGES
from tools.console import emit_json

EXAMPLES = """\b
Examples:
  litewatch config /etc/litewatch/agent.yaml
  litewatch config --schema
  litewatch config --message window
"""


@click.command(epilog=EXAMPLES)
@click.argument("path", type=click.Path(path_type=Path), required=False)
@click.option("--schema", is_flag=True, help="Print the JSON Schema of agent.yaml.")
@click.option("--message", type=click.Choice(sorted(MESSAGES)), help="Print the JSON Schema of a message.")
@click.option("--json", "as_json", is_flag=True, help="Print the config with every default filled in.")
def config(path: Path | None, schema: bool, message: str | None, as_json: bool) -> None:
    """Validate agent.yaml: every problem at once, each with its place. Exit status 2 if there is one."""
    if schema:
        emit_json(agent_config.json_schema(sources=SOURCES, delegates=DELEGATES))
        return
    if message:
        emit_json(wire.json_schema(message))
        return
    if path is None:
        raise click.UsageError("name an agent.yaml, or ask for --schema or --message")
    parsed = agent_config.parse(read_text(path), sources=SOURCES, delegates=DELEGATES, where=path.name)
    if as_json:
        emit_json(agent_config.public(parsed, sources=SOURCES, delegates=DELEGATES))
    else:
        click.echo(f"{path}: ok (device {parsed.device.id} at {parsed.device.site})")


def read_text(path: Path) -> str:
    """The file's text. Raises ConfigError when it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8") from None
