"""``litewatch command``: tell a running agent what to do, and show what it answers."""

import os
from pathlib import Path
from typing import Any

import click

from agent.errors import InputError, MachineError
from agent.telemetry.messages import identifier_problem
from tools.collector.options import mqtt_options, to_mqtt
from tools.console import emit_json, say

WAIT_S = 30.0


@click.command(short_help="Tell a running agent what to do.")
@click.argument("name", metavar="COMMAND")
@click.argument("settings", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--device", help="The device.")
@click.option("--site", help="Its site.")
@click.option("--local", is_flag=True, help="The agent of this machine, without a broker.")
@click.option(
    "-c", "--config", type=click.Path(path_type=Path), help="With --local: its agent.yaml, to find it by."
)
@click.option(
    "--timeout", type=click.FloatRange(1, 3600), default=WAIT_S, show_default=True, help="Seconds to wait."
)
@click.option("--json", "as_json", is_flag=True, help="Print the reply as JSON.")
@mqtt_options
def command(
    name: str,
    settings: tuple[str, ...],
    device: str | None,
    site: str | None,
    local: bool,
    config: Path | None,
    timeout: float,
    as_json: bool,
    **broker: Any,
) -> None:
    """Send COMMAND to a running agent and wait for its reply.

    rebirth, pause, resume, check, sample, set, canary or commission. Exit status 0 when it was done, 1
    when the agent refused it or did not answer, 2 for wrong usage.

    \b
    Examples:
      litewatch command pause --device cam-1 --site lab --mqtt broker:8883 --ca ca.pem
      litewatch command set sample_every=5 window.samples=500 --device cam-1 --site lab
      litewatch command canary --local
    """
    problems = _usage_problems(device, site, local=local, config=config)
    arguments, malformed = parse_settings(settings)
    if problems or malformed:
        raise InputError(*problems, *malformed)
    if local:
        reply = _ask_here(name, arguments, config, timeout)
    else:
        from dataclasses import asdict

        from tools.commander import command_device

        assert device is not None and site is not None  # _usage_problems has seen to it
        options = to_mqtt(**broker)
        reply = asdict(
            command_device(
                options, site=site, device=device, command=name, arguments=arguments, wait_s=timeout
            )
        )
    _show(reply, as_json=as_json)
    raise click.exceptions.Exit(0 if reply["ok"] else 1)


def _usage_problems(device: str | None, site: str | None, *, local: bool, config: Path | None) -> list[str]:
    if local:
        return ["--local: leave out --device and --site"] if device or site else []
    problems = ["--config: needs --local"] if config is not None else []
    for option, text in (("--device", device), ("--site", site)):
        problem = "required, or --local" if text is None else identifier_problem(text)
        problems += [f"{option}: {problem}"] if problem else []
    return problems


def parse_settings(settings: tuple[str, ...]) -> tuple[dict[str, Any], list[str]]:
    """``window.samples=500`` as the nested arguments of a command, and what is wrong; a value is written
    as in agent.yaml."""
    from agent.document import DocumentError, read_yaml

    arguments: dict[str, Any] = {}
    problems = []
    for setting in settings:
        path, equals, text = setting.partition("=")
        *outer, last = path.split(".")
        try:
            value = read_yaml(text)
        except DocumentError as error:
            problems.append(f"{setting}: {error}")
            continue
        place: Any = arguments
        for key in outer:
            place = place.setdefault(key, {}) if isinstance(place, dict) else None
        if not equals or not all((*outer, last)) or not isinstance(place, dict) or last in place:
            problems.append(f"{setting}: expected KEY=VALUE, each key once")
            continue
        place[last] = value
    return arguments, problems


def _ask_here(name: str, arguments: dict[str, Any], config: Path | None, timeout_s: float) -> dict[str, Any]:
    from agent import config as configs
    from agent.device.control_socket import ask
    from agent.device.unix_address import NotServedError
    from agent.runtime import KINDS as DELEGATES
    from agent.sources import KINDS as SOURCES
    from tools.commands.config import read_text
    from tools.through_service import addresses

    agent = None
    if config is not None:
        agent = configs.parse(read_text(config), sources=SOURCES, delegates=DELEGATES, where=config.name)
    places = addresses(agent, os.environ)
    for address in places:
        try:
            return ask(address, {"command": name, "arguments": arguments}, timeout_s)
        except NotServedError:
            continue
    raise MachineError(
        f"no agent of this machine listens at {' or '.join(map(str, places))}; name its agent.yaml with -c"
    )


def _show(reply: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        emit_json(reply)
        return
    for problem in reply["problems"]:
        say(f"refused: {problem}")
    for key, value in reply["result"].items():
        say(f"{key}: {value}")
    if reply["ok"] and not reply["result"]:
        say("done")
