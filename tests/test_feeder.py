"""The source thread fills the buffer, and outlives whatever its source does."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
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
