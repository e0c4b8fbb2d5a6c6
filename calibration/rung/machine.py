"""What runs a bundle's model on this machine, as the ladder needs it."""

import platform
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import cv2
import numpy as np

import agent
from agent.bundle import Bundle
from agent.contracts import Runner, TensorSpec
from agent.device.vitals import cpu_model, os_name
from agent.runtime.choice import Runtime
from agent.runtime.cpu import Cpu
from agent.runtime.interpreter import Delegate, open_runner
from agent.runtime.opening import open_delegate

Kernels: TypeAlias = Literal["auto", "xnnpack", "builtin", "reference"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Runners:
    """How to open the model on this CPU by a family of kernels, and with the configured delegate
    (None: the CPU itself). ``production`` is the family that runs on this device. Each call opens a new
    runner, which the ladder closes; a bench hands in runners of its own."""

    cpu: Callable[[Kernels], Runner]
    delegate: Callable[[], Runner] | None = None
    production: Kernels = "auto"


INVOKE_TIMEOUT_S = 5.0
"""What agent.yaml grants a hardware delegate for one run by default."""


def runners_here(
    bundle: Bundle,
    delegate: Delegate,
    *,
    runtime: Runtime,
    threads: int,
    timeout_s: float = INVOKE_TIMEOUT_S,
) -> Runners:
    """Runners of ``bundle`` on this machine. With a CPU ``delegate`` its kernels are those of
    production; another delegate is a rung of its own, and runs in a child process as the agent runs it."""

    def cpu(kernels: Kernels) -> Runner:
        return open_runner(Cpu(kernels=kernels), bundle.flatbuffer, runtime=runtime, threads=threads)

    if isinstance(delegate, Cpu):
        return Runners(cpu=cpu, production=delegate.kernels)

    def hardware() -> Runner:
        return open_delegate(
            delegate,
            cpu=bundle.flatbuffer,
            edgetpu=bundle.edgetpu,
            runtime=runtime,
            threads=threads,
            timeout_s=timeout_s,
        )

    return Runners(cpu=cpu, delegate=hardware)


def environment(runner: Runner) -> tuple[tuple[str, str], ...]:
    """What ran here, for the report."""
    info = runner.info
    return (
        ("litewatch", agent.__version__),
        ("runtime", f"{info.runtime} {info.version}"),
        ("delegate", info.delegate),
        ("kernels", info.kernels),
        ("threads", str(info.threads)),
        ("operators delegated", f"{info.ops_delegated} of {info.ops_total}"),
        ("OpenCV", cv2.__version__),
        ("numpy", np.__version__),
        ("CPU", cpu_model()),
        ("machine", platform.machine()),
        ("system", os_name()),
    )


def recorded_environment(bundle: Bundle) -> tuple[tuple[str, str], ...]:
    """What ran when the bundle was packed."""
    packed, recording = bundle.manifest.environment, bundle.golden.recording
    rows = [
        ("litewatch", packed.litewatch),
        ("runtime", f"{packed.runtime} {packed.runtime_version}"),
        ("OpenCV", packed.opencv),
        ("numpy", packed.numpy),
        ("machine", packed.machine),
    ]
    if recording is not None:
        rows.append(("CPU", recording.cpu))
        if recording.difference:
            rows.append(("accepted difference", recording.difference))
    return tuple(rows)


def recorded_alike(bundle: Bundle, runner: Runner) -> bool:
    """Whether the recorded outputs came from this runtime on this architecture: then the reference
    kernels must repeat them to the last bit."""
    packed, info = bundle.manifest.environment, runner.info
    there = (packed.runtime, packed.runtime_version, packed.machine)
    return there == (info.runtime, info.version, platform.machine())


def input_of(bundle: Bundle, *, runtime: Runtime) -> TensorSpec:
    """The model's input tensor."""
    runner = open_runner(Cpu(kernels="builtin"), bundle.flatbuffer, runtime=runtime, threads=1)
    try:
        return runner.input
    finally:
        runner.close()
