"""Is the camera still looking? Frozen, black and stuck pictures. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class PictureOptions:
    """Section ``monitor.picture``."""

    frozen_after_s: float = 10.0
    """Identical pixels for so long from a live source; 0 turns the check off."""

    def problems(self) -> list[str]:
        return []
