"""The frame buffer: order, and every item accounted for."""

import threading
from collections import deque

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.buffer import BufferStats, FrameBuffer
from agent.contracts import Frame, Skipped

PROMPT_S = 5.0


def frame(number: int) -> Frame:
    return Frame(payload=np.zeros(1), captured_ns=number, name=str(number))


@given(capacity=st.integers(1, 5), puts=st.lists(st.booleans(), max_size=60))
def test_keeps_the_newest_in_order_and_counts_the_rest(capacity: int, puts: list[bool]) -> None:
    buffer = FrameBuffer(capacity)
    model: deque[str] = deque(maxlen=capacity)
    received = taken = dropped = 0
    for put in puts:
        if put:
            dropped += len(model) == capacity
            model.append(str(received))
            assert buffer.put(frame(received))
            received += 1
        else:
            item = buffer.get(0)
            assert (item.name if item else None) == (model.popleft() if model else None)
            taken += item is not None
        stats = BufferStats(received=received, taken=taken, dropped=dropped, left=len(model))
        assert buffer.stats == stats
        assert received == taken + dropped + stats.left


@given(capacity=st.integers(1, 4), count=st.integers(0, 200))
def test_a_lossless_buffer_hands_everything_over_in_order(capacity: int, count: int) -> None:
    buffer = FrameBuffer(capacity, lossless=True)

    def produce() -> None:
        for number in range(count):
            buffer.put(frame(number))
        buffer.finish()

    producer = threading.Thread(target=produce, daemon=True)
    producer.start()
    names = []
    while not buffer.ended:
        item = buffer.get(PROMPT_S)
        assert buffer.stats.left <= capacity
        if item:
            names.append(item.name)
    producer.join(PROMPT_S)
    assert names == [str(number) for number in range(count)]
    assert buffer.stats == BufferStats(received=count, taken=count, dropped=0, left=0)


def test_skipped_inputs_pass_through() -> None:
    buffer = FrameBuffer(2)
    skipped = Skipped(name="a.jpg", reason="gone")
    buffer.put(skipped)
    assert buffer.get(0) is skipped


def test_what_is_left_can_be_got_after_the_end() -> None:
    buffer = FrameBuffer(3)
    buffer.put(frame(0))
    buffer.finish()
    assert not buffer.ended
    item = buffer.get(PROMPT_S)
    assert item is not None and item.name == "0"
    assert buffer.ended
    assert buffer.get(PROMPT_S) is None


def test_finishing_wakes_a_waiting_reader() -> None:
    buffer = FrameBuffer(1)
    got: list[object] = []
    reader = threading.Thread(target=lambda: got.append(buffer.get(60)), daemon=True)
    reader.start()
    buffer.finish()
    reader.join(PROMPT_S)
    assert got == [None]


def test_closing_frees_a_waiting_source_and_takes_nothing_more() -> None:
    buffer = FrameBuffer(1, lossless=True)
    assert buffer.put(frame(0))
    answers: list[bool] = []
    source = threading.Thread(target=lambda: answers.append(buffer.put(frame(1))), daemon=True)
    source.start()
    buffer.close()
    source.join(PROMPT_S)
    assert answers == [False]
    assert buffer.ended
    assert buffer.get(PROMPT_S) is None
    assert buffer.stats == BufferStats(received=1, taken=0, dropped=0, left=1)


def test_a_buffer_holds_something() -> None:
    with pytest.raises(ValueError, match="at least 1, got 0"):
        FrameBuffer(0)


def skipped(number: int) -> Skipped:
    return Skipped(name=str(number), reason="damaged")


def test_what_was_skipped_never_takes_a_frames_place() -> None:
    buffer = FrameBuffer(1)
    waiting = frame(0)
    buffer.put(waiting)
    assert buffer.put(skipped(1))
    assert buffer.stats == BufferStats(received=2, taken=0, dropped=1, left=1)
    assert buffer.get(0) is waiting
    assert buffer.put(skipped(2))
    newer = skipped(3)
    buffer.put(newer)
    assert buffer.get(0) is newer
    assert buffer.stats == BufferStats(received=4, taken=2, dropped=2, left=0)


def test_a_frame_takes_the_place_of_what_was_skipped_first() -> None:
    buffer = FrameBuffer(3)
    for item in (frame(0), skipped(1), frame(2), frame(3), frame(4)):
        buffer.put(item)
    names = [item.name for item in iter(lambda: buffer.get(0), None)]
    assert names == ["2", "3", "4"]
    assert buffer.stats == BufferStats(received=5, taken=3, dropped=2, left=0)


@given(capacity=st.integers(1, 4), puts=st.lists(st.sampled_from(["frame", "skipped", "get"]), max_size=60))
def test_mixed_items_are_all_accounted_for_and_no_frame_is_lost_to_another_kind(
    capacity: int, puts: list[str]
) -> None:
    buffer = FrameBuffer(capacity)
    frames: deque[int] = deque(maxlen=capacity)
    received = taken = 0
    for number, put in enumerate(puts):
        if put == "get":
            item = buffer.get(0)
            taken += item is not None
            if isinstance(item, Frame):
                assert item.captured_ns == frames.popleft()
        else:
            received += 1
            assert buffer.put(frame(number) if put == "frame" else skipped(number))
            if put == "frame":
                frames.append(number)
        stats = buffer.stats
        assert (stats.received, stats.taken) == (received, taken)
        assert received == taken + stats.dropped + stats.left
        assert len(frames) <= stats.left <= capacity
