"""preprocess.yaml as a file; ``agent.preprocess.spec`` knows only its text."""

from pathlib import Path

from agent.errors import SpecError
from agent.preprocess.spec import PreprocessSpec, parse


def read_spec(path: Path, *, where: str | None = None) -> PreprocessSpec:
    """Raises SpecError with every problem; ``where`` (default: ``path``) names the file in its text's."""
    return parse(read_spec_text(path), where=where or str(path))


def read_spec_text(path: Path) -> str:
    """Raises SpecError when there is no text to be read."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SpecError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SpecError(f"{path}: not UTF-8") from None
    if not text.strip():
        raise SpecError(f"{path}: is empty")
    return text
