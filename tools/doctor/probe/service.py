"""Asks the agent that runs on this machine: its state, and its hardware delegate, which is its own."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agent.config import AgentConfig
from agent.device.control_socket import ask
from agent.device.unix_address import NotServedError
from agent.errors import MachineError
from tools.doctor.tree.service import Said
from tools.doctor.tree.tpu import Tried
from tools.through_service import addresses

ANSWER_S = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Agent:
    """``running``: one listens here. ``said`` is its state, None when it does not tell; ``reply`` is what
    it said to ``canary``; None: ``silent`` says why. ``other``: it is that of another device, ``site/id``,
    whose state is not this one's though the hardware is."""

    running: bool
    said: Said | None = None
    reply: Mapping[str, Any] | None = None
    silent: str = ""
    other: str = ""

    @property
    def tried(self) -> Tried | None:
        """What its canary says of the device it holds; None when it cannot say."""
        if self.reply is None or not self.reply["ok"]:
            return None
        result = self.reply["result"]
        runs, mismatches, refused = result["runs"], result["mismatches"], result.get("refused", "")
        detail = f"canary: {runs} runs, {len(mismatches)} not repeated, {result['blessed']} known by now"
        problem = "; ".join(mismatches) or refused
        if not problem and result.get("delegate") == "cpu":
            problem = "it has lost the delegate, and the CPU runs the model"
        return Tried(by="service", problem=problem, detail=detail)

    @property
    def untried(self) -> str:
        if self.reply is not None and not self.reply["ok"]:
            return f"the running agent has it, and cannot try it out ({'; '.join(self.reply['problems'])})"
        return f"the running agent has it, and {self.silent or 'was not asked'}"


def look(config: AgentConfig | None, environment: Mapping[str, str], *, canary: bool) -> Agent:
    """Is an agent here, and what does it say of itself? ``canary``: of its hardware as well."""
    for address in addresses(config, environment):
        said, other = None, ""
        try:
            # An older agent refuses what it does not know at once: enough to know that it is there.
            state = ask(address, {"command": "state"}, ANSWER_S)
            said, other = _said(state), _other(state, config)
            reply = ask(address, {"command": "canary"}, ANSWER_S) if canary else None
        except NotServedError:
            continue
        except MachineError as error:
            return Agent(running=True, said=said, silent=f"does not tell: {error}", other=other)
        return Agent(running=True, said=said, reply=reply, other=other)
    return Agent(running=False)


def _other(reply: Mapping[str, Any], config: AgentConfig | None) -> str:
    """The device of that agent, where it is not the config's."""
    result = (reply["result"] if reply["ok"] else None) or {}
    if config is None or "device" not in result:
        return ""
    own = (config.device.site, config.device.id)
    return "" if (result["site"], result["device"]) == own else f"{result['site']}/{result['device']}"


def _said(reply: Mapping[str, Any]) -> Said | None:
    result = reply["result"] if reply["ok"] else None
    if not result or "state" not in result:
        return None
    return Said(
        state=result["state"], problems=tuple(result["problems"]), connected=bool(result["connected"])
    )
