"""Where the litewatch command keeps what it can make again."""

import os
from pathlib import Path


def runtime_cache() -> Path | None:
    """The file that remembers which TFLite runtime works here; None without a home directory."""
    base = os.environ.get("XDG_CACHE_HOME")
    try:
        folder = Path(base) if base else Path.home() / ".cache"
    except RuntimeError:
        return None
    return folder / "litewatch" / "runtimes.json"
