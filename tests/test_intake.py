"""What is sent to a device is bounded before anybody reads it; what its link says of itself is not."""

from agent.telemetry.intake import (
    BYTES,
    LABEL_BYTES_AT_ONCE,
    LABEL_BYTES_PER_S,
    OVERHEAD_BYTES,
    Intake,
    Verdict,
    size_of,
)
from agent.telemetry.ports import Answered, Closed, Connected, Event, Received

LABEL, ACK = "litewatch/1/lab/cam-1/label", "litewatch/1/lab/cam-1/ack"
KEPT, TOO_FAST, NO_ROOM = Verdict.KEPT, Verdict.TOO_FAST, Verdict.NO_ROOM


def message(topic: str, size: int) -> Received:
    """One that costs exactly ``size`` while it waits."""
    return Received(
        connection=1, topic=topic, payload=b"x" * (size - OVERHEAD_BYTES - len(topic)), retained=False
    )


def make(now: float = 0.0) -> Intake:
    return Intake(label_topic=LABEL, now=now)


def test_what_is_kept_comes_out_in_order() -> None:
    intake = make()
    events: list[Event] = [Connected(connection=1, in_flight=20), message(LABEL, 2000), message(ACK, 2000)]
    assert [intake.put(event, 0.0) for event in events] == [KEPT] * 3
    assert bool(intake)
    assert [intake.take() for _ in range(4)] == [*events, None]
    assert not intake


def test_labels_that_come_too_fast_are_dropped_and_the_rate_comes_back() -> None:
    intake = make(100.0)
    size = LABEL_BYTES_AT_ONCE // 8
    assert [intake.put(message(LABEL, size), 100.0) for _ in range(9)] == [KEPT] * 8 + [TOO_FAST]
    again = 100.0 + size / LABEL_BYTES_PER_S
    assert intake.put(message(LABEL, size), again - 0.01) is TOO_FAST
    assert intake.put(message(LABEL, size), again) is KEPT
    assert intake.put(message(ACK, size), again) is KEPT


def test_what_waits_is_bounded_by_bytes_and_labels_do_not_crowd_out_the_rest() -> None:
    intake, now = make(), 0.0
    size = BYTES // 64
    for _ in range(64):  # slowly enough for the rate, but nobody takes them
        now += size / LABEL_BYTES_PER_S
        assert intake.put(message(LABEL, size), now) is KEPT
    assert intake.put(message(LABEL, size), now + 1000.0) is NO_ROOM
    assert [intake.put(message(ACK, size), now) for _ in range(65)] == [KEPT] * 64 + [NO_ROOM]
    assert intake.take() == message(LABEL, size)
    assert intake.put(message(LABEL, size), now + 1000.0) is KEPT
    assert intake.put(message(ACK, size), now) is NO_ROOM


def test_many_small_messages_are_bounded_as_well() -> None:
    intake = make()
    kept = sum(intake.put(message(ACK, OVERHEAD_BYTES + 50), 0.0) is KEPT for _ in range(10_000))
    assert kept == BYTES // (OVERHEAD_BYTES + 50)


def test_what_a_sender_adds_to_a_message_counts() -> None:
    plain = message(ACK, 2000)
    laden = Received(
        connection=1,
        topic=ACK,
        payload=plain.payload,
        retained=False,
        response_topic="r" * 300,
        correlation=b"c" * 700,
    )
    assert (size_of(plain), size_of(laden)) == (2000, 3000)


def test_the_links_own_word_always_comes_through() -> None:
    intake = make()
    while intake.put(message(ACK, 100_000), 0.0) is KEPT:
        pass
    own: list[Event] = [
        Answered(connection=1, token=7, outcome="taken"),
        Closed(connection=1, problem="gone"),
    ]
    assert [intake.put(event, 0.0) for event in own] == [KEPT, KEPT]
