"""Which stored messages to publish next. Pure: ids, tokens and times in, decisions out.

Delivery goes back to the oldest unconfirmed message whenever a connection is new or confirmation is
overdue, much as TCP does. How much may be unconfirmed is limited; after silence it shrinks to a
probe, so that an absent collector is not sent the same backlog again and again, and it doubles
with each confirmation. Messages younger than everything sent so far never wait behind a backlog.
"""

import math
from collections import deque
from dataclasses import dataclass
from typing import Literal

from agent.telemetry.ports import Stored

WIDTH = 1000
"""Most unconfirmed messages of a backlog; a default broker queues as many for an absent reader."""
PROBE = 16
"""As many are sent again after silence."""
DOUBLINGS = 3
"""The timeout doubles so many times while nobody answers."""
UNHEARD_S = 5.0
"""When the broker says that nobody subscribes, a probe is due this soon (doubling as above)."""
QUICK_S = 2.0
"""An ack that leaves out what was sent this long ago says that it was lost on the way; and who listens
to a message says that another of its kind, which nobody heard this long before, is worth sending again."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Ask:
    """Read up to ``limit`` messages with an id above ``after_id``.

    ``fresh``: past a backlog that waits; ``again``: one message that is repeated.
    """

    after_id: int
    limit: int
    fresh: bool = False
    again: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class _Sent:
    session: str
    seq: int
    at: float


class SendWindow:
    """``now`` is monotonic seconds. ``confirm`` says whose word removes a message."""

    def __init__(self, *, confirm: Literal["collector", "broker"], timeout_s: float) -> None:
        self._confirm = confirm
        self._timeout_s = timeout_s
        self._width = WIDTH
        self._silences = 0
        self._progress_at = 0.0
        self._overdue = False
        self._unheard: dict[str, float] = {}  # kind: when the last one that nobody heard was sent
        self._cursor = 0
        self._newest = 0
        self._in_flight_limit = 1
        self._in_flight: dict[int, tuple[Stored, float]] = {}
        self._outstanding: dict[int, _Sent] = {}  # oldest first
        self._again: deque[int] = deque()

    @property
    def in_flight(self) -> int:
        """Publications the broker has not answered."""
        return len(self._in_flight)

    @property
    def unconfirmed(self) -> int:
        """Messages sent and waiting for a word that removes them."""
        return len(self._outstanding)

    def begin(self, *, newest: int, in_flight: int) -> None:
        """A connection stands; ``newest`` is the outbox's last id, ``in_flight`` the broker's limit."""
        self._in_flight_limit = in_flight
        self._in_flight.clear()
        self._newest = newest
        self._go_back()

    def ask(self, others: int = 0, *, backlog: bool = True) -> Ask | None:
        """What to read next; None when the broker must answer first (``others``: its other debts).

        Without ``backlog`` only what is fresh: the rest has used up its share of the line for now.
        """
        free = self._in_flight_limit - len(self._in_flight) - others
        if free <= 0:
            return None
        if self._again:
            return Ask(after_id=self._again.popleft() - 1, limit=1, again=True)
        room = self._width - len(self._outstanding)
        if room > 0 and backlog:
            return Ask(after_id=self._cursor, limit=min(free, room))
        return Ask(after_id=max(self._cursor, self._newest), limit=free, fresh=True)

    def passes(self, row: Stored, ask: Ask) -> bool:
        """Whether ``row`` was sent already and is passed over."""
        if row.id not in self._outstanding:
            return False
        self._pass(row.id, ask)
        return True

    def sent(self, row: Stored, token: int, ask: Ask, now: float) -> None:
        """``row`` went out under ``token``."""
        self._in_flight[token] = (row, now)
        self._outstanding[row.id] = _Sent(session=row.session, seq=row.seq, at=now)
        self._newest = max(self._newest, row.id)
        self._pass(row.id, ask)

    def answered(self, token: int, outcome: Literal["taken", "unheard", "refused"]) -> int | None:
        """The broker's word; the id of the message that it removes, if it does."""
        if token not in self._in_flight:
            return None
        row, at = self._in_flight.pop(token)
        if outcome == "unheard":
            # Until everything is sent anew: somebody may listen to the next message, not to this one.
            self._unheard[row.kind] = max(at, self._unheard.get(row.kind, at))
        removed = None
        if self._confirm == "broker" and outcome == "taken":
            removed = row.id
            self._outstanding.pop(row.id, None)
            self._progress()
        if outcome == "taken" and at >= self._unheard.get(row.kind, math.inf) + QUICK_S:
            self._overdue = True  # somebody listens by now, who has not heard what went before
        return removed

    def acknowledged(self, session: str, upto: int, *, removed: int, now: float) -> None:
        """The collector's word, which removed so many messages from the outbox.

        One that removes nothing, while the message after it was sent long ago, says that it was lost.
        """
        self._outstanding = {
            id_: sent for id_, sent in self._outstanding.items() if sent.session != session or sent.seq > upto
        }
        if removed:
            self._progress()
            self._progress_at = now
        else:
            missing = self._find(session, upto + 1)
            self._overdue = missing is not None and now - self._outstanding[missing].at >= QUICK_S

    def send_again(self, session: str, seq: int) -> None:
        """Repeat one message that was sent, for its envelope would now say something new."""
        id_ = self._find(session, seq)
        if id_ is not None:
            del self._outstanding[id_]
            self._again.append(id_)

    def expire(self, now: float) -> bool:
        """Go back to the oldest message when confirmation is overdue."""
        deadline = self.deadline()
        if deadline is None or now < deadline:
            return False
        self._go_back()
        self._width = PROBE
        self._silences += 1
        return True

    def deadline(self) -> float | None:
        """When confirmation will be overdue; None when nothing is awaited."""
        if not self._outstanding:
            return None
        oldest = next(iter(self._outstanding.values())).at
        if self._overdue:
            return oldest
        # To a collector that starts after its devices, waiting the whole timeout would be long.
        patience_s = min(self._timeout_s, UNHEARD_S) if self._unheard else self._timeout_s
        # A fresh message is confirmed only after the backlog before it: while that moves, nothing is late.
        return max(oldest, self._progress_at) + patience_s * 2.0 ** min(self._silences, DOUBLINGS)

    def _find(self, session: str, seq: int) -> int | None:
        for id_, sent in self._outstanding.items():
            if (sent.session, sent.seq) == (session, seq):
                return id_
        return None

    def _go_back(self) -> None:
        self._cursor, self._overdue = 0, False
        self._unheard.clear()
        self._outstanding.clear()
        self._again.clear()

    def _progress(self) -> None:
        self._silences, self._overdue = 0, False
        self._width = min(WIDTH, self._width * 2)

    def _pass(self, id_: int, ask: Ask) -> None:
        if not ask.fresh and not ask.again:
            self._cursor = max(self._cursor, id_)
