"""What the user asks for, and what of it can be checked before a model is looked at."""

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from agent.errors import BundleError, InputError, SpecError
from agent.preprocess.spec import PreprocessSpec
from agent.preprocess.values import Cast
from calibration.schemes import KINDS
from calibration.schemes.comparison import missing_needs
from calibration.spec_file import read_spec
from calibration.task import Choice

TRAINING_INPUTS = 2000
"""As many are trained on if nothing is said: all of them are held in memory as float32."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """What the user asked for; see the command's options. ``device_ms``: by the stem of a scheme's file."""

    model: Path
    preprocess: Path
    images: Path
    output: Path
    representative: Path | None = None
    train: Path | None = None
    train_count: int = TRAINING_INPUTS
    picture: Path | None = None
    labels: Path | None = None
    choice: Choice = field(default_factory=Choice)
    epochs: int = 3
    learning_rate: float = 1e-4
    names: tuple[str, ...] = ()
    float_layers: int = 5
    device_ms: dict[str, float] | None = None


def check_needs(names: tuple[str, ...], request: Request) -> None:
    """A scheme that is asked for by name must have what it needs. Raises InputError."""
    given = request.representative is not None, request.train is not None
    lacking = [(name, missing_needs(KINDS[name], *given)) for name in names]
    if any(words for _, words in lacking):
        raise InputError(*(f"--scheme {name}: {words}" for name, words in lacking if words))


def read_float_spec(path: Path) -> PreprocessSpec:
    """A spec that suits every scheme's input. Raises SpecError."""
    spec = read_spec(path)
    cast = spec.steps[-1]
    if isinstance(cast, Cast) and cast.mode == "raw":
        raise SpecError(
            f"{path}: cast: mode raw stores bytes for one kind of input tensor, but a scheme's input may be "
            "float, int8 or uint8: write the numbers the float model takes (a normalize step, where training "
            "had one) and then cast: {mode: quantize, …}"
        )
    return spec


def make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BundleError(f"--output: {path} cannot be made: {error.strerror}") from None
    check_writable(path, "--output")


def check_writable(folder: Path, option: str) -> None:
    """By writing: the minutes of converting are not to be lost to a folder that takes no file."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".litewatch."):
            pass
    except OSError as error:
        raise BundleError(f"{option}: {folder}: no file can be written there: {error.strerror}") from None
