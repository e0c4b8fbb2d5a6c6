"""Every tensor between a model's operators, for one input after another.

An interpreter keeps them only when it is told to (``experimental_preserve_all_tensors``): without it
their memory is used again, and what is read later is another operator's numbers, without an error.
Keeping them changes which kernels run (tflite-runtime leaves XNNPACK out, ai-edge-litert hands it one
operator at a time), so what is read here need not be what production computes: say so.
"""

from collections.abc import Sequence
from importlib import import_module
from typing import Any, Literal, TypeAlias

from agent.contracts import Array
from agent.errors import BundleError, RuntimeUnavailableError
from agent.plain_text import plain_text
from agent.runtime.choice import Runtime
from agent.runtime.flatbuffer import check

ViewKernels: TypeAlias = Literal["builtin", "reference"]
_RESOLVERS = {"builtin": "BUILTIN_WITHOUT_DEFAULT_DELEGATES", "reference": "BUILTIN_REF"}


class Intermediates:
    """One interpreter that keeps all tensors; for one thread at a time. Tensor indices are those of
    the flatbuffer's main graph."""

    def __init__(
        self,
        model: bytes,
        *,
        where: str,
        runtime: Runtime,
        kernels: ViewKernels = "builtin",
        threads: int = 1,
    ) -> None:
        """Raises BundleError naming ``where`` for a model that cannot be run without a delegate,
        RuntimeUnavailableError when the runtime fails."""
        self._where = where
        try:
            check(model)
            module = import_module(runtime.module)
            self._interpreter: Any = module.Interpreter(
                model_content=model,
                num_threads=threads,
                experimental_op_resolver_type=getattr(module.OpResolverType, _RESOLVERS[kernels]),
                experimental_preserve_all_tensors=True,
            )
            self._interpreter.allocate_tensors()
        except BundleError as error:
            raise BundleError(*(f"{where}: {problem}" for problem in error.problems)) from None
        except (ImportError, SystemError, TypeError) as error:
            raise RuntimeUnavailableError(f"{runtime.name} {runtime.version}: {_line(error)}") from error
        except (ValueError, RuntimeError, MemoryError) as error:
            raise BundleError(
                f"{where}: {runtime.name} cannot run it layer by layer: {_line(error)}"
            ) from error
        inputs = self._interpreter.get_input_details()
        if len(inputs) != 1:
            raise BundleError(f"{where}: expected one input, got {len(inputs)}")
        self._input = int(inputs[0]["index"])
        self.shape: tuple[int, ...] = tuple(map(int, inputs[0]["shape"]))

    def run(self, tensor: Array, wanted: Sequence[int]) -> dict[int, Array]:
        """The arrays of the ``wanted`` tensors after ``tensor`` went through, copied.

        Raises BundleError when the model cannot be run on it.
        """
        try:
            self._interpreter.set_tensor(self._input, tensor)
            self._interpreter.invoke()
            return {index: self._interpreter.get_tensor(index) for index in wanted}
        except (ValueError, RuntimeError, MemoryError) as error:
            raise BundleError(f"{self._where}: running it layer by layer failed: {_line(error)}") from error


def _line(error: BaseException) -> str:
    return plain_text(" ".join(str(error).split()), longest=500) or type(error).__name__
