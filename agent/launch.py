"""From agent.yaml to a running service: the first start, the last good config, and reloading.

A service (one that systemd gives a state directory) keeps the config and bundle it last ran well
with. When a newer one cannot be used it goes on with those, degraded, and says why; a command typed
by a person ends with exit code 2 instead. A reload checks the new config first, then ends this session
in order and becomes a new process image of the same process id: nothing of the old one is left.
"""

import hashlib
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from agent import config as configs
from agent.config import AgentConfig
from agent.credentials import with_credentials
from agent.device.clock import boot_id, clock_synced
from agent.device.control_socket import socket_path
from agent.device.sdnotify import Notifier
from agent.errors import ConfigError, InputError, LitewatchError
from agent.last_good import Kept, LastGood
from agent.later import Later
from agent.pipeline import Outcome
from agent.problems import plain_line
from agent.runtime import KINDS as DELEGATES
from agent.service import Service
from agent.sources import KINDS as SOURCES
from agent.startup import Origin, Session, assemble, rehearse, state_dir
from agent.telemetry.clock import Clock
from agent.telemetry.session_file import remembered_session
from agent.uplink import open_telemetry

if TYPE_CHECKING:
    from agent.telemetry.telemetry import Telemetry

LAST_GOOD = "last-good"
STOP_WITHIN_S = 5.0
PROBLEMS_SAID = 50
"""Of a bad bundle or config; a hostile one can have thousands."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Launch:
    """What the command line and the environment say. ``read`` gives agent.yaml's text or raises
    ConfigError; ``name`` is what messages call the file."""

    read: Callable[[], str]
    name: str
    environment: Mapping[str, str]
    check_command: tuple[str, ...] = ()
    """Climbs the ladder with this agent.yaml and publishes the result."""
    frames: int | None = None
    on_outcome: Callable[[Outcome], None] | None = None

    @property
    def last_good(self) -> LastGood | None:
        """Only a service has one: a person who typed a bad config wants to read so."""
        folder = self.environment.get("STATE_DIRECTORY")
        return LastGood(Path(folder) / LAST_GOOD) if folder else None


def start(launch: Launch) -> int:
    """Run the agent; the exit code.

    Raises InputError for a bad bundle or config where there was never a good one, and MachineError
    when this machine cannot run it; what could be published about that has been.
    """
    try:
        text = launch.read()
        config = parse(text, launch.name)
        service = _put_together(launch, config, Origin(text=text, sha256=_sha256(text)))
    except InputError as error:
        service = _last_good_service(launch, error)
    if service.run() == "reload":
        _begin_anew()
    return 0


def parse(text: str, name: str) -> AgentConfig:
    """Raises ConfigError."""
    return configs.parse(text, sources=SOURCES, delegates=DELEGATES, where=name)


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _last_good_service(launch: Launch, error: InputError) -> Service:
    """A service on the last good config and bundle; raises ``error`` where there is none."""
    kept = launch.last_good.read() if launch.last_good else None
    if kept is None:
        raise error
    for problem in error.problems:
        _log.error("%s", plain_line(problem))
    _log.warning("going on with the last good config and bundle")
    try:
        config = _restored(kept, launch.name)
        origin = Origin(
            text=None,
            sha256=_sha256(kept.text),
            refused=tuple(plain_line(problem) for problem in error.problems[:PROBLEMS_SAID]),
        )
        return _put_together(launch, config, origin)
    except InputError as other:
        _log.error("and the last good one cannot be used either: %s", plain_line(str(other)))
        raise error from None


def _restored(kept: Kept, name: str) -> AgentConfig:
    config = parse(kept.text, f"{name} (last good)")
    options = replace(config.model.options, bundle=str(kept.bundle))
    if options.preprocess_override is not None:
        if kept.override is None:
            raise ConfigError("model.preprocess_override: was not kept")
        override = replace(options.preprocess_override, path=str(kept.override))
        options = replace(options, preprocess_override=override)
    return replace(config, model=replace(config.model, options=options))


def _put_together(launch: Launch, config: AgentConfig, origin: Origin) -> Service:
    """A service that is ready to run; without one, why not is published where telemetry works."""
    config = with_credentials(config, launch.environment)
    state = state_dir(config, launch.environment)
    session = Session(
        id=remembered_session(state / "session"),
        state=state,
        notifier=Notifier(address=launch.environment.get("NOTIFY_SOCKET")),
        clock=Clock(wall=time.time, monotonic=time.monotonic, boot_id=boot_id(), synced=clock_synced),
        frames=launch.frames,
        on_outcome=launch.on_outcome,
        origin=origin,
        keep=_keeper(launch, config, origin),
        rehearse=lambda: _rehearse(launch),
        socket=socket_path(state, launch.environment),
        check_command=launch.check_command,
    )
    # Telemetry is put together on a second thread while the model loads: half of the latter is C.
    opened = Later(lambda: open_telemetry(config, session))
    try:
        assembly = assemble(config, state=state)
    except LitewatchError as error:
        _say_why_not(opened, error)
        raise
    return Service(config, assembly, opened.result(), session)


def _keeper(launch: Launch, config: AgentConfig, origin: Origin) -> Callable[[str], None] | None:
    """Keeps config and bundle once they run well; given the manifest's hash."""
    folder, text = launch.last_good, origin.text
    if folder is None or text is None:
        return None
    options = config.model.options
    override = options.preprocess_override

    def keep(manifest_sha256: str) -> None:
        written = folder.keep(
            text,
            bundle=Path(options.bundle),
            manifest_sha256=manifest_sha256,
            override=Path(override.path) if override else None,
        )
        if written:
            _log.info("kept this config and bundle as the last good ones")

    return keep


def _rehearse(launch: Launch) -> tuple[str, ...]:
    """What is wrong with agent.yaml and its bundle as they are now; nothing when they can be run."""
    try:
        config = parse(launch.read(), launch.name)
        rehearse(config, state=state_dir(config, launch.environment))
    except InputError as error:
        return error.problems
    except LitewatchError as error:
        return (str(error),)
    return ()


def _say_why_not(opened: "Later[Telemetry]", error: LitewatchError) -> None:
    """Publish why this session cannot run, where telemetry itself can."""
    problems = error.problems if isinstance(error, InputError) else (str(error),)
    try:
        telemetry = opened.result()
        telemetry.set_state("degraded", tuple(plain_line(problem) for problem in problems[:PROBLEMS_SAID]))
        telemetry.stop(STOP_WITHIN_S)
    except LitewatchError as other:
        _log.error("and that could not be published: %s", other)


def _begin_anew() -> NoReturn:
    """Become the same command once more, under the same process id."""
    # A second SIGHUP must not end the process before it listens again; what is ignored stays so.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    logging.shutdown()
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
