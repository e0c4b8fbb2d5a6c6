"""How the litewatch command speaks: tables and progress bars for people, JSON for machines.

Rich is imported only when a terminal (or a table) asks for it.
"""

import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import click

from agent.errors import LitewatchError
from agent.plain_text import plain_text

if TYPE_CHECKING:
    from rich.table import Table

T = TypeVar("T")


class ReaderGoneError(LitewatchError):
    """Whoever read our output has left (``| head``): a reason to end, not an error."""

    exit_code = 0


def emit_json(value: Any) -> None:
    """Print one JSON document to standard output. JSON has neither NaN nor infinity: they become null."""
    click.echo(json.dumps(_finite(value), indent=2, ensure_ascii=False, allow_nan=False))


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def say(message: str) -> None:
    """A line for people, on standard error, so that standard output stays the result's."""
    click.echo("\n".join(map(plain_text, message.splitlines())), err=True)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table; cells may carry rich markup such as ``[red]…[/red]``."""
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(drawn_table(title, columns, rows))


def drawn_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> "Table":
    """The table that ``table`` prints, for a display that is drawn again and again."""
    from rich.table import Table

    drawn = Table(title=title, title_justify="left", header_style="bold")
    for column in columns:
        drawn.add_column(column)
    for row in rows:
        drawn.add_row(*row)
    return drawn


@contextmanager
def live(draw: Callable[[], "Table"]) -> Iterator[Callable[[], None]]:
    """Show ``draw()`` in place on standard error; the function given draws it anew. Silent when
    standard error is no terminal."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.live import Live

    with Live(draw(), console=Console(stderr=True), auto_refresh=False, transient=True) as display:
        yield lambda: display.update(draw(), refresh=True)


def progress(items: Iterable[T], *, total: int | None, label: str) -> Iterator[T]:
    """Yield ``items`` behind a progress bar on standard error; silent when it is no terminal."""
    if not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(items, description=label, total=total, console=Console(stderr=True), transient=True)
