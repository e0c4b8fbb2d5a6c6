"""Commands and their replies: every command is validated like agent.yaml, and every one is answered.

What a command does is the service's affair (``Controls``). Nothing here outlives a restart: what
``set`` changes, agent.yaml says again at the next start. ``lend`` and ``take_back`` are for programs
on this machine only, because whoever borrows the device must be seen to be alive; so are ``state`` and
``publish``, for a second connection to the broker would end the agent's own.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypeAlias

from agent.errors import InputError, LitewatchError
from agent.plain_text import plain_text
from agent.sections import MonitorConfig, WindowConfig
from agent.structure import StructureProblemsError, structure
from agent.telemetry.messages import Check, Command, Reply
from agent.telemetry.reply_address import transaction_problem

MOST_PROBLEMS = 20
LONGEST_PROBLEM = 500
ROOT = "arguments"
PUBLISH = "publish"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class MonitorChanges:
    """What ``set`` changes until the next start; None: as it is."""

    sample_every: int | None = None
    window_samples: int | None = None
    window_interval_s: float | None = None

    def of(self, now: MonitorConfig) -> MonitorConfig:
        """``now`` with these changes."""
        window = WindowConfig(
            samples=now.window.samples if self.window_samples is None else self.window_samples,
            interval_s=now.window.interval_s if self.window_interval_s is None else self.window_interval_s,
        )
        every = now.sample_every if self.sample_every is None else self.sample_every
        return replace(now, sample_every=every, window=window)


class Controls(Protocol):
    """What can be asked of a running agent. Called in its main loop; any may raise LitewatchError,
    whose problems become the reply's."""

    def rebirth(self) -> None:
        """Say ``state`` and ``about`` again."""
        ...

    def pause(self) -> None:
        """Take no frames until ``resume``."""
        ...

    def resume(self) -> None: ...

    def check(self) -> str:
        """Start the ladder beside the agent; the transaction that its message ``check`` will carry."""
        ...

    def sample(self) -> str:
        """Publish one frame now; its frame id."""
        ...

    def set(self, changes: MonitorChanges) -> None: ...

    def canary(self) -> dict[str, Any]:
        """Run every golden tensor on the live runner now; how they came out."""
        ...

    def commission(self) -> None:
        """Begin the device's own baseline anew."""
        ...

    def lend(self) -> None:
        """Release the hardware delegate for another process; the CPU takes over."""
        ...

    def take_back(self) -> None:
        """The other process is done, or gone. Without effect when nothing is lent."""
        ...

    def state(self) -> dict[str, Any]:
        """``device``, ``site``, ``state``, ``problems`` and whether the broker is ``connected``."""
        ...

    def publish(self, check: Check) -> None:
        """Send the result of a check that ran beside the agent: one device, one connection."""
        ...


_Action: TypeAlias = Callable[[], dict[str, Any] | None]


class Control:
    """Answers commands. ``canary``, ``lend`` and ``take_back`` may take seconds."""

    def __init__(self, controls: Controls) -> None:
        self._controls = controls
        self._remote: dict[str, _Action] = {
            "rebirth": controls.rebirth,
            "pause": controls.pause,
            "resume": controls.resume,
            "check": lambda: {"check": controls.check()},
            "sample": lambda: {"frame": controls.sample()},
            "canary": controls.canary,
            "commission": controls.commission,
        }
        self._local = self._remote | {
            "lend": controls.lend,
            "take_back": controls.take_back,
            "state": controls.state,
        }

    def answer(self, command: Command, *, local: bool = False) -> Reply:
        """Do what ``command`` says and tell how it went; never raises.

        ``local``: it comes from a program on this machine, see ``device.control_socket``.
        """
        bad = transaction_problem(command.transaction)
        if bad:
            return _refused(None, bad)
        try:
            result = self._do(command, self._local if local else self._remote)
        except InputError as error:
            return _refused(command.transaction, *error.problems)
        except LitewatchError as error:
            return _refused(command.transaction, str(error))
        except Exception as error:  # a defect of ours must not end the agent
            _log.exception("the command %s failed", plain_text(command.command, longest=40))
            return _refused(command.transaction, f"{command.command}: failed, see the log: {error!r}")
        _log.info("did the command %s", command.command)
        return Reply(transaction=command.transaction, ok=True, result=result)

    def _do(self, command: Command, known: Mapping[str, _Action]) -> dict[str, Any]:
        name, arguments = command.command, command.arguments
        if name == "set":
            self._controls.set(parse_changes(arguments))
            return dict(arguments)
        if name == PUBLISH and known is self._local:
            self._controls.publish(_check(arguments))
            return {}
        if name not in known:
            shown = plain_text(name, longest=40)
            raise InputError(
                f"command: unknown command {shown!r} (known: {', '.join(sorted({*known, 'set'}))})"
            )
        if arguments:
            raise InputError(*(f"{ROOT}.{key}: unknown key ({name} takes no arguments)" for key in arguments))
        return known[name]() or {}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Published:
    check: Check


def _check(arguments: Mapping[str, Any]) -> Check:
    try:
        return structure(arguments, _Published, root=ROOT).check
    except StructureProblemsError as error:
        raise InputError(*error.problems) from None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Window:
    samples: int | None = None
    interval_s: float | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class _SetArguments:
    sample_every: int | None = None
    window: _Window = _Window()


def parse_changes(arguments: Mapping[str, Any]) -> MonitorChanges:
    """The arguments of ``set``, which are the keys of section ``monitor``. Raises InputError with every
    problem by its dotted path."""
    try:
        given = structure(arguments, _SetArguments, root=ROOT)
    except StructureProblemsError as error:
        raise InputError(*error.problems) from None
    changes = MonitorChanges(
        sample_every=given.sample_every,
        window_samples=given.window.samples,
        window_interval_s=given.window.interval_s,
    )
    if changes == MonitorChanges():
        raise InputError(f"{ROOT}: name at least one of sample_every, window.samples, window.interval_s")
    problems = changes.of(MonitorConfig()).problems()
    if problems:
        raise InputError(*(f"{ROOT}.{problem}" for problem in problems))
    return changes


def _refused(transaction: str | None, *problems: str) -> Reply:
    said = tuple(plain_text(problem, longest=LONGEST_PROBLEM) for problem in problems[:MOST_PROBLEMS])
    return Reply(transaction=transaction, ok=False, problems=said)
