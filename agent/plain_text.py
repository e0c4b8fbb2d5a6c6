"""Text of other people's making, made fit for a message, a terminal or a file in UTF-8."""

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def plain_text(text: str, *, longest: int | None = None) -> str:
    """``text`` on one line, cut to ``longest`` characters, with a replacement character for each that
    could move a cursor, colour a screen or (half of a surrogate pair) not be encoded at all."""
    cleaned = "".join(char if char.isprintable() else _REPLACEMENT for char in text)
    return cleaned if longest is None or len(cleaned) <= longest else cleaned[: longest - 1] + "…"
