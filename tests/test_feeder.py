"""The source thread fills the buffer, and outlives whatever its source does."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from broker import eventually

from agent import feeder as feeders
from agent.buffer import FrameBuffer
from agent.contracts import Frame, Skipped
from agent.errors import SourceError
from agent.feeder import Feeder


@dataclass
class Flaky:
    """A source that does what its script says, one entry at each opening: frames to deliver, or an
    error to raise."""

    script: list[list[str] | Exception]
    fps: float | None = None
    live: bool = False
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
