"""The CPU's own kernels."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from agent.contracts import Runner
from agent.runtime.choice import Runtime
from agent.runtime.interpreter import InterpreterRunner


@dataclass(frozen=True, kw_only=True, slots=True)
class Cpu:
    """Options of ``delegate: cpu``.

    ``kernels`` is the family: "auto" what the runtime does by itself, "xnnpack" and "builtin" with
    and without its XNNPACK delegate, "reference" the slow kernels that define the right answer.
    """

    kernels: Literal["auto", "xnnpack", "builtin", "reference"] = "auto"

    name: ClassVar[str] = "cpu"
    hardware: ClassVar[bool] = False
    twin: ClassVar[Literal["cpu", "edgetpu"]] = "cpu"

    def open(self, model: bytes, *, runtime: Runtime, threads: int) -> Runner:
        return InterpreterRunner(
            model, runtime=runtime, threads=threads, delegate=self.name, kernels=self.kernels
        )
