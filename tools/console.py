"""How the litewatch command speaks: tables and progress bars for people, JSON for machines.

Rich is imported only when a terminal (or a table) asks for it.
"""

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

import click

T = TypeVar("T")


def emit_json(value: Any) -> None:
    """Print one JSON document to standard output."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def say(message: str) -> None:
    """A line for people, on standard error, so that standard output stays the result's."""
    click.echo(message, err=True)


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table; cells may carry rich markup such as ``[red]…[/red]``."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 140)
    drawn = Table(title=title, title_justify="left", header_style="bold")
    for column in columns:
        drawn.add_column(column)
    for row in rows:
        drawn.add_row(*row)
    console.print(drawn)


def progress(items: Iterable[T], *, total: int | None, label: str) -> Iterator[T]:
    """Yield ``items`` behind a progress bar on standard error; silent when it is no terminal."""
    if not sys.stderr.isatty():
        yield from items
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(items, description=label, total=total, console=Console(stderr=True), transient=True)
