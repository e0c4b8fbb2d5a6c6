"""Text from the network on a terminal."""


def printable(text: str) -> str:
    """``text`` on one line, without the characters that would move the cursor or colour the screen."""
    return "".join(char if char.isprintable() else "·" for char in text)
