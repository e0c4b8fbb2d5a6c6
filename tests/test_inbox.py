"""What waits for the agent is bounded by number and by size."""

from queue import Empty

import pytest

from agent.telemetry.inbox import BYTES, MESSAGES, Inbox
from agent.telemetry.messages import Command, Envelope, schema_name
from agent.telemetry.ports import Inbound

ENVELOPE = Envelope(
    schema=schema_name("command"),
    device="cam-1",
    site="lab",
    session="operator",
    seq=0,
    sent_at="2026-01-01T00:00:00Z",
    boot_id="",
    clock_synced=False,
    historical=False,
    body=Command(command="pause"),
)


def inbound(size: int) -> Inbound:
    return Inbound(envelope=ENVELOPE, size=size)


def test_no_more_bytes_wait_than_there_is_room_for() -> None:
    inbox, large = Inbox(), BYTES // 4
    assert [inbox.offer(inbound(large)) for _ in range(5)] == [True] * 4 + [False]
    assert inbox.get() == inbound(large)
    assert [inbox.offer(inbound(large)), inbox.offer(inbound(1))] == [True, False]


def test_no_more_messages_wait_than_there_is_room_for() -> None:
    inbox = Inbox()
    assert sum(inbox.offer(inbound(1)) for _ in range(MESSAGES + 10)) == MESSAGES == inbox.qsize()


def test_an_empty_one_says_so() -> None:
    inbox = Inbox()
    assert inbox.empty()
    with pytest.raises(Empty):
        inbox.get(timeout=0.01)
    assert inbox.offer(inbound(1)) and not inbox.empty()
