"""Through the agent that runs on this machine: a Coral serves one process, a broker login one connection.

Where no agent runs, nothing is borrowed and nothing is handed over.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from agent.config import AgentConfig
from agent.device.control_socket import SOCKET, ask, lease, socket_path
from agent.device.unix_address import NotServedError
from agent.errors import MachineError
from agent.telemetry.messages import Check

WITHIN_S = 30.0
SERVICE = Path("/run/litewatch")
"""Where the installed service listens."""


def addresses(config: AgentConfig | None, environment: Mapping[str, str]) -> tuple[Path, ...]:
    """Where an agent of this machine may listen, the likeliest first."""
    found = [SERVICE / SOCKET]
    state = _state(config, environment)
    if state is not None:
        found.insert(0, state / SOCKET)
        found.insert(0, socket_path(state, environment))
    return tuple(dict.fromkeys(found))


@contextlib.contextmanager
def borrowed_delegate(
    config: AgentConfig | None = None, *, delegate: Any = None, environment: Mapping[str, str] | None = None
) -> Iterator[Path | None]:
    """Has the hardware to itself while the block runs; the address of the agent that lent it, or None.

    ``delegate``: what the block uses, instead of the config's. Raises MachineError when an agent runs
    here and does not lend its device.
    """
    used = delegate if delegate is not None or config is None else config.model.delegate
    if used is None or not used.hardware:
        yield None
        return
    with contextlib.ExitStack() as borrowed:
        yield _borrow(borrowed, addresses(config, os.environ if environment is None else environment))


def hand_over(check: Check, config: AgentConfig, environment: Mapping[str, str]) -> bool:
    """Let the agent of this device publish ``check``; whether one runs here and took it.

    Raises MachineError when it runs and does not take it.
    """
    for address in addresses(config, environment):
        with contextlib.suppress(NotServedError):
            said = ask(address, {"command": "state"}, timeout_s=WITHIN_S).get("result", {})
            if (said.get("device"), said.get("site")) != (config.device.id, config.device.site):
                continue
            request = {"command": "publish", "arguments": {"check": asdict(check)}}
            reply = ask(address, request, timeout_s=WITHIN_S)
            if not reply["ok"]:
                raise MachineError(f"--publish: the running agent: {'; '.join(reply['problems'])}")
            return True
    return False


def _borrow(borrowed: contextlib.ExitStack, places: tuple[Path, ...]) -> Path | None:
    for address in places:
        with contextlib.suppress(NotServedError):
            borrowed.enter_context(lease(address))
            return address
    return None


def _state(config: AgentConfig | None, environment: Mapping[str, str]) -> Path | None:
    """The state directory of an agent with this config, without making it."""
    named = (config.device.state_dir if config else None) or environment.get("STATE_DIRECTORY")
    if named:
        return Path(named)
    if config is None:
        return None
    home = environment.get("XDG_STATE_HOME")
    try:
        return (Path(home) if home else Path.home() / ".local" / "state") / "litewatch" / config.device.id
    except RuntimeError:  # this user has no home
        return None
