"""From the broker to the store and back: receive, judge, commit, and only then acknowledge.

Each batch is whatever has gathered while the last commit ran: batches grow under load, and an idle
collector does not wait. Should the database refuse, the batch is kept and tried again; nothing was
acknowledged, so the broker and the devices keep the rest.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from agent.errors import MachineError
from agent.telemetry.messages import Alarm, Envelope, State
from tools.collector.admission import admit
from tools.collector.inbox import MESSAGES, Inbound
from tools.collector.store import Arrival, Receipt, Store
from tools.collector.subscriber import Event, Subscriber

BATCH = 500
QUIET_S = 10.0
"""Refused payloads are told of at most this often."""
REFRESH_S = 600.0
_POLL_S = 0.2


@dataclass(kw_only=True, slots=True)
class Totals:
    """Since the collector began."""

    stored: int = 0
    duplicates: int = 0
    quarantined: int = 0


class Collector:
    """Collects what ``subscriber`` receives into ``store``; ``on_event`` hears what is worth a line."""

    def __init__(self, store: Store, subscriber: Subscriber, *, on_event: Callable[[Event], None]) -> None:
        self._store = store
        self._subscriber = subscriber
        self._on_event = on_event
        self._totals = Totals()
        self._untold = 0
        self._told_at = -QUIET_S

    def run(self, stop: threading.Event) -> Totals:
        """Collect until ``stop`` is set; what has arrived by then is still stored."""
        self._subscriber.open()
        try:
            refresh_at = time.monotonic() + REFRESH_S
            while not stop.is_set():
                self._work(self._subscriber.take(BATCH), stop)
                if time.monotonic() >= refresh_at:
                    self._subscriber.refresh()
                    refresh_at = time.monotonic() + REFRESH_S
            # What the inbox held, and not what keeps coming.
            for _ in range(-(-MESSAGES // BATCH)):
                self._work(self._subscriber.take(BATCH, timeout_s=0), stop)
        finally:
            self._subscriber.close()
        return self._totals

    def _work(self, batch: list[Inbound], stop: threading.Event) -> None:
        if not batch:
            return
        judged = [admit(m.topic, m.payload, received_at=m.received_at, replayed=m.retained) for m in batch]
        receipt = self._commit([arrival for arrival in judged if arrival is not None], stop)
        if receipt is None:
            return
        self._subscriber.confirm(batch)
        for due in receipt.acks:
            self._subscriber.acknowledge(due)
        self._tell(receipt)

    def _commit(self, arrivals: list[Arrival], stop: threading.Event) -> Receipt | None:
        """Store a batch, however long the database refuses. None: told to stop before it agreed."""
        wait_s = 0.5
        while True:
            try:
                return self._store.ingest(arrivals)
            except MachineError as error:
                self._on_event(Event(event="database", text=f"{error}; trying again"))
            # Not ``stop.wait``: its lock would be ours when a signal handler sets the event.
            until = time.monotonic() + wait_s
            while time.monotonic() < until:
                if stop.is_set():
                    return None
                time.sleep(_POLL_S)
            wait_s = min(2 * wait_s, 30.0)

    def _tell(self, receipt: Receipt) -> None:
        self._totals.stored += len(receipt.stored)
        self._totals.duplicates += receipt.duplicates
        self._totals.quarantined += len(receipt.refused)
        for message in receipt.stored:
            text = _notable(message.envelope)
            if text and not message.replayed:
                envelope = message.envelope
                self._on_event(
                    Event(event=message.kind, text=text, site=envelope.site, device=envelope.device)
                )
        self._untold += len(receipt.refused)
        if receipt.refused and time.monotonic() >= self._told_at + QUIET_S:
            last = receipt.refused[-1]
            text = f"{self._untold} refused, the last from {last.topic}: {last.reason}"
            self._on_event(Event(event="quarantine", text=text))
            self._untold, self._told_at = 0, time.monotonic()


def _notable(envelope: Envelope) -> str:
    body = envelope.body
    if isinstance(body, State):
        return "; ".join((body.state, *body.problems))
    if isinstance(body, Alarm):
        return f"{body.alarm} {body.status} ({body.severity}): {body.summary}"
    return ""
