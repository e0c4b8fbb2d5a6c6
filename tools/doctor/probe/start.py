"""Puts together what the agent would run, on this CPU and with a state directory that is thrown away."""

import hashlib
import tempfile
from dataclasses import replace
from pathlib import Path

from agent.config import AgentConfig
from agent.errors import BundleError, InputError, MachineError
from agent.rehearsal import check_outbox, check_twin
from agent.runtime.cpu import Cpu
from agent.startup import Origin, assemble, check_about
from tools.doctor.tree.start import StartFacts


def look(config: AgentConfig, text: str, *, path: Path, state: Path) -> StartFacts:
    """``text`` is agent.yaml's, ``path`` where it stands, ``state`` the agent's directory: only read."""
    facts = StartFacts(config=str(path), bundle=config.model.options.bundle)
    try:
        with tempfile.TemporaryDirectory(prefix="litewatch-doctor-") as folder:
            _rehearse(config, text, Path(folder))
        _look_at_outbox(Path(config.outbox.path or state / "outbox.db"))
    except BundleError as error:
        return replace(facts, bundle_problems=error.problems)
    except InputError as error:
        return replace(facts, config_problems=error.problems)
    except MachineError as error:
        return replace(facts, machine_problem=str(error))
    return facts


def _rehearse(config: AgentConfig, text: str, state: Path) -> None:
    """On the CPU alone: a hardware delegate may be serving. Raises what a start would."""
    model = config.model
    kernels = model.delegate if isinstance(model.delegate, Cpu) else Cpu()
    assembly = assemble(replace(config, model=replace(model, delegate=kernels)), state=state)
    assembly.runner.close()
    sha256 = hashlib.sha256(text.encode()).hexdigest()
    check_about(assembly, config, Origin(text=text, sha256=sha256))
    if assembly.bundle.edgetpu is not None:  # where it is missing the bundle's examination says so
        check_twin(config, assembly.bundle, state)


def _look_at_outbox(path: Path) -> None:
    try:
        check_outbox(path)
    except OSError:  # this user may not look: the examination of the disk says so
        return
