"""From a configured delegate and a bundle's models to a runner, in this process or in a child."""

from agent.contracts import Runner
from agent.errors import BundleError
from agent.runtime.child import OPENING_S, ChildRunner
from agent.runtime.choice import Runtime
from agent.runtime.flatbuffer import check
from agent.runtime.interpreter import Delegate


def open_delegate(
    delegate: Delegate,
    *,
    cpu: bytes,
    edgetpu: bytes | None,
    runtime: Runtime,
    threads: int,
    timeout_s: float,
    opening_s: float = OPENING_S,
) -> Runner:
    """A runner of the model that ``delegate`` runs: ``cpu``, or its twin for the Edge TPU.

    The CPU runs in this process. A hardware delegate runs in a child, which has run the model once
    when this returns, within ``opening_s``; each later run may take ``timeout_s``. Raises BundleError
    for a model that cannot be used or is missing, DelegateError, RuntimeUnavailableError.
    """
    model = model_for(delegate, cpu=cpu, edgetpu=edgetpu)
    check(model)
    if not delegate.hardware:
        return delegate.open(model, runtime=runtime, threads=threads)
    return ChildRunner(
        delegate, model, runtime=runtime, threads=threads, timeout_s=timeout_s, opening_s=opening_s
    )


def model_for(delegate: Delegate, *, cpu: bytes, edgetpu: bytes | None) -> bytes:
    """Which of a bundle's models ``delegate`` runs. Raises BundleError when the bundle lacks it."""
    if delegate.twin == "cpu":
        return cpu
    if edgetpu is None:
        raise BundleError(
            f"model: the bundle has no model for the Edge TPU, which delegate {delegate.name} runs; pack it "
            "anew with --edgetpu MODEL_edgetpu.tflite, as edgetpu_compiler writes it"
        )
    return edgetpu
