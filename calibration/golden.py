"""Chooses the golden inputs of a bundle and records what training's side makes of them.

The choice is random but fixed: the inputs whose names have the lowest hashes. Outputs are recorded
with the reference kernels, the plain ones that define the right answer.
"""

from agent.contracts import Payload, Runner
from agent.errors import BundleError, FrameError
from agent.golden import GoldenInput
from agent.plain_text import plain_text
from agent.preprocess.compiled import run_steps
from agent.preprocess.spec import PreprocessSpec, is_image
from agent.preprocess.trace import trace
from calibration.labelled import Input, Inputs
from calibration.reference_builder import name_hash

COUNT = 8
MAX_TOTAL_BYTES = 20 * 2**20
"""Of all encoded originals together."""


def choose(inputs: Inputs) -> list[Input]:
    """All inputs in the random, fixed order in which golden ones are taken."""
    return sorted(inputs, key=lambda given: (name_hash(given.name, "golden"), given.name))


def record(
    inputs: Inputs, *, spec: PreprocessSpec, runner: Runner, count: int = COUNT
) -> tuple[GoldenInput, ...]:
    """The first ``count`` usable inputs by ``choose``; originals too large for the cap are passed over.

    A name is recorded as ``plain_text``: a file's need not be text. ``runner`` runs the reference
    kernels. Raises BundleError when the model's outputs change shape.
    """
    recorded: list[GoldenInput] = []
    for given in choose(inputs):
        if len(recorded) == count:
            break
        try:
            payload = given.payload()
            encoded = _encoded(payload)
            if len(encoded) > MAX_TOTAL_BYTES // count:
                continue
            prepared = run_steps(spec, runner.input, payload)
            traces = trace(spec, runner.input, payload)
        except FrameError:
            continue  # Counted and reported where the reference is built.
        outputs = runner.run(prepared.tensor)
        if recorded and any(a.shape != b.shape for a, b in zip(outputs, recorded[0].outputs, strict=True)):
            raise BundleError("the model's outputs change their shape from input to input")
        recorded.append(
            GoldenInput(
                name=plain_text(given.name),
                encoded=encoded,
                label=given.label,
                traces=traces,
                outputs=outputs,
                vector=not is_image(spec),
            )
        )
    return tuple(recorded)


def _encoded(payload: Payload) -> bytes:
    return payload if isinstance(payload, bytes) else payload.astype("<f8").tobytes()
