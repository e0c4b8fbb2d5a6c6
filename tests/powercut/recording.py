"""Runs a program under the shim and reads the log it leaves: every change, every sync, every mark."""

import os
import struct
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SHIM = Path(__file__).resolve().parent / "shim.c"
_HEAD = struct.Struct("=c7xqqQ")


@dataclass(frozen=True, slots=True)
class Record:
    """``kind``: O created, W written, T truncated, S file synced, D folder synced, R renamed, U removed,
    K folder made, X folder removed, M mapped, N mark. ``path`` is relative to the folder."""

    kind: str
    inode: int
    at: int
    data: bytes


def build(folder: Path) -> Path:
    """Compile the shim. Raises CalledProcessError with the compiler's words."""
    library = folder / "shim.so"
    subprocess.run(
        ["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(SHIM), "-ldl", "-lpthread"],
        check=True,
        capture_output=True,
        text=True,
    )
    return library


def refusing(library: Path, *, root: Path, refuse: Path) -> dict[str, str]:
    """The environment of a program whose changes below ``root`` fail with the errno that ``refuse`` holds."""
    return {"LD_PRELOAD": str(library), "POWERCUT_ROOT": str(root), "POWERCUT_REFUSE": str(refuse)}


def record(
    command: Sequence[str],
    library: Path,
    *,
    root: Path,
    log: Path,
    cwd: Path,
    env: Mapping[str, str] = os.environ,
) -> list[Record]:
    """Run ``command`` to its end and return what it did below ``root``."""
    log.unlink(missing_ok=True)
    done = subprocess.run(
        command,
        env={
            **env,
            "LD_PRELOAD": str(library),
            "POWERCUT_ROOT": str(root),
            "POWERCUT_LOG": str(log),
        },
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
    )
    if done.returncode:
        raise AssertionError(f"{command} ended with {done.returncode}:\n{done.stderr}")
    return list(read(log))


def read(log: Path) -> Iterator[Record]:
    data, at = log.read_bytes(), 0
    while at < len(data):
        kind, inode, offset, length = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        yield Record(kind.decode(), inode, offset, data[at : at + length])
        at += length
