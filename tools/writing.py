"""Files that a command writes beside its result: asked for first, written last.

A run may take minutes. A path that cannot be written is said before it starts, and what was computed is
printed even where the file then fails.
"""

import os
from pathlib import Path

from agent.errors import InputError


def require_writable(path: Path | None, option: str) -> None:
    """Raises InputError, naming ``option``, when ``path`` (None: not asked for) cannot be written."""
    if path is None:
        return
    folder = path.parent
    if not folder.is_dir():
        raise InputError(f"{option}: {path}: cannot be written: there is no folder {folder}")
    if path.is_dir():
        raise InputError(f"{option}: {path}: cannot be written: is a folder")
    # An existing file is written over in place; a new one needs its folder.
    if not os.access(path if path.exists() else folder, os.W_OK):
        raise InputError(f"{option}: {path}: cannot be written: permission denied")


def write_text(path: Path, text: str, option: str) -> None:
    """Raises InputError, naming ``option``."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{option}: {path}: cannot be written: {error.strerror or error}") from None
