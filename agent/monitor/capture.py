"""Which frames are worth keeping, by the options of section ``capture``. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class CaptureOptions:
    """Section ``capture``: pictures leave the device only with ``enabled``."""

    enabled: bool = False

    def problems(self) -> list[str]:
        return []
