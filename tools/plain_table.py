"""A table of names and texts that came from a file of anybody's making."""

from collections.abc import Sequence

from agent.plain_text import plain_text
from tools.console import table


def plain_table(title: str, rows: Sequence[tuple[str, str]]) -> None:
    """Print two columns; neither markup nor control characters of the texts pass."""
    from rich.markup import escape

    def plain(text: str) -> str:
        return escape(plain_text(text))

    table(plain(title), ("", ""), [(name, plain(text)) for name, text in rows])
