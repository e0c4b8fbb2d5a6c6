"""Writes the measured numbers into docs/reliability.md: ``python tests/faults/page.py`` after a run."""

import json
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FIGURES, PAGE = ROOT / "build" / "faults.json", ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- measured -->\n", "<!-- end of measured -->\n"


def table(figures: list[dict[str, object]]) -> str:
    """One line per figure, in the order of their names."""
    lines = ["| what | measured | target | |", "|---|---|---|---|"]
    for figure in sorted(figures, key=lambda figure: str(figure["name"])):
        sign = "at most" if figure["bound"] == "at most" else "at least"
        target = "" if figure["target"] is None else f"{sign} {figure['target']:g}"
        lines.append(
            f"| {figure['name']} | {figure['value']:g} {figure['unit']} | {target} | {figure['detail']} |"
        )
    return "\n".join(lines) + "\n"


def main() -> int:
    head, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, tail = rest.partition(END)
    PAGE.write_text(head + BEGIN + table(json.loads(FIGURES.read_text())["figures"]) + END + tail)
    return 0


if __name__ == "__main__":
    sys.exit(main())
