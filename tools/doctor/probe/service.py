"""Asks the agent that runs on this machine, whose device a hardware delegate is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agent.config import AgentConfig
from agent.device.control_socket import ask
from agent.device.unix_address import NotServedError
from agent.errors import MachineError
from tools.doctor.tree.tpu import Tried
from tools.through_service import addresses

ANSWER_S = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Agent:
    """``running``: one listens here. ``reply`` is what it said to ``canary``; None: ``silent`` says why."""

    running: bool
    reply: Mapping[str, Any] | None = None
    silent: str = ""

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
    """Is an agent here, and what does its ``canary`` say? ``canary`` False: only whether it is here."""
    for address in addresses(config, environment):
        try:
            # An unknown command is refused at once: enough to know that somebody is there.
            reply = ask(address, {"command": "canary" if canary else "doctor"}, ANSWER_S)
        except NotServedError:
            continue
        except MachineError as error:
            return Agent(running=True, silent=f"does not tell: {error}")
        return Agent(running=True, reply=reply if canary else None)
    return Agent(running=False)
