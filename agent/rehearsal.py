"""What a config would meet that assembling it on the CPU does not show, found without touching the device or
the outbox that are in use.
"""

import contextlib
import sqlite3
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from agent.bundle import Bundle
from agent.config import AgentConfig
from agent.errors import BundleError, ConfigError
from agent.runtime.choice import Runtime, choose
from agent.runtime.flatbuffer import check
from agent.runtime.opening import model_for
from agent.telemetry.outbox_database import APPLICATION_ID

LOCKED_S = 0.5


def check_twin(config: AgentConfig, bundle: Bundle, state: Path) -> None:
    """Raises BundleError where the delegate's model is missing or takes or gives other tensors."""
    model = model_for(config.model.delegate, cpu=bundle.flatbuffer, edgetpu=bundle.edgetpu)
    if model is bundle.flatbuffer:
        return
    check(model)
    runtime = choose(config.model.options.runtime, cache=state / "runtime.json")
    if _tensors(model, runtime) != _tensors(bundle.flatbuffer, runtime):
        raise BundleError(f"{bundle.name}: its model for the Edge TPU takes or gives other tensors")


def check_outbox(path: Path) -> None:
    """Raises ConfigError for another program's database. That it is locked is no fault: this agent runs;
    what is damaged is put aside when the outbox is opened, not here."""
    if not path.exists():
        return
    try:
        with contextlib.closing(
            sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=LOCKED_S)
        ) as database:
            application = database.execute("PRAGMA application_id").fetchone()[0]
            tables = database.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    except sqlite3.Error:
        return
    if application != APPLICATION_ID and (application or tables):
        raise ConfigError(f"outbox.path: {path} is a database of another program; name another file")


def _tensors(model: bytes, runtime: Runtime) -> list[str]:
    """What the tensors' numbers mean, of a model that is not run; two converters may round differently."""
    try:
        interpreter = import_module(runtime.module).Interpreter(model_content=model)
        slots: list[dict[str, Any]] = [*interpreter.get_input_details(), *interpreter.get_output_details()]
    except (ValueError, RuntimeError, MemoryError) as error:
        raise BundleError(f"model: cannot be loaded: {error}") from None
    return [
        f"{np.dtype(slot['dtype'])} {slot['shape'].tolist()} {slot['quantization'][0]:.5g} "
        f"{slot['quantization'][1]}"
        for slot in slots
    ]
