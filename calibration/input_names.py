"""What listed files are called: never by where they lie on the machine that lists them. Pure.

A name goes into bundles, results and messages, and a hash of it decides what an input is used for. So
it must not tell a workstation's folders, nor change when they are moved.
"""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import PurePath


def names(listed: Sequence[str], folder: PurePath) -> Mapping[str, str]:
    """The name of each path of ``listed``, by the path as it is written; ``folder`` is what relative
    ones are relative to.

    A relative path that stays below ``folder`` is its own name. Any other is called by its last part,
    or, where others end in the same, by as many of its last parts as tell it from them.
    """
    found = {path: own for path in listed if (own := _own(path)) is not None}
    taken = set(found.values())
    outside = {path: _parts(path, folder) for path in listed if path not in found}
    endings = Counter(ending for parts in set(outside.values()) for ending in _endings(parts))
    named: dict[tuple[str, ...], str] = {}
    for path, parts in sorted(outside.items(), key=lambda item: item[1]):
        if parts not in named:
            free = (e for e in _endings(parts) if endings[e] == 1 and "/".join(e) not in taken)
            named[parts] = _unused("/".join(next(free, parts)), taken)
            taken.add(named[parts])
        found[path] = named[parts]
    return found


def _own(path: str) -> str | None:
    """``path`` without detours, where it is relative and stays below its folder."""
    if not path.strip() or PurePath(path).is_absolute():
        return None
    plain = PurePath(os.path.normpath(path))
    return None if ".." in plain.parts else plain.as_posix()


def _parts(path: str, folder: PurePath) -> tuple[str, ...]:
    whole = PurePath(os.path.normpath(folder / path))
    return tuple(part for part in whole.parts if part not in (whole.anchor, ".."))


def _endings(parts: tuple[str, ...]) -> list[tuple[str, ...]]:
    """The shortest first."""
    return [parts[-count:] for count in range(1, len(parts) + 1)]


def _unused(name: str, taken: set[str]) -> str:
    """Only a file at the top of a file system can be left without a name of its own."""
    while name in taken:
        name = f"other/{name}"
    return name
