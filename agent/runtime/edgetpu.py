"""Google's Edge TPU (Coral) through its own library, libedgetpu."""

import re
from dataclasses import dataclass
from typing import ClassVar, Literal

from agent.contracts import Runner
from agent.runtime.choice import Runtime
from agent.runtime.library import library_runner, load_library


@dataclass(frozen=True, kw_only=True, slots=True)
class EdgeTpu:
    """Options of ``delegate: edgetpu``. It runs the bundle's model compiled for the Edge TPU."""

    device: str = "auto"
    """``auto`` the first that is found, ``usb`` or ``pci`` the first of its kind, ``usb:0``, ``pci:1`` …
    one of several."""
    library: str = "libedgetpu.so.1"
    """A path, or a name the system's loader finds."""

    name: ClassVar[str] = "edgetpu"
    hardware: ClassVar[bool] = True
    twin: ClassVar[Literal["cpu", "edgetpu"]] = "edgetpu"

    def problems(self) -> list[str]:
        found = []
        if not re.fullmatch(r"auto|(usb|pci)(:\d{1,2})?", self.device, re.ASCII):
            found.append(
                f"device: must be auto, usb, pci, or usb:N or pci:N with a number, got {self.device!r}"
            )
        if not self.library:
            found.append("library: must name a shared library")
        return found

    def open(self, model: bytes, *, runtime: Runtime, threads: int) -> Runner:
        return library_runner(self, model, runtime=runtime, threads=threads)

    def load(self, runtime: Runtime) -> object:
        """The delegate alone, without a model. Raises DelegateError."""
        return load_library(
            runtime,
            self.library,
            {} if self.device == "auto" else {"device": self.device},
            name=self.name,
            missing="install libedgetpu (docs/delegates.md)",
            refused="no such Edge TPU answers here, or another process has it; type: litewatch doctor",
        )
