"""The source thread fills the buffer, and outlives whatever its source does."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest
from broker import eventually

from agent import feeder as feeders
from agent.buffer import FrameBuffer
from agent.contracts import Frame, Skipped
from agent.errors import SourceError
from agent.feeder import Feeder
from agent.sources.directory import Directory


@dataclass
class Flaky:
    """A source that does what its script says, one entry at each opening: frames to deliver, or an
    error to raise."""

    script: list[list[str] | Exception]
    fps: float | None = None
    live: bool = False
    resumes: bool = False
    closed: threading.Event = field(default_factory=threading.Event)

    def open(self) -> "Flaky":
        return self

    def __iter__(self) -> Iterator[Frame | Skipped]:
        step = self.script.pop(0)
        if isinstance(step, Exception):
            raise step
        for name in step:
            yield Frame(payload=b"", captured_ns=0, name=name)
        if self.script:
            raise SourceError("lost")

    def close(self) -> None:
        self.closed.set()


@pytest.mark.parametrize("error", [SourceError("no camera"), RuntimeError("a defect")])
def test_a_source_that_fails_is_opened_again(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeders, "RETRY_FIRST_S", 0.01)
    said: list[str | None] = []
    buffer = FrameBuffer(10)
    feeder = Feeder(Flaky([error, ["a", "b"], ["c"]]), buffer, on_problem=said.append)
    feeder.start()
    eventually(lambda: buffer.stats.received == 3)
    names = [item.name for item in iter(lambda: buffer.get(1.0), None)]
    assert names == ["a", "b", "c"]
    assert buffer.ended
    assert [problem is None for problem in said] == [True, False, True, False, True]
    assert str(error) in str(said[1])
    assert said[3] == "lost"
    feeder.close()


def test_closing_ends_a_source_that_waits_for_room() -> None:
    source = Flaky([[str(n) for n in range(100)]])
    buffer = FrameBuffer(2, lossless=True)
    feeder = Feeder(source, buffer, on_problem=lambda _: None)
    feeder.start()
    eventually(lambda: buffer.stats.left == 2)
    feeder.close()
    assert source.closed.is_set()
    assert buffer.ended


def test_a_watched_folder_that_flickers_is_not_delivered_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feeders, "RETRY_FIRST_S", 0.01)
    folder, away = tmp_path / "frames", tmp_path / "away"
    folder.mkdir()
    for name in ("a.png", "b.png"):
        (folder / name).write_bytes(b"x")
    said: list[str | None] = []
    buffer = FrameBuffer(10)
    source = Directory(path=str(folder), watch=True, poll_interval_s=0.02)
    feeder = Feeder(source, buffer, on_problem=said.append)
    feeder.start()
    eventually(lambda: buffer.stats.received == 2)
    folder.rename(away)
    eventually(lambda: said[-1] is not None)
    away.rename(folder)
    (folder / "c.png").write_bytes(b"x")
    eventually(lambda: buffer.stats.received == 3)
    eventually(lambda: said[-1] is None)
    names = [buffer.get(1.0) for _ in range(3)]
    assert [item.name for item in names if item] == ["a.png", "b.png", "c.png"]
    feeder.close()


def test_a_source_that_opens_but_cannot_be_read_is_not_well_in_between(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(feeders, "RETRY_FIRST_S", 0.01)
    said: list[str | None] = []
    buffer = FrameBuffer(10)
    broken = [SourceError("wrong header") for _ in range(4)]
    feeder = Feeder(Flaky([*broken, ["a"]]), buffer, on_problem=said.append)
    feeder.start()
    eventually(lambda: buffer.ended or buffer.stats.received == 1)
    eventually(lambda: said[-1] is None)
    assert said == [None, *["wrong header"] * 4, None]
    feeder.close()


@dataclass
class Clock:
    """A monotonic clock that nobody waits for."""

    now: float = 0.0
    rests: list[float] = field(default_factory=list)

    def rest(self, seconds: float) -> None:
        self.rests.append(seconds)
        self.now += seconds


@dataclass
class Flapping:
    """A live source that delivers a frame a second for as many seconds as its script says, then is lost
    with a reason of its own; None: it cannot be opened. After the script it ends without a frame."""

    clock: Clock
    script: list[int | None]
    fps: float | None = None
    live: bool = True
    resumes: bool = False
    lost: int = 0

    def open(self) -> "Flapping":
        if self.script and self.script[0] is None:
            self.script.pop(0)
            raise SourceError("cannot be opened")
        return self

    def __iter__(self) -> Iterator[Frame | Skipped]:
        seconds = self.script.pop(0) if self.script else None
        if seconds is None:
            return
        for _ in range(seconds):
            yield Frame(payload=b"", captured_ns=0, name="a")
            self.clock.now += 1
        self.lost += 1
        raise SourceError(f"lost {self.lost}")

    def close(self) -> None:
        pass


def news_of(source: Flapping) -> list[tuple[float, str | None]]:
    """What was said of it, and when, up to its end."""
    clock, said = source.clock, list[tuple[float, str | None]]()
    buffer = FrameBuffer(1)
    feeder = Feeder(
        source,
        buffer,
        on_problem=lambda problem: said.append((clock.now, problem)),
        now_s=lambda: clock.now,
        rest=clock.rest,
    )
    feeder.start()
    eventually(lambda: buffer.get(0) is None and buffer.ended)
    feeder.close()
    return said


def test_a_source_that_flaps_is_tried_ever_more_rarely_and_changes_the_state_at_most_once_a_minute() -> None:
    clock = Clock()
    said = news_of(Flapping(clock, [1] * 200))
    assert clock.rests == [1, 2, 4, 8, 16, *[30] * 195]
    # The first loss was over with the next frame; of the second nothing but its end frees it.
    assert [problem for _, problem in said if problem is None] == [None] * 3
    times = [time_s for time_s, _ in said[:-1] if time_s > 60]
    assert all(later - earlier >= 60 for earlier, later in pairwise(times))
    assert said[-2][0] > clock.now - 120


def test_the_wait_begins_anew_once_the_source_has_delivered_for_a_minute() -> None:
    clock = Clock()
    news_of(Flapping(clock, [1, 1, 60, 61, 1]))
    assert clock.rests == [1, 2, 4, 1, 2]


def test_a_source_lost_again_must_deliver_for_ever_longer_to_be_well() -> None:
    said = news_of(Flapping(Clock(), [3, 3, 8, 12, 65, 3, 3]))
    assert said == [
        (0, None),
        (3, "lost 1"),
        (4, None),
        (7, "lost 2"),
        (14, None),  # opened at 9, and 5 s of frames
        (17, "lost 3"),
        (31, None),  # opened at 21, and 10 s
        (33, "lost 4"),
        (61, None),  # opened at 41, and 20 s
        (106, "lost 5"),
        (107, None),  # steady for a minute, so a first loss again
        (110, "lost 6"),
        (112 + 3, "lost 7"),
        (112 + 3 + 4, None),  # its end
    ]


AWAY: list[tuple[float, str | None]] = [(0, "cannot be opened"), (1, "cannot be opened")]


@pytest.mark.parametrize(
    ("live", "resumes", "then"),
    [
        (True, False, [(3, "lost 1"), (7, None), (8, "lost 2")]),
        (False, False, [(3, "lost 1"), (7, None), (8, "lost 2")]),
        (False, True, [(3, None), (3, "lost 1"), (7, None), (8, "lost 2")]),
    ],
)
def test_a_camera_is_well_with_its_first_frame_and_a_watched_folder_once_it_is_there(
    live: bool, resumes: bool, then: list[tuple[float, str | None]]
) -> None:
    """Both are away at first, then opened but lost before a frame, then lost after one."""
    said = news_of(Flapping(Clock(), [None, None, 0, 1], live=live, resumes=resumes))
    assert said == [*AWAY, *then, (16, None)]


def test_a_live_source_is_not_well_before_its_first_frame() -> None:
    said = news_of(Flapping(Clock(), [0, 1]))
    assert said == [(0, "lost 1"), (1, None), (2, "lost 2"), (4, None)]


def test_a_lost_source_is_not_well_because_the_agent_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeders, "RETRY_FIRST_S", 0.01)

    class Silent(Flaky):
        def __iter__(self) -> Iterator[Frame | Skipped]:
            if self.script:
                self.script.pop()
                raise SourceError("lost")
            self.closed.clear()
            waiting.set()
            self.closed.wait(60)
            yield from ()

    waiting = threading.Event()
    source = Silent([["lost"]], live=True)
    said: list[str | None] = []
    feeder = Feeder(source, FrameBuffer(1), on_problem=said.append)
    feeder.start()
    assert waiting.wait(10)
    feeder.close()
    assert said == ["lost"]
