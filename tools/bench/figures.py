"""A figure: what was measured, in which unit, against which target, and whether it was met."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from agent.errors import InputError
from tools.console import table


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """``bound`` says on which side of ``target`` it must lie; a figure without target informs."""

    name: str
    value: float
    unit: str
    target: float | None = None
    bound: Literal["at most", "at least"] = "at most"
    detail: str = ""

    @property
    def met(self) -> bool | None:
        if self.target is None:
            return None
        return self.value <= self.target if self.bound == "at most" else self.value >= self.target

    def record(self) -> dict[str, object]:
        """The figure as the benches' JSON files hold it."""
        return asdict(self) | {"met": self.met}


def write(path: Path, figures: Sequence[Figure], **context: object) -> None:
    """Write ``{"figures": […], **context}``."""
    document = {"figures": [figure.record() for figure in figures], **context}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(document, indent=2) + "\n")
    except OSError as error:
        raise InputError(f"--out: {path} cannot be written: {error.strerror}") from None


def show(title: str, figures: Sequence[Figure]) -> None:
    """Print the figures; a missed one is said to be missed."""
    table(title, ("figure", "value", "target", "", "detail"), [_row(figure) for figure in figures])


def _row(figure: Figure) -> tuple[str, ...]:
    met = {True: "[green]met[/green]", False: "[bold red]missed[/bold red]", None: ""}[figure.met]
    sign = "≤" if figure.bound == "at most" else "≥"
    target = f"{sign} {figure.target:g}" if figure.target is not None else "–"
    return figure.name, f"{figure.value:.4g} {figure.unit}", target, met, figure.detail
