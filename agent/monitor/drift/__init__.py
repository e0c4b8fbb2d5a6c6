"""Detectors of change. A new one is one file here and one line in ``KINDS``.

Each is a frozen keyword-only dataclass whose fields are its options in agent.yaml; ``DetectorKind``
says what else it offers.
"""

from typing import Protocol

from agent.contracts import Detector
from agent.monitor.plan import Plan
from agent.monitor.reference import Reference

KINDS = {
    "panel": "agent.monitor.drift.panel:Panel",
    "cusum": "agent.monitor.drift.cusum:Cusum",
    "ecusum": "agent.monitor.drift.ecusum:Ecusum",
}
"""Kind in agent.yaml -> ``module:Class``, imported only when it is chosen."""
DEFAULT = ("panel", "cusum", "ecusum")


class Cache(Protocol):
    """Keeps what took seconds to compute. ``get`` answers None for what it does not have."""

    def get(self, key: str) -> bytes | None: ...

    def put(self, key: str, content: bytes) -> None: ...


class DetectorKind(Protocol):
    """A detector's options."""

    def problems(self) -> list[str]:
        """Options of the right type that make no sense, by name."""
        ...

    def broken_promise(self, plan: Plan) -> tuple[str, ...]:
        """Why its share of the false-alarm promise cannot be kept with these numbers, each with its
        way out; empty when it can."""
        ...

    def make(self, reference: Reference, plan: Plan, cache: Cache) -> Detector:
        """A detector of change against ``reference``; may take seconds the first time."""
        ...
