"""Envelopes around bodies: who writes, from which session, and when it was made and sent.

Messages of earlier sessions that waited in the outbox are sent under the device's present name.
"""

import json
from dataclasses import dataclass, replace

from agent.telemetry import wire
from agent.telemetry.clock import Clock, format_utc, parse_utc
from agent.telemetry.messages import (
    UNSEQUENCED,
    Body,
    Envelope,
    PreprocessInUse,
    Reply,
    kind_of,
    schema_name,
    topic,
)
from agent.telemetry.ports import Publication, Stored

HISTORICAL_S = 600.0
"""A message sent this long after it was made is marked as historical."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Letterhead:
    """The sender of every message."""

    device: str
    site: str
    session: str
    clock: Clock

    def publication(
        self, body: Body, *, retain: bool, preprocess: PreprocessInUse | None = None, floor: int = 0
    ) -> Publication:
        """A message outside the outbox, made and sent now."""
        kind, now = kind_of(body), format_utc(self.clock.wall())
        envelope = self._envelope(kind, now, preprocess, floor)
        return Publication(
            topic=self.topic(kind), payload=wire.encode_around(envelope, wire.body_json(body)), retain=retain
        )

    def answer(self, reply: Reply, *, to: str, correlation: bytes | None) -> Publication:
        """A reply for the topic on which whoever asked waits for it. Raises WireError."""
        made = self.publication(reply, retain=False)
        return replace(made, topic=to, correlation=correlation)

    def stored(self, row: Stored, *, floor: int) -> Publication:
        """A message of the outbox; never retained, for an old state must not replace the newest."""
        envelope = Envelope(
            schema=schema_name(row.kind),
            device=self.device,
            site=self.site,
            session=row.session,
            seq=row.seq,
            sent_at=format_utc(self.clock.wall()),
            created_at=row.created_at,
            boot_id=row.boot_id,
            clock_synced=row.clock_synced,
            historical=self.historical(row),
            floor=floor,
            preprocess=None if row.preprocess is None else preprocess_from_json(row.preprocess),
            body=None,
        )
        return Publication(topic=self.topic(row.kind), payload=wire.encode_around(envelope, row.body))

    def topic(self, kind: str) -> str:
        return topic(self.site, self.device, kind)

    def historical(self, row: Stored) -> bool:
        """Whether ``row`` was made long ago, or before a boot since which the clock has lost its time."""
        age_s = self.age_s(row)
        return age_s > HISTORICAL_S or (age_s < 0 and row.boot_id != self.clock.boot_id)

    def age_s(self, row: Stored) -> float:
        """Seconds since ``row`` was made; by wall time only when the machine was rebooted since."""
        if row.boot_id == self.clock.boot_id:
            return self.clock.monotonic() - row.created_s
        return self.clock.wall() - parse_utc(row.created_at)

    def _envelope(self, kind: str, now: str, preprocess: PreprocessInUse | None, floor: int) -> Envelope:
        return Envelope(
            schema=schema_name(kind),
            device=self.device,
            site=self.site,
            session=self.session,
            seq=UNSEQUENCED,
            sent_at=now,
            created_at=now,
            boot_id=self.clock.boot_id,
            clock_synced=self.clock.synced(),
            historical=False,
            floor=floor,
            preprocess=preprocess,
            body=None,
        )


def preprocess_to_json(preprocess: PreprocessInUse) -> str:
    return json.dumps({"fingerprint": preprocess.fingerprint, "differs": list(preprocess.differs)})


def preprocess_from_json(text: str) -> PreprocessInUse:
    fields = json.loads(text)
    return PreprocessInUse(fingerprint=fields["fingerprint"], differs=tuple(fields["differs"]))
