"""The layer view of a bundle's model beside its float twin, on inputs its own spec prepares."""

from collections.abc import Callable, Sequence
from pathlib import Path

from agent import bundle as bundles
from agent.bundle import Bundle
from agent.contracts import Payload, Runner
from agent.preprocess.compiled import compile_spec
from agent.runtime.choice import Runtime
from calibration import layers
from calibration.check_result import LayerView

INPUTS = 16
"""As many are looked at; more change no number that matters."""


def twin_layers(
    bundle: Bundle,
    float_model: Path,
    payloads: Sequence[Payload],
    *,
    production: Runner,
    runtime: Runtime,
    threads: int,
    progress: Callable[[int, int], None] | None = None,
) -> LayerView:
    """``production`` runs the model in use. Raises InputError where the two files are no twins, FrameError
    where an input cannot be prepared."""
    flatbuffer, _ = bundles.split(bundles.read_file(float_model), name=float_model.name)
    seen, tensor = payloads[:INPUTS], production.input
    compiled = compile_spec(bundle.spec, tensor)
    return layers.view(
        bundle.flatbuffer,
        flatbuffer,
        [compiled(payload).tensor for payload in seen],
        runtime=runtime,
        real=layers.real_inputs(bundle.spec, tensor, seen),
        production=production,
        threads=threads,
        progress=progress,
    )
