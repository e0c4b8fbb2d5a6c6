"""The layer view of a bundle's model beside its float twin, on inputs its own spec prepares."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from agent import bundle as bundles
from agent.bundle import Bundle
from agent.contracts import Payload, Runner
from agent.preprocess.compiled import compile_spec
from agent.runtime.choice import Runtime
from calibration import layers
from calibration.check_result import LayerView
from calibration.layer.live import INPUTS, live_findings


def twin_layers(
    bundle: Bundle,
    float_model: Path,
    payloads: Sequence[Payload],
    *,
    production: Runner,
    runtime: Runtime,
    threads: int,
    live: Sequence[Payload] = (),
    progress: Callable[[int, int], None] | None = None,
) -> LayerView:
    """The view over the first ``INPUTS`` of ``payloads``; with ``live`` ones a finding where those leave the
    calibrated ranges further. ``production`` runs the model in use. ``progress`` is told how many are done,
    of how many.

    Raises InputError where the two files are no twins, FrameError where an input cannot be prepared.
    """
    flatbuffer, _ = bundles.split(bundles.read_file(float_model), name=float_model.name)
    tensor = production.input
    compiled = compile_spec(bundle.spec, tensor)
    golden, live = payloads[:INPUTS], live[:INPUTS]

    def viewed(seen: Sequence[Payload], before: int) -> LayerView:
        return layers.view(
            bundle.flatbuffer,
            flatbuffer,
            [compiled(payload).tensor for payload in seen],
            runtime=runtime,
            real=layers.real_inputs(bundle.spec, tensor, seen),
            production=production,
            threads=threads,
            progress=lambda done, _: progress(before + done, len(golden) + len(live)) if progress else None,
        )

    view = viewed(golden, 0)
    if not live:
        return view
    return replace(view, findings=view.findings + live_findings(view, viewed(live, len(golden))))
