"""Loads a TFLite external delegate: a shared library with ``tflite_plugin_create_delegate``.

A library is foreign code: it may end the process that loads it. In the agent that is always a child
process (``child``).
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from agent.errors import DelegateError
from agent.plain_text import plain_text
from agent.runtime.choice import Runtime

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


def _line(error: Exception) -> str:
    return plain_text(" ".join(str(error).split()), longest=_LONGEST_MESSAGE)
