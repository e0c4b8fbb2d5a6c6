"""What decides how a delegate computes, besides the model: its options, and its library's contents."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

from agent.runtime.interpreter import Delegate

FOLDERS = ("/usr/local/lib", "/usr/lib", "/lib")
"""Where the loader looks for a library by name; in each, a folder for the architecture too."""


def setup_of(delegate: Delegate) -> str:
    """A digest that changes with an option or an update of the library; "" for the CPU, whose kernels
    the runtime's version names."""
    if not delegate.hardware:
        return ""
    digest = hashlib.sha256(repr(delegate).encode())
    library = getattr(delegate, "library", "")
    for path in _places(library):
        try:
            digest.update(path.read_bytes())
        except OSError:
            continue
        break
    return digest.hexdigest()


def _places(library: str) -> Iterator[Path]:
    if "/" in library:
        yield Path(library)
        return
    for folder in FOLDERS:
        yield from Path(folder).glob(f"*-linux-gnu*/{library}")
        yield Path(folder) / library
