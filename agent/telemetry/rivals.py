"""Whether another device uses this one's identity: a copied card, found by the states it leaves. Pure.

A broker may say that another client took the connection over (MQTT 5, 0x8E); some never do. But each
run of an agent says its own session on the topic ``state``, and a device that hears there what it
did not say is not alone.
"""

from agent.errors import WireError
from agent.telemetry import wire
from agent.telemetry.messages import UNSEQUENCED, State


class Rivals:
    """``session`` is this run's own."""

    def __init__(self, session: str) -> None:
        self._session = session
        self._spoke = False
        self._last: tuple[str, int] | None = None

    def heard(self, payload: bytes) -> bool:
        """Whether ``payload``, which came on this device's own topic ``state``, shows a rival, and one
        that has connected anew since the last."""
        try:
            envelope = wire.decode(payload, kind="state")
        except WireError:
            return False
        body, session = envelope.body, envelope.session
        if envelope.seq != UNSEQUENCED:  # of an earlier run, out of this device's own outbox
            return False
        if session == self._session:
            self._spoke = True
            return False
        if not self._spoke:
            # Retained, from before this run said anything: an earlier run's word, whatever it says. That
            # its session sorts later proves nothing, for a reflashed card remembers no session and may
            # begin without a clock. A rival that lives says something again.
            return False
        assert isinstance(body, State)
        # What the broker says late of an earlier run's death is no rival's. Sessions sort by time.
        if session < self._session and body.state == "lost":
            return False
        seen, self._last = self._last, (session, body.connection)
        return seen != self._last
