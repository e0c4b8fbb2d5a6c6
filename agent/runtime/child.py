"""A runner whose delegate lives in a process of its own.

A hardware delegate is foreign code over a device that may vanish: it crashes, hangs, or returns an error
for ever. Here that ends a child process and gives a DelegateError with the cause; the agent goes on.
A run costs two copies of the tensors through shared memory and two wake-ups.
"""

import json
import os
import pickle
import weakref
from collections.abc import Mapping
from typing import Any

import numpy as np

from agent import errors
from agent.contracts import Array, RunnerInfo, TensorSpec
from agent.errors import DelegateError, LitewatchError
from agent.runtime.child_process import LONGEST, SAME
from agent.runtime.choice import Runtime
from agent.runtime.interpreter import Delegate, mismatch
from agent.runtime.spawned import GoneError, Spawned
from agent.runtime.tensor_memory import TensorMemory, form

MODULE = "agent.runtime.child_process"
OPENING_S = 40.0
"""For starting Python from a slow card, loading the library, and a device's firmware."""
_ERRORS: Mapping[str, type[LitewatchError]] = {
    name: getattr(errors, name) for name in ("BundleError", "DelegateError", "RuntimeUnavailableError")
}


class ChildRunner:
    """A ``contracts.Runner`` around ``delegate.open(model, …)`` in a child process; for one thread at
    a time, except ``close``.

    The child has run the model once before this is made: what is handed out has worked. A run that
    takes longer than ``timeout_s``, fails or crashes ends the child for good: open another. Raises
    BundleError, DelegateError and RuntimeUnavailableError as ``delegate.open`` does, DelegateError too
    when the child crashes or takes longer than ``opening_s``.
    """

    def __init__(
        self,
        delegate: Delegate,
        model: bytes,
        *,
        runtime: Runtime,
        threads: int,
        timeout_s: float,
        opening_s: float = OPENING_S,
    ) -> None:
        self._name = delegate.name
        self._ended = ""
        self._memory_number = os.memfd_create("litewatch")
        weakref.finalize(self, os.close, self._memory_number)
        _fill(self._memory_number, model)
        request = pickle.dumps((delegate, runtime, threads))
        try:
            self._child = Spawned(MODULE, self._memory_number)
            weakref.finalize(self, self._child.close)
            self._child.patience(opening_s)
            answer = self._read(self._child.ask(request, LONGEST))
        except GoneError as gone:
            raise self._lost("opening the model", gone) from None
        self._child.patience(timeout_s)
        if "loaded" not in answer:
            self._take(answer)

    def _take(self, answer: Mapping[str, Any]) -> None:
        self._info = RunnerInfo(**answer["info"])
        self._input = _spec(answer["input"])
        self._outputs = tuple(map(_spec, answer["outputs"]))
        self._lay_out(answer)

    @property
    def info(self) -> RunnerInfo:
        return self._info

    @property
    def input(self) -> TensorSpec:
        return self._input

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return self._outputs

    @property
    def pid(self) -> int:
        """Of the child."""
        return self._child.pid

    def run(self, tensor: Array) -> tuple[Array, ...]:
        """The raw outputs for ``tensor`` (exactly ``input.shape`` and ``input.dtype``), copied.

        Raises DelegateError with the cause when the child fails, hangs or crashes; it has ended then.
        ValueError for a tensor of another shape or dtype.
        """
        if self._ended:
            raise DelegateError(self._ended)
        place = self._tensors.input
        if tensor.shape != place.shape or tensor.dtype != place.dtype:
            raise ValueError(f"{mismatch(self._input, tensor)}: it was prepared for another model")
        np.copyto(place, tensor)
        try:
            answer = self._child.ask(SAME, LONGEST)
        except GoneError as gone:
            raise self._lost("running the model", gone) from None
        if answer != SAME:
            self._lay_out(self._read(answer))
        return tuple([output.copy() for output in self._tensors.outputs])

    def close(self) -> None:
        """Let the device go and end the child; running after that is a DelegateError."""
        self._ended = self._ended or "this runner is closed"
        self._child.close()

    def _lay_out(self, answer: Mapping[str, Any]) -> None:
        forms = [(dtype, tuple(shape)) for dtype, shape in answer["forms"]]
        self._tensors = TensorMemory(self._memory_number, form(self._input), forms)

    def _read(self, answer: bytes) -> Mapping[str, Any]:
        """What the child says beyond "done". Raises the error it reports, and then it has ended."""
        said: Mapping[str, Any] = json.loads(answer)
        if "error" not in said:
            return said
        self._child.kill()
        self._ended = f"this runner is closed: {said['problems'][0]}"
        raise _ERRORS[said["error"]](*said["problems"])

    def _lost(self, doing: str, gone: GoneError) -> DelegateError:
        if self._ended:  # closed meanwhile, by another thread
            return DelegateError(self._ended)
        message = f"delegate {self._name}: {doing}: {gone}"
        self._ended = f"this runner is closed: {message}"
        return DelegateError(message)


def _fill(descriptor: int, model: bytes) -> None:
    with open(descriptor, "wb", closefd=False) as file:
        file.write(model)


def _spec(said: Mapping[str, Any]) -> TensorSpec:
    return TensorSpec(**{**said, "shape": tuple(said["shape"])})
