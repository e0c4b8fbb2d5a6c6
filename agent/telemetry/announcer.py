"""Keeps what Home Assistant is told in step with agent.yaml: announced where it is wanted, taken back where
it no longer is, also when that was set while the device was off.
"""

from typing import Protocol

from agent.telemetry.homeassistant import BIRTH_TOPIC, removal
from agent.telemetry.ports import Publication

CALM_LOOKS = 2
"""Looks in a row with a connection, after which a removal has been sent for certain."""


class Announcing(Protocol):
    """The part of ``Telemetry`` that is needed here."""

    def set_announcement(self, publication: Publication | None, *, birth_topic: str | None) -> None: ...


class Memory(Protocol):
    """Remembers over restarts on which topic the device was announced."""

    def read(self) -> str | None: ...

    def write(self, topic: str | None) -> None: ...


class Announcer:
    """``wanted`` is the announcement as agent.yaml wants it, None where it wants none."""

    def __init__(self, *, telemetry: Announcing, memory: Memory, wanted: Publication | None) -> None:
        self._telemetry = telemetry
        self._memory = memory
        self._wanted = wanted
        self._looks = 0
        earlier = memory.read()
        self._removing = earlier is not None and (wanted is None or wanted.topic != earlier)
        if earlier is not None and self._removing:
            telemetry.set_announcement(removal(earlier), birth_topic=None)
        else:
            self._announce()

    def look(self, *, connected: bool) -> None:
        """Called every few seconds: goes on once a removal has been sent."""
        if not self._removing:
            return
        self._looks = self._looks + 1 if connected else 0
        if self._looks >= CALM_LOOKS:
            self._removing = False
            self._memory.write(None)
            self._announce()

    def _announce(self) -> None:
        if self._wanted is None:
            self._telemetry.set_announcement(None, birth_topic=None)
            return
        # Remembered first: a removal too many is harmless, a ghost is not.
        self._memory.write(self._wanted.topic)
        self._telemetry.set_announcement(self._wanted, birth_topic=BIRTH_TOPIC)
