"""How large an image may become, so that a small file or a strange aspect cannot exhaust memory."""

from agent.errors import FrameError

MAX_PIXELS = 50_000_000
"""Default for encoded files (150 MB as RGB) and the limit for every intermediate image."""
MAX_SIDE = 16_384
"""The largest width or height a step may ask for."""


def require_pixels(step: str, height: int, width: int) -> None:
    """Raises FrameError when ``step`` would make an image larger than ``MAX_PIXELS``."""
    if height * width > MAX_PIXELS:
        raise FrameError(f"{step}: would make an image of {width}x{height} pixels, more than {MAX_PIXELS:,}")


def size_problems(width: int, height: int) -> list[str]:
    """What is wrong with a size asked for in a spec; nothing when it can be used."""
    sides = (("width", width), ("height", height))
    found = [
        f"{name}: expected 1 to {MAX_SIDE}, got {side}" for name, side in sides if not 1 <= side <= MAX_SIDE
    ]
    if not found and width * height > MAX_PIXELS:
        found.append(f"width: {width}x{height} are more than {MAX_PIXELS:,} pixels")
    return found
