"""One runner over both TFLite runtimes: their ``Interpreter`` classes are the same.

A model must have one input, of a fixed shape, and run one input at a time: where it has a batch
axis (the first of two or more), that is 1. A free batch axis (-1) runs as 1; any other free axis
is refused. An output may have a free shape: its spec says what the runtime states before the
first run, the arrays are as the model makes them.
"""

import re
from importlib import import_module
from typing import Any, Literal, Protocol

import numpy as np

from agent.contracts import Array, Runner, RunnerInfo, TensorSpec
from agent.errors import BundleError, DelegateError
from agent.plain_text import plain_text
from agent.runtime.choice import Runtime, unavailable
from agent.runtime.delegation import delegated
from agent.runtime.flatbuffer import check

_RESOLVERS = {
    "auto": "AUTO",
    "xnnpack": "BUILTIN",
    "builtin": "BUILTIN_WITHOUT_DEFAULT_DELEGATES",
    "reference": "BUILTIN_REF",
}
_LONGEST_NAME = 100
_LONGEST_MESSAGE = 500
_SHOWN_INPUTS = 10


class Delegate(Protocol):
    """A kind of this room: a frozen dataclass whose fields are its options in agent.yaml."""

    @property
    def name(self) -> str:
        """The kind, as ``RunnerInfo.delegate`` says it."""
        ...

    @property
    def hardware(self) -> bool:
        """Whether it runs foreign code on a device, and so belongs into a child process."""
        ...

    @property
    def twin(self) -> Literal["cpu", "edgetpu"]:
        """Which model of a bundle it runs: the ordinary one, or the one compiled for the Edge TPU."""
        ...

    def open(self, model: bytes, *, runtime: Runtime, threads: int) -> Runner:
        """Raises BundleError for a model that cannot be used, DelegateError for a delegate."""
        ...


def open_runner(delegate: Delegate, model: bytes, *, runtime: Runtime, threads: int) -> Runner:
    """A runner for ``model`` (the bytes of a .tflite file) with ``threads`` threads.

    ``model`` is kept alive and not copied by the interpreter. Raises BundleError for a model that
    cannot be used (damaged, several inputs, unknown operators), DelegateError when it needs
    another delegate, RuntimeUnavailableError when the runtime itself fails.
    """
    check(model)
    return delegate.open(model, runtime=runtime, threads=threads)


class InterpreterRunner:
    """A ``contracts.Runner`` around one interpreter; for one thread at a time."""

    __slots__ = ("_get", "_indices", "_info", "_input", "_invoke", "_outputs", "_set", "_slot")

    def __init__(
        self,
        model: bytes,
        *,
        runtime: Runtime,
        threads: int,
        delegate: str,
        kernels: str,
        library: object | None = None,
    ) -> None:
        """``delegate`` is its kind, ``library`` what ``library.load_library`` gave for it, if any.

        Without XNNPACK then (``kernels`` "builtin"): whatever left the built-in kernels is the library's.
        """
        interpreter = _interpreter(model, runtime, threads, kernels, delegate, library)
        _allocate(interpreter, runtime, delegate)
        try:
            slots, outputs = interpreter.get_input_details(), interpreter.get_output_details()
            self._info = _info(interpreter, runtime, delegate, kernels, threads)
        except UnicodeDecodeError as error:
            raise BundleError(f"model: damaged: a name in it is not UTF-8 ({error})") from error
        _check_inputs(slots)
        if library is not None:
            _check_share(self._info)
        self._input = _spec(slots[0])
        self._outputs = tuple(_spec(output) for output in outputs)
        self._slot = int(slots[0]["index"])
        self._indices = tuple(int(output["index"]) for output in outputs)
        # Bound once: three look-ups fewer for every frame.
        self._set, self._invoke, self._get = (
            interpreter.set_tensor,
            interpreter.invoke,
            interpreter.get_tensor,
        )

    @property
    def info(self) -> RunnerInfo:
        return self._info

    @property
    def input(self) -> TensorSpec:
        return self._input

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return self._outputs

    def run(self, tensor: Array) -> tuple[Array, ...]:
        """The raw outputs for ``tensor`` (exactly ``input.shape`` and ``input.dtype``), copied.

        Raises DelegateError when the interpreter or its delegate fails, ValueError for a tensor
        of another shape or dtype: the preprocess spec was compiled for another model.
        """
        try:
            self._set(self._slot, tensor)
        except ValueError as error:
            raise ValueError(f"{mismatch(self._input, tensor)}: {error}") from None
        try:
            self._invoke()
            return tuple(map(self._get, self._indices))
        except (RuntimeError, ValueError, MemoryError) as error:
            raise DelegateError(
                f"delegate {self._info.delegate}: running the model failed: {_line(error)}"
            ) from error

    def close(self) -> None:
        """Let the interpreter go; running after that is a DelegateError."""
        self._set = self._invoke = self._get = _closed


def _closed(*_: object) -> None:
    raise DelegateError("this runner is closed")


def _interpreter(
    model: bytes, runtime: Runtime, threads: int, kernels: str, delegate: str, library: object | None
) -> Any:
    try:
        module = import_module(runtime.module)
        return module.Interpreter(
            model_content=model,
            num_threads=threads,
            experimental_op_resolver_type=getattr(module.OpResolverType, _RESOLVERS[kernels]),
            experimental_delegates=None if library is None else [library],
        )
    except (ImportError, SystemError) as error:
        raise unavailable(runtime, _line(error)) from error
    except (ValueError, RuntimeError, MemoryError) as error:
        what = f"{runtime.name} {runtime.version} cannot load it"
        if library is not None:  # The model passed ``check``; what is new here is the delegate.
            raise DelegateError(f"delegate {delegate}: {what} with this delegate: {_line(error)}") from error
        raise BundleError(f"model: {what}: {_line(error)}") from error


def _allocate(interpreter: Any, runtime: Runtime, delegate: str) -> None:
    try:
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError, MemoryError) as error:
        custom = re.search(r"unresolved custom op: ?(\S+?)\.?\s", f"{error} ")
        if custom is not None and custom[1] == "edgetpu-custom-op" and delegate != "cpu":
            raise DelegateError(
                f"delegate {delegate}: it took over {_taken(interpreter)} operators and left "
                "edgetpu-custom-op, which only the Edge TPU's delegate can run"
            ) from error
        if custom is not None and custom[1] == "edgetpu-custom-op":
            raise DelegateError(
                f"model: compiled for the Edge TPU, so it needs the Edge TPU delegate and cannot run on "
                f"delegate '{delegate}'; use the .tflite file that was given to edgetpu_compiler"
            ) from error
        if custom is not None:
            raise BundleError(
                f"model: {runtime.name} {runtime.version} does not have its operator {_plain(custom[1])}; "
                "export the model with built-in operators only"
            ) from error
        what = f"{runtime.name} {runtime.version} cannot prepare it on delegate '{delegate}'"
        raise BundleError(f"model: {what}: {_line(error)}") from error


def _taken(interpreter: Any) -> str:
    total, taken = 0, 0
    if hasattr(interpreter, "_get_ops_details"):
        total, taken = delegated(interpreter._get_ops_details())
    return f"{taken} of the model's {total}" if total else "none of the model's"


def _check_inputs(slots: list[dict[str, Any]]) -> None:
    if len(slots) != 1:
        names = ", ".join(_plain(slot["name"]) for slot in slots[:_SHOWN_INPUTS]) or "none"
        more = ", …" if len(slots) > _SHOWN_INPUTS else ""
        raise BundleError(f"model: expected one input, got {len(slots)} ({names}{more})")
    name, shape = _plain(slots[0]["name"]), tuple(map(int, slots[0]["shape"]))
    signature = tuple(map(int, slots[0]["shape_signature"])) or shape
    if -1 in signature[1:]:
        raise BundleError(f"model: input '{name}' has the free shape {signature}; export it with a fixed one")
    if len(shape) > 1 and shape[0] != 1:
        raise BundleError(f"model: input '{name}' has a batch of {shape[0]}, shape {shape}; export it with 1")
    if np.dtype(slots[0]["dtype"]).kind not in "uifb":
        raise BundleError(f"model: input '{name}' takes text, not numbers")


def _check_share(info: RunnerInfo) -> None:
    """A delegate that claims nothing is silent, and the CPU would run the whole model."""
    if info.ops_total and not info.ops_delegated:
        raise DelegateError(
            f"delegate {info.delegate}: it took over 0 of the model's {info.ops_total} operators; give it a "
            "model made for it, or set model.delegate to cpu"
        )


def _spec(details: dict[str, Any]) -> TensorSpec:
    scale, zero_point = details["quantization"]
    return TensorSpec(
        name=str(details["name"]),
        shape=tuple(map(int, details["shape"])),
        dtype=np.dtype(details["dtype"]).name,
        scale=float(scale),
        zero_point=int(zero_point),
    )


def _info(interpreter: Any, runtime: Runtime, delegate: str, kernels: str, threads: int) -> RunnerInfo:
    """``kernels`` becomes what really runs: "xnnpack" only where it took over an operator."""
    total = taken = 0
    if hasattr(interpreter, "_get_ops_details"):  # private: without it both counts stay 0, unknown
        total, taken = delegated(interpreter._get_ops_details())
        if kernels in ("auto", "xnnpack"):
            kernels = "xnnpack" if taken else "builtin"
    return RunnerInfo(
        runtime=runtime.name,
        version=runtime.version,
        delegate=delegate,
        kernels=kernels,
        threads=threads,
        ops_total=total,
        ops_delegated=taken,
    )


def mismatch(spec: TensorSpec, tensor: Array) -> str:
    """What a tensor for another model is told."""
    return f"input '{_plain(spec.name)}' takes {spec.dtype} {spec.shape}, got {tensor.dtype} {tensor.shape}"


def _line(error: BaseException) -> str:
    """A runtime's message on one line; it may quote the model, and so anybody."""
    return plain_text(" ".join(str(error).split()), longest=_LONGEST_MESSAGE) or type(error).__name__


def _plain(name: object) -> str:
    """A name from the model, for a message."""
    return plain_text(str(name), longest=_LONGEST_NAME)
