"""A copied card is told from this device's own past by the states that are said in its name."""

import pytest

from agent.telemetry import wire
from agent.telemetry.identity import next_session
from agent.telemetry.messages import DeviceState, Envelope, State, schema_name
from agent.telemetry.rivals import Rivals

BEFORE, OWN, AFTER = (next_session(ms, None, bytes(10)) for ms in (1000, 2000, 3000))


def said(session: str, *, state: DeviceState = "online", connection: int = 1, seq: int = 0) -> bytes:
    return wire.encode(
        Envelope(
            schema=schema_name("state"),
            device="cam-1",
            site="lab",
            session=session,
            seq=seq,
            sent_at="2026-01-01T00:00:00Z",
            boot_id="",
            clock_synced=False,
            historical=False,
            body=State(state=state, connection=connection),
        )
    )


def test_what_an_earlier_run_left_is_no_rivals() -> None:
    rivals = Rivals(OWN)
    assert not rivals.heard(said(BEFORE))  # retained, when this run begins
    assert not rivals.heard(said(OWN))
    assert not rivals.heard(said(BEFORE, state="lost"))  # a Will the broker says late
    assert not rivals.heard(said(BEFORE, seq=7))  # out of this device's own outbox


@pytest.mark.parametrize("state", ["online", "lost", "stopped"])
def test_a_later_session_that_speaks_after_this_one_is_a_rivals(state: DeviceState) -> None:
    rivals = Rivals(OWN)
    assert not rivals.heard(said(OWN))
    assert rivals.heard(said(AFTER, state=state))


@pytest.mark.parametrize("state", ["online", "lost", "stopped"])
def test_a_reflashed_card_without_a_clock_finds_its_own_past_later_than_itself(state: DeviceState) -> None:
    rivals = Rivals(OWN)
    assert not rivals.heard(said(AFTER, state=state, connection=3))  # retained, when this run begins
    assert not rivals.heard(said(OWN))
    assert rivals.heard(said(AFTER, connection=4))  # but whoever speaks now is not the past


def test_an_earlier_session_that_speaks_after_this_one_is_a_rivals() -> None:
    rivals = Rivals(OWN)
    assert not rivals.heard(said(OWN))
    assert rivals.heard(said(BEFORE, connection=2))


def test_each_connection_of_a_rival_counts_once() -> None:
    rivals = Rivals(OWN)
    rivals.heard(said(OWN))
    heard = [rivals.heard(said(AFTER, connection=number)) for number in (1, 1, 2, 2, 3)]
    assert heard == [True, False, True, False, True]


@pytest.mark.parametrize("payload", [b"", b"{}", b"\xff", b'{"schema": "litewatch.state/2"}'])
def test_what_cannot_be_read_shows_nothing(payload: bytes) -> None:
    assert not Rivals(OWN).heard(payload)
