"""Every subject in turn: look, then decide. One that fails does not keep the next from being examined."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from agent import config as configs
from agent.credentials import with_credentials
from agent.device.throttling import read_throttling
from agent.errors import InputError
from agent.runtime import KINDS as DELEGATES
from agent.sources import KINDS as SOURCES
from agent.telemetry.options import OutboxOptions
from tools.doctor.finding import Finding

if TYPE_CHECKING:
    from agent.bundle import Bundle
    from agent.config import AgentConfig
    from agent.runtime.choice import Runtime
    from tools.doctor.probe.service import Agent

SERVICE_CONFIG, SERVICE_STATE = Path("/etc/litewatch/agent.yaml"), Path("/var/lib/litewatch")


@dataclass(frozen=True, kw_only=True, slots=True)
class Patient:
    """What is examined. ``text`` is agent.yaml (None: there is none) and ``path`` where it stands;
    relative paths in it start at the working directory."""

    text: str | None
    path: Path
    environment: Mapping[str, str]
    root: Path = Path("/")


def examine(patient: Patient) -> list[Finding]:
    """Everything found, in the order in which one thing needs the other."""
    return _Examination(patient).findings()


class _Examination:
    def __init__(self, patient: Patient) -> None:
        self._patient = patient
        self._config: AgentConfig | None = None
        self._runtime: Runtime | None = None
        self._bundle: Bundle | None = None
        self._agent: Agent | None = None
        self._bundle_runs = False

    def findings(self) -> list[Finding]:
        subjects: tuple[tuple[str, Callable[[], list[Finding]]], ...] = (
            ("config", self._examine_config),
            ("runtime", self._examine_runtime),
            ("power", self._examine_power),
            ("clock", self._examine_clock),
            ("disk", self._examine_disk),
            ("bundle", self._examine_bundle),
            ("config", self._rehearse),
            ("agent", self._ask_agent),
            ("tpu", self._examine_delegate),
            ("source", self._examine_source),
            ("broker", self._examine_broker),
        )
        found: list[Finding] = []
        for subject, looks in subjects:
            try:
                found += looks()
            except Exception as error:  # what one examination breaks on must not hide the others
                cause = f"the examination itself failed: {error!r}"
                found.append(Finding(subject=subject, verdict="not checked", cause=cause))
        return found

    def _examine_config(self) -> list[Finding]:
        text, name = self._patient.text, self._patient.path.name
        if text is None:
            cause = "no agent.yaml: name it with -c, and source, broker and bundle are examined too"
            return [Finding(subject="config", verdict="not checked", cause=cause)]
        try:
            config = configs.parse(text, sources=SOURCES, delegates=DELEGATES, where=name)
        except InputError as error:
            command = (f"litewatch config {self._patient.path}",)
            return [
                Finding(subject="config", verdict="wrong", cause=problem, commands=command)
                for problem in error.problems
            ]
        self._config = with_credentials(config, self._patient.environment)
        device = config.device
        return [Finding(subject="config", verdict="ok", cause=f"device {device.id} at {device.site}")]

    def _examine_runtime(self) -> list[Finding]:
        from tools.doctor.probe import runtime as probe
        from tools.doctor.tree import runtime as tree

        facts, self._runtime = probe.look(self._config.model.options.runtime if self._config else "auto")
        return tree.examine(facts)

    def _examine_power(self) -> list[Finding]:
        from tools.doctor.tree import power as tree

        return tree.examine(read_throttling(self._patient.root))

    def _examine_clock(self) -> list[Finding]:
        from tools.doctor.probe import clock as probe
        from tools.doctor.tree import clock as tree

        mqtt = self._config.mqtt if self._config else None
        return tree.examine(probe.look([self._patient.path], tls=mqtt is not None and mqtt.tls is not None))

    def _examine_disk(self) -> list[Finding]:
        from tools.doctor.probe import disk as probe
        from tools.doctor.tree import disk as tree

        if self._config is None:
            return []
        return tree.examine(probe.look(self._state(self._config), self._config.outbox or OutboxOptions()))

    def _state(self, config: "AgentConfig") -> Path:
        """Where the agent of this config keeps its state; nothing is made."""
        environment = self._patient.environment
        named = config.device.state_dir or environment.get("STATE_DIRECTORY")
        if named:
            return Path(named)
        if self._patient.path.resolve() == SERVICE_CONFIG:
            return SERVICE_STATE
        home = environment.get("XDG_STATE_HOME") or "~/.local/state"
        return Path(home).expanduser() / "litewatch" / config.device.id

    def _examine_bundle(self) -> list[Finding]:
        if self._config is None:
            return []
        from tools.doctor.probe import bundle as probe
        from tools.doctor.tree import bundle as tree

        model = self._config.model
        facts, self._bundle = probe.look(
            model.options.bundle,
            trusted_keys=model.options.trusted_keys,
            runtime=self._runtime,
            needs_edgetpu=model.delegate.twin == "edgetpu",
        )
        self._bundle_runs = not facts.problems
        return tree.examine(facts)

    def _rehearse(self) -> list[Finding]:
        """Put together on the CPU as the agent would; only what went well so far can be."""
        if self._config is None or self._runtime is None or not self._bundle_runs:
            return []
        from tools.doctor.probe import start as probe
        from tools.doctor.tree import start as tree

        facts = probe.look(
            self._config, self._patient.text or "", path=self._patient.path, state=self._state(self._config)
        )
        return tree.examine(facts)

    def _ask_agent(self) -> list[Finding]:
        if self._config is None:
            return []
        from tools.doctor.probe import service as probe
        from tools.doctor.tree import service as tree

        model = self._config.model
        self._agent = probe.look(self._config, self._patient.environment, canary=model.delegate.hardware)
        return tree.examine(
            tree.AgentFacts(
                running=self._agent.running,
                said=self._agent.said,
                silent=self._agent.silent if self._agent.said is None else "",
                config=str(self._patient.path),
                bundle=model.options.bundle,
                other=self._agent.other,
                accelerator="tpu" if model.delegate.name == "edgetpu" else "delegate",
            )
        )

    def _examine_delegate(self) -> list[Finding]:
        from tools.doctor.probe import delegate as probe
        from tools.doctor.probe.service import Agent
        from tools.doctor.tree import delegate as external
        from tools.doctor.tree import tpu as tree

        agent = self._agent or Agent(running=False)
        delegate = self._config.model.delegate if self._config else None
        model = None
        if delegate is not None and self._bundle is not None:
            model = self._bundle.edgetpu if delegate.twin == "edgetpu" else self._bundle.flatbuffer
        found = tree.examine(
            probe.look(
                delegate,
                runtime=self._runtime,
                model=model,
                agent=agent,
                throttling=read_throttling(self._patient.root),
                root=self._patient.root,
            )
        )
        if delegate is not None and delegate.hardware and delegate.name != "edgetpu":
            tried, untried = probe.try_out(delegate, runtime=self._runtime, model=model, agent=agent)
            found += external.examine(delegate.name, delegate.library, tried, untried)
        return found

    def _examine_source(self) -> list[Finding]:
        if self._config is None:
            return []
        from tools.doctor.probe import source as probe
        from tools.doctor.tree import camera as tree

        source = self._config.source
        place = f"{type(source).__module__}:{type(source).__qualname__}"
        kind = next(name for name, registered in SOURCES.items() if registered == place)
        running = self._agent is not None and self._agent.running
        return tree.examine(probe.look(kind, source, agent_running=running, root=self._patient.root))

    def _examine_broker(self) -> list[Finding]:
        if self._config is None or self._config.mqtt is None:
            return []
        from agent.device.clock import clock_synced
        from tools.doctor.probe import broker as probe
        from tools.doctor.tree import broker as tree

        agent = self._agent if self._agent is not None and not self._agent.other else None
        facts = probe.look(
            self._config.mqtt,
            self._config.device,
            clock_synced=clock_synced(),
            agent_running=agent is not None and agent.running,
            agent_connected=agent.said.connected if agent is not None and agent.said is not None else None,
        )
        return tree.examine(facts)


def patient_here(config: Path | None, read_text: Callable[[Path], str]) -> Patient:
    """This machine with ``config``, or with the installed service's where none is named."""
    path = config or SERVICE_CONFIG
    text = read_text(path) if config is not None or os.access(path, os.R_OK) else None
    return Patient(text=text, path=path, environment=os.environ)
