"""Loads a TFLite external delegate: a shared library with ``tflite_plugin_create_delegate``.

A library is foreign code: it may end the process that loads it. In the agent that is always a child
process (``child``).
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Protocol

from agent.contracts import Runner
from agent.errors import DelegateError
from agent.plain_text import plain_text
from agent.runtime.choice import Runtime
from agent.runtime.interpreter import InterpreterRunner

_LONGEST_MESSAGE = 500


def load_library(
    runtime: Runtime, path: str, options: Mapping[str, str], *, name: str, missing: str, refused: str = ""
) -> Any:
    """The delegate that the library at ``path`` makes with ``options``, for the runtime's Interpreter.

    ``name`` is the kind of delegate; ``missing`` says what to do when the library is, ``refused`` what
    it may mean that it makes no delegate, for libraries that do not say. Raises DelegateError.
    """
    load = import_module(runtime.module).load_delegate
    try:
        return load(path, dict(options))
    except OSError as error:
        raise DelegateError(f"delegate {name}: {_line(error)}; {missing}") from error
    except AttributeError:
        raise DelegateError(
            f"delegate {name}: {path} is no TFLite delegate (it lacks tflite_plugin_create_delegate)"
        ) from None
    except ValueError as error:
        meaning = f"; {refused}" if refused else ""
        raise DelegateError(f"delegate {name}: {_line(error)}{meaning}") from error


class LibraryDelegate(Protocol):
    """A kind of delegate that is a library."""

    @property
    def name(self) -> str: ...

    def load(self, runtime: Runtime) -> object: ...


def library_runner(delegate: LibraryDelegate, model: bytes, *, runtime: Runtime, threads: int) -> Runner:
    """``model`` with ``delegate``, in this process. The operators it leaves run on the built-in kernels,
    so that the share of delegated ones counts it alone."""
    return InterpreterRunner(
        model,
        runtime=runtime,
        threads=threads,
        delegate=delegate.name,
        kernels="builtin",
        library=delegate.load(runtime),
    )


def _line(error: Exception) -> str:
    return plain_text(" ".join(str(error).split()), longest=_LONGEST_MESSAGE)
