"""Preprocessing that is not ours: a Python function, or tensors that something else has dumped."""

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path, PurePath
from typing import TypeAlias

import numpy as np

from agent import npy
from agent.contracts import Array, Payload, TensorSpec
from agent.errors import InputError

Preprocess: TypeAlias = Callable[[Payload], Array]
"""The bytes of an image file, or the float64 values of a sensor vector, to the model's input, with or
without batch axis."""


def load_callable(text: str) -> Preprocess:
    """The function that ``module:function`` names; the working directory is searched too. What it prints
    goes to standard error, for standard output is the result's.

    Raises InputError when there is no such module or function, or when importing it fails.
    """
    module_name, colon, function_name = text.partition(":")
    if not colon or not module_name or not function_name:
        raise InputError(f"{text}: expected module:function, such as my_pipeline:preprocess")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    try:
        with redirect_stdout(sys.stderr):
            value: object = importlib.import_module(module_name)
    # Foreign code: whatever it raises while it is imported is the user's to read, not a defect here.
    except (Exception, SystemExit) as error:
        raise InputError(f"{text}: module {module_name} cannot be imported: {_described(error)}") from error
    for name in function_name.split("."):
        value = getattr(value, name, None)
    if not callable(value):
        what = "has no function" if value is None else "has no function, but something else, called"
        raise InputError(f"{text}: module {module_name} {what} {function_name}")
    return _checked(value, text)


def load_tensors(folder: Path | str, names: Sequence[str]) -> Mapping[str, Array]:
    """The dumped tensors of ``names``: ``<name>.npy`` or, without its suffix, ``<stem>.npy``. A name
    without one is left out.

    Raises InputError when no name has a tensor, and with every file that cannot be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: not a folder")
    loaded: dict[str, Array] = {}
    problems: list[str] = []
    for name in names:
        file = _file_of(folder, name)
        if file is None:
            continue
        try:
            loaded[name] = npy.load(file)
        except npy.NpyError as error:
            problems.append(f"{file}: cannot be read as a .npy array: {error}")
        except OSError as error:
            problems.append(f"{file}: cannot be read: {error.strerror}")
    if not loaded and not problems:
        first = PurePath(names[0]).name if names else "<name>"
        problems.append(f"{folder}: no tensor of any of the {len(names)} golden inputs (such as {first}.npy)")
    if problems:
        raise InputError(*problems)
    return loaded


def fit(array: object, tensor: TensorSpec) -> Array:
    """``array`` in the shape and dtype of the model's input: a missing batch axis is added, and a dtype
    changed where no value changes (or a float array for a float input). Raises InputError otherwise."""
    found = np.asarray(array)
    if found.shape == tensor.shape[1:]:
        found = found[None]
    if found.shape != tensor.shape:
        shown, wanted = _shape(found.shape), _shape(tensor.shape)
        raise InputError(f"preprocessing gave {shown}, the model's input is {wanted}")
    wanted_type = np.dtype(tensor.dtype)
    if found.dtype == wanted_type:
        return np.ascontiguousarray(found)
    if not (np.issubdtype(found.dtype, np.number) or found.dtype == np.bool_):
        raise InputError(
            f"preprocessing gave values of type {found.dtype}, the model's input is {tensor.dtype}"
        )
    with np.errstate(invalid="ignore", over="ignore"):
        cast = found.astype(wanted_type)
    floats = np.issubdtype(found.dtype, np.floating) and np.issubdtype(wanted_type, np.floating)
    if not floats and not np.array_equal(cast, found):
        raise InputError(
            f"preprocessing gave {found.dtype} values that the model's {tensor.dtype} input cannot hold "
            "as they are"
        )
    return np.ascontiguousarray(cast)


def numbers(made: object, where: str) -> Array:
    """What foreign code returned, as an array. Raises InputError, beginning with ``where``, unless it is
    one of plain numbers: neither a ragged list nor objects, texts or complex numbers."""
    try:
        array = np.asarray(made)
    # An array of another library converts itself, and may refuse.
    except Exception as error:
        what = f"{type(made).__name__} that is none ({_described(error)})"
        raise InputError(f"{where}: expected an array of numbers, got {what}") from error
    if array.dtype.kind not in "uifb":
        what = type(made).__name__ if array.dtype == np.object_ else f"values of type {array.dtype}"
        raise InputError(f"{where}: expected an array of numbers, got {what}")
    return array


def _checked(value: Callable[..., object], text: str) -> Preprocess:
    def preprocess(payload: Payload) -> Array:
        try:
            with redirect_stdout(sys.stderr):
                made = value(payload)
        # Foreign code, as above.
        except (Exception, SystemExit) as error:
            raise InputError(f"{text}: raised {_described(error)}") from error
        return numbers(made, text)

    return preprocess


def _file_of(folder: Path, name: str) -> Path | None:
    """Names may be paths; a dump keeps their folders or not. Nothing outside ``folder`` is looked at."""
    pure = PurePath(*(part for part in PurePath(name).parts if part not in (PurePath(name).anchor, "..")))
    if not pure.name:
        return None
    for wanted in (f"{pure}.npy", str(pure.with_suffix(".npy")), f"{pure.name}.npy", f"{pure.stem}.npy"):
        if (folder / wanted).is_file():
            return folder / wanted
    return None


def _described(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "a single number"
