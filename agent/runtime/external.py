"""Any TFLite delegate that comes as a shared library."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

from agent.contracts import Runner
from agent.runtime.choice import Runtime
from agent.runtime.library import library_runner, load_library


@dataclass(frozen=True, kw_only=True, slots=True)
class External:
    """Options of ``delegate: external``."""

    library: str
    """The shared library: a path, or a name the system's loader finds."""
    options: dict[str, str | int | float | bool] = field(default_factory=dict)
    """Handed to the library as text; true and false as ``true`` and ``false``."""
    model: Literal["cpu", "edgetpu"] = "cpu"
    """Which model of the bundle it runs: the ordinary one, or the one compiled for the Edge TPU."""

    name: ClassVar[str] = "external"
    hardware: ClassVar[bool] = True

    @property
    def twin(self) -> Literal["cpu", "edgetpu"]:
        return self.model

    def problems(self) -> list[str]:
        return [] if self.library else ["library: must name a shared library"]

    def open(self, model: bytes, *, runtime: Runtime, threads: int) -> Runner:
        return library_runner(self, model, runtime=runtime, threads=threads)

    def load(self, runtime: Runtime) -> object:
        """The delegate alone, without a model. Raises DelegateError."""
        return load_library(
            runtime,
            self.library,
            {key: _text(value) for key, value in self.options.items()},
            name=self.name,
            missing="name an installed library in model.delegate.library",
        )


def _text(value: str | int | float | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
