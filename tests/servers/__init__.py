"""Servers that the sources' tests read from, and that misbehave when told to."""

from typing import Literal

Behaviour = Literal["well", "close", "hang", "corrupt", "refuse"]
"""``close`` ends what is open now and then is well; the others last until the next one is told."""
