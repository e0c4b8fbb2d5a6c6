"""A table of names and texts that came from a file of anybody's making."""

from collections.abc import Sequence

from tools.console import table


def plain_table(title: str, rows: Sequence[tuple[str, str]]) -> None:
    """Print two columns; neither markup nor control characters of the texts pass."""
    from rich.markup import escape

    def plain(text: str) -> str:
        return escape("".join(letter if letter.isprintable() else "?" for letter in text))

    table(plain(title), ("", ""), [(name, plain(text)) for name, text in rows])
