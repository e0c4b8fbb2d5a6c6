"""From agent.yaml to a running service: the first start, the last good config, and reloading.

A service (one that systemd gives a state directory) keeps the config and bundle it last ran well
with. When newer ones cannot be used, answer wrongly or kill the process it goes on with those, degraded,
and says why; a command typed by a person ends with an exit code instead. A reload tries the new config
in another process first, then ends this session in order and becomes a new process image of the same
process id: nothing of the old one is left.
"""

import contextlib
import hashlib
import logging
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from agent import config as configs
from agent.bundle import load
from agent.checking import Rehearsal
from agent.config import AgentConfig
from agent.credentials import with_credentials
from agent.device.clock import boot_id, clock_synced
from agent.device.control_socket import socket_path
from agent.device.sdnotify import Notifier
from agent.errors import BundleError, ConfigError, InputError, LitewatchError, MachineError
from agent.last_good import Attempts, Kept, LastGood, stamp
from agent.later import Later
from agent.pipeline import Outcome
from agent.problems import plain_line
from agent.runtime import KINDS as DELEGATES
from agent.runtime.cpu import Cpu
from agent.service import Service
from agent.signals import Signals
from agent.sources import KINDS as SOURCES
from agent.startup import Assembly, Origin, Session, assemble, check_about, state_dir, state_problem
from agent.telemetry.clock import Clock
from agent.telemetry.session_file import remembered_session
from agent.uplink import open_telemetry

if TYPE_CHECKING:
    from agent.telemetry.telemetry import Telemetry

LAST_GOOD, TRYING = "last-good", "trying"
MOST_ATTEMPTS = 2
"""Starts of a config not yet known to be good that may end unexpectedly; then the last good one runs."""
ON_TRIAL = "LITEWATCH_ON_TRIAL"
"""In the environment of a release that is being tried: whoever tries it has an older one to go back to."""
STOP_WITHIN_S = 5.0
PROBLEMS_SAID = 50
"""Of a bad bundle or config; a hostile one can have thousands."""

_log = logging.getLogger(__name__)


class _NeverRanWellError(ConfigError):
    """The process did not survive this config."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Launch:
    """What the command line and the environment say. ``read`` gives agent.yaml's text or raises
    ConfigError; ``name`` is what messages call the file."""

    read: Callable[[], str]
    name: str
    file: Path
    environment: Mapping[str, str]
    command: tuple[str, ...]
    """``litewatch`` as a process of its own."""
    folder: Path | None = None
    """Where this process was started, before it went to agent.yaml's own folder."""
    signals: Signals = field(default_factory=Signals)
    frames: int | None = None
    on_outcome: Callable[[Outcome], None] | None = None

    @property
    def last_good(self) -> LastGood | None:
        """Only a service has one: a person who typed a bad config wants to read so."""
        folder = self.environment.get("STATE_DIRECTORY")
        return LastGood(Path(folder) / LAST_GOOD) if folder else None

    @property
    def attempts(self) -> Attempts | None:
        folder = self.environment.get("STATE_DIRECTORY")
        return Attempts(Path(folder) / TRYING) if folder else None

    @property
    def kept(self) -> Kept | None:
        return self.last_good.read() if self.last_good else None

    @property
    def notifier(self) -> Notifier:
        return Notifier(address=self.environment.get("NOTIFY_SOCKET"))

    @property
    def rehearsal(self) -> Rehearsal:
        command = (*self.command, "run", "-c", str(self.file), "--rehearse")
        return Rehearsal(command, folder=self.folder)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Plan:
    """A config that is to run, and the files it came from."""

    text: str
    config: AgentConfig
    stamp: str
    check_command: tuple[str, ...]
    refused: tuple[str, ...] = ()
    kept: bool = False
    """It is the last good one, copied where it stays, and nothing is kept of it."""
    judged: bool = False
    """There is a last good one to go to when this one answers wrongly."""

    @property
    def origin(self) -> Origin:
        sha256 = hashlib.sha256(self.text.encode()).hexdigest()
        return Origin(text=None if self.kept else self.text, sha256=sha256, refused=self.refused)


def start(launch: Launch) -> int:
    """Run the agent; the exit code.

    Raises InputError for a bad bundle or config where there was never a good one, and MachineError
    when this machine cannot run it; what could be published about that has been.
    """
    launch.signals.install()
    launch.notifier.progress()
    service = _service(launch)
    if launch.signals.stop_asked:
        service.stop()
    end = service.run()
    _over(launch)
    if end == "reload":
        _begin_anew(launch)
    return 0


def problems_of(launch: Launch) -> tuple[str, ...]:
    """What is wrong with agent.yaml and its bundle as they are now; nothing when they can be run."""
    try:
        plan = _newest(launch)
        kept = launch.kept
        _rehearse(launch, replace(plan, judged=kept is not None and kept.stamp != plan.stamp))
    except LitewatchError as error:
        return _said(error)
    return ()


def parse(text: str, name: str) -> AgentConfig:
    """Raises ConfigError."""
    return configs.parse(text, sources=SOURCES, delegates=DELEGATES, where=name)


def _service(launch: Launch) -> Service:
    """On agent.yaml as it is now; else, in a service, on the last good one, whatever is wrong: also what
    only this machine lacks, where agent.yaml or its bundle is not the one that ran here."""
    kept = launch.kept
    differs = True
    # Whoever asked before this has agent.yaml read right here.
    launch.signals.hangup_asked = False
    try:
        plan = _newest(launch)
        differs = kept is not None and kept.stamp != plan.stamp
        if differs:
            _count_attempt(launch, plan)
        return _put_together(launch, replace(plan, judged=differs))
    except LitewatchError as error:
        if not isinstance(error, _NeverRanWellError):
            _over(launch)
        if kept is None or not (differs or isinstance(error, InputError)):
            raise
        return _on_last_good(launch, kept, error)


def _newest(launch: Launch) -> _Plan:
    text = launch.read()
    config = parse(text, launch.name)
    options = config.model.options
    files = [Path(options.bundle)]
    if options.preprocess_override is not None:
        files.append(Path(options.preprocess_override.path))
    return _Plan(
        text=text,
        config=with_credentials(config, launch.environment),
        stamp=stamp(text, *files),
        check_command=(*launch.command, "check", "-c", str(launch.file), "--publish", "--json"),
    )


def _count_attempt(launch: Launch, plan: _Plan) -> None:
    before = launch.attempts.begin(plan.stamp) if launch.attempts else 0
    if before >= MOST_ATTEMPTS:
        raise _NeverRanWellError(
            f"{launch.name}: the agent ended unexpectedly {before} times in a row before it had run well "
            "with this config and bundle"
        )


def _over(launch: Launch) -> None:
    if launch.attempts is not None:
        launch.attempts.over()


def _on_last_good(launch: Launch, kept: Kept, error: LitewatchError) -> Service:
    """A service on the last good config and bundle; raises ``error`` where those do not run either."""
    problems = tuple(plain_line(problem) for problem in _said(error))
    for problem in problems:
        _log.error("%s", problem)
    _log.warning("going on with the last good config and bundle")
    try:
        return _put_together(launch, replace(_restored(launch, kept), refused=problems))
    except LitewatchError as other:
        _log.error("and the last good one cannot be used either: %s", plain_line(str(other)))
        raise error from None


def _restored(launch: Launch, kept: Kept) -> _Plan:
    config = parse(kept.text, f"{launch.name} (last good)")
    options = replace(config.model.options, bundle=str(kept.bundle))
    check_command = [*launch.command, "check", str(kept.bundle), "-c", str(kept.config)]
    if options.preprocess_override is not None:
        if kept.override is None:
            raise ConfigError("model.preprocess_override: was not kept")
        override = replace(options.preprocess_override, path=str(kept.override))
        options = replace(options, preprocess_override=override)
        check_command += ["--deployed", str(kept.override)]
    config = replace(config, model=replace(config.model, options=options))
    return _Plan(
        text=kept.text,
        config=with_credentials(config, launch.environment),
        stamp=kept.stamp,
        check_command=(*check_command, "--publish", "--json"),
        kept=True,
    )


def _said(error: LitewatchError) -> tuple[str, ...]:
    problems = error.problems if isinstance(error, InputError) else tuple(str(error).splitlines())
    return problems[:PROBLEMS_SAID]


def _put_together(launch: Launch, plan: _Plan) -> Service:
    """A service that is ready to run; without one, why not is published where telemetry works."""
    config, notifier = plan.config, launch.notifier
    session = _session(launch, plan)
    # Telemetry is put together on a second thread while the model loads: half of the latter is C.
    opened = Later(lambda: open_telemetry(config, session))
    try:
        assembly = _assembled(launch, plan, session.state)
    except LitewatchError as error:
        _say_why_not(opened, error)
        raise
    notifier.progress()
    try:
        telemetry = opened.result()
    except BaseException:
        assembly.runner.close()
        raise
    notifier.progress()
    return Service(config, assembly, telemetry, session)


def _session(launch: Launch, plan: _Plan) -> Session:
    state = state_dir(plan.config, launch.environment)
    problem = state_problem(state)
    return Session(
        id=remembered_session(state / "session"),
        state=state,
        notifier=launch.notifier,
        clock=Clock(wall=time.time, monotonic=time.monotonic, boot_id=boot_id(), synced=clock_synced),
        frames=launch.frames,
        on_outcome=launch.on_outcome,
        origin=plan.origin,
        problems=(("state", problem),) if problem else (),
        signals=launch.signals,
        keep=_keeper(launch, plan),
        rehearsal=launch.rehearsal,
        socket=socket_path(state, launch.environment),
        check_command=plan.check_command,
    )


def _assembled(launch: Launch, plan: _Plan, state: Path) -> Assembly:
    assembly = assemble(plan.config, state=state)
    try:
        check_about(assembly, plan.config, plan.origin)
        _check_answer(launch, plan, assembly)
    except BaseException:
        assembly.runner.close()
        raise
    return assembly


def _check_answer(launch: Launch, plan: _Plan, assembly: Assembly) -> None:
    """A model that answers wrongly still serves where there is nothing better: degraded, and it says so."""
    if assembly.wrong and plan.judged:
        raise BundleError(assembly.wrong)
    if assembly.wrong and launch.environment.get(ON_TRIAL):
        raise MachineError(f"this release is on trial, and fails: {assembly.wrong}")


def _keeper(launch: Launch, plan: _Plan) -> Callable[[Assembly], None] | None:
    """Keeps config and bundle once they run well."""
    folder = launch.last_good
    if folder is None or plan.kept:
        return None
    options = plan.config.model.options

    def keep(assembly: Assembly) -> None:
        _over(launch)

        def runs(file: Path) -> bool:
            try:
                found = load(file, options.trusted_keys, most_golden=0)
            except BundleError:
                return False
            return found.manifest_sha256 == assembly.bundle.manifest_sha256

        written = folder.keep(
            plan.text,
            bundle=Path(options.bundle),
            override=assembly.override,
            stamp=plan.stamp,
            verify=runs,
        )
        if written:
            _log.info("kept this config and bundle as the last good ones")

    return keep


def _say_why_not(opened: "Later[Telemetry]", error: LitewatchError) -> None:
    """Publish why this session cannot run, where telemetry itself can."""
    try:
        telemetry = opened.result()
        telemetry.set_state("degraded", tuple(plain_line(problem) for problem in _said(error)))
        telemetry.stop(STOP_WITHIN_S)
    except LitewatchError as other:
        _log.error("and that could not be published: %s", other)


def _rehearse(launch: Launch, plan: _Plan) -> None:
    """Assemble on the CPU alone, and look at what else it would meet. A hardware delegate may be serving the
    present config and is left in peace. Raises what a start would."""
    # Imported here: an agent that starts does not need it.
    from agent.rehearsal import check_outbox, check_twin

    config, state = plan.config, state_dir(plan.config, launch.environment)
    kernels = config.model.delegate if isinstance(config.model.delegate, Cpu) else Cpu()
    assembly = _assembled(
        launch, replace(plan, config=replace(config, model=replace(config.model, delegate=kernels))), state
    )
    assembly.runner.close()
    check_twin(config, assembly.bundle, state)
    check_outbox(Path(config.outbox.path or state / "outbox.db"))


def _begin_anew(launch: Launch) -> None:
    """Become the same command once more, under the same process id; returns only when asked to stop."""
    logging.shutdown()
    sys.stdout.flush()
    launch.notifier.progress()
    if launch.folder is not None:
        # Relative paths of the command line mean what they meant.
        with contextlib.suppress(OSError):
            os.chdir(launch.folder)
    launch.signals.hold()
    if not launch.signals.stop_asked:
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
