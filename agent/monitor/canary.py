"""The canary: golden tensors that the live runner must still answer as before. Pure."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class CanaryOptions:
    """Section ``monitor.canary``."""

    interval_s: float = 60.0
    """One golden tensor is run again this often; 0 turns the canary off."""
    inputs: int = 8
    """Golden tensors kept in memory and run in turn."""

    def problems(self) -> list[str]:
        return []
