"""Plants a machine's /proc, /sys and /dev in a folder, from a text file of tests/fixtures/trees.

A line is ``path = content`` (a file of that one line), ``path -> target`` (a symbolic link), ``path/`` (a
folder), a comment, or ``include name``. Below a line ``path <<`` indented lines are a file's text.
"""

from pathlib import Path

TREES = Path(__file__).parent / "fixtures" / "trees"


def plant(folder: Path, *names: str) -> Path:
    """``folder`` as the root of the machine that the trees ``names`` make up together."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        _plant(folder, (TREES / f"{name}.txt").read_text(encoding="utf-8").splitlines())
    return folder


def put(root: Path, path: str, content: str) -> None:
    """One file of the machine, changed while it runs."""
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(content + "\n", encoding="utf-8")


def _plant(folder: Path, lines: list[str]) -> None:
    text: list[str] = []
    path = ""
    for line in [*lines, ""]:
        if path and line.startswith("    "):
            text.append(line.removeprefix("    "))
            continue
        if path:
            put(folder, path, "\n".join(text))
            path, text = "", []
        if line.endswith(" <<"):
            path = line.removesuffix(" <<")
        elif line.startswith("include "):
            plant(folder, line.removeprefix("include "))
        elif line.endswith("/"):
            (folder / line).mkdir(parents=True, exist_ok=True)
        elif " -> " in line:
            link, _, target = line.partition(" -> ")
            (folder / link).parent.mkdir(parents=True, exist_ok=True)
            (folder / link).symlink_to(target)
        elif " = " in line:
            put(folder, *line.split(" = ", 1))
        elif line and not line.startswith("#"):
            raise ValueError(f"not a line of a tree: {line!r}")
