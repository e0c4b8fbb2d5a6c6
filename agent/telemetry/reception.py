"""What arrives for this device: acks, labels and commands, judged before anybody acts on them.

A command that is malformed, or comes too fast, is refused with a reply; one that the broker had
retained is ignored, for it would be obeyed anew at each connect. Everything else that is wrong is
counted and logged.
"""

import logging
from collections.abc import Callable

from agent.errors import WireError
from agent.telemetry import wire
from agent.telemetry.letterhead import Letterhead
from agent.telemetry.messages import KINDS, Ack
from agent.telemetry.ports import Inbound, Received
from agent.telemetry.rate_limit import RateLimit
from agent.telemetry.sender import Counters

INBOUND = tuple(kind for kind, about in KINDS.items() if about.inbound)
COMMANDS_AT_ONCE = 20
COMMANDS_PER_S = 0.5
"""A reply may cost the card a commit; people and scripts do not type faster."""
TOO_FAST = f"too many commands: at most {COMMANDS_AT_ONCE} at once and {COMMANDS_PER_S:g} a second"

_log = logging.getLogger(__name__)


class Reception:
    """``deliver`` takes labels and commands, ``acknowledged`` an ack (False: it cannot be meant),
    ``refuse`` a command that cannot be one, with its problems."""

    def __init__(
        self,
        *,
        letterhead: Letterhead,
        counters: Counters,
        deliver: Callable[[Inbound], None],
        acknowledged: Callable[[Ack], bool],
        refuse: Callable[[Received, tuple[str, ...]], None],
    ) -> None:
        self._letterhead = letterhead
        self._counters = counters
        self._deliver = deliver
        self._acknowledged = acknowledged
        self._refuse = refuse
        self._now = letterhead.clock.monotonic
        self._commands = RateLimit(per_s=COMMANDS_PER_S, burst=COMMANDS_AT_ONCE, now=self._now())
        self._too_fast = False

    def take(self, event: Received) -> None:
        """Judge one message and hand it on."""
        kind = event.topic.rpartition("/")[2]
        try:
            if kind not in INBOUND:
                raise WireError("topic: no message for a device")
            if event.retained:
                raise WireError(f"{kind}: retained messages to a device are ignored")
            if kind == "command":
                self._command(event)
            else:
                self._other(event, kind)
        except WireError as error:
            self._counters.inbound_refused += 1
            _log.info("ignored a message on %s: %s", event.topic, error)

    def _command(self, event: Received) -> None:
        if not self._commands.take(self._now()):
            self._counters.commands_limited += 1
            if not self._too_fast:  # once: answering each would be a flood of our own
                self._too_fast = True
                self._refuse(event, (TOO_FAST,))
            return
        self._too_fast = False
        try:
            inbound = _inbound(event, "command")
            self._check_address(inbound)
        except WireError as error:
            self._refuse(event, error.problems)
            raise
        self._deliver(inbound)

    def _check_address(self, inbound: Inbound) -> None:
        """Raises WireError for a command that was meant for another device than its topic's."""
        envelope, own = inbound.envelope, self._letterhead
        named = (("device", envelope.device, own.device), ("site", envelope.site, own.site))
        problems = [
            f"{name}: the envelope says {said!r}, this is {is_!r}" for name, said, is_ in named if said != is_
        ]
        if problems:
            raise WireError(*problems)

    def _other(self, event: Received, kind: str) -> None:
        inbound = _inbound(event, kind)
        if not isinstance(inbound.body, Ack):
            self._deliver(inbound)
        elif not self._acknowledged(inbound.body):
            raise WireError(f"ack: upto {inbound.body.upto} was never sent")


def _inbound(event: Received, kind: str) -> Inbound:
    envelope = wire.decode(event.payload, kind=kind)
    return Inbound(
        envelope=envelope,
        reply_to=event.response_topic,
        correlation=event.correlation,
        size=len(event.payload),
    )
