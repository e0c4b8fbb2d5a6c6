"""Small files of /proc and /sys, which may be missing, unreadable or something else than expected."""

from pathlib import Path


def line(path: Path) -> str | None:
    """The file's first line without its white space; None where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").partition("\n")[0].strip()
    except (OSError, ValueError):
        # A sensor that is asleep or dead answers with EIO, EAGAIN or ENODEV.
        return None


def number(path: Path, *, base: int = 10) -> int | None:
    """The whole number in the file's first line; None where there is none."""
    text = line(path)
    try:
        return None if text is None else int(text, base)
    except ValueError:
        return None


def table(path: Path) -> dict[str, str]:
    """``name: value`` lines, as /proc writes them; empty where the file cannot be read."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except (OSError, ValueError):
        return {}
    split = (one.partition(":") for one in lines)
    return {name.strip(): value.strip() for name, colon, value in split if colon}


def entries(folder: Path, pattern: str) -> list[Path]:
    """What lies in ``folder`` by that pattern, in the order of the names; [] where there is no folder."""
    try:
        return sorted(folder.glob(pattern))
    except OSError:
        return []
