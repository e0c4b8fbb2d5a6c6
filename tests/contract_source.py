"""What every source must do, whatever it reads from: inherited by the tests of each kind."""

import ast
import contextlib
import dataclasses
import inspect
import re
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from broker import eventually

from agent.buffer import FrameBuffer
from agent.contracts import Frame, Skipped, Source
from agent.errors import FrameError, SourceError
from agent.preprocess.decoding import Decode
from agent.sources import KINDS
from agent.structure import load_kind
from tests.servers import Behaviour

PROMPT_S = 5.0
"""A bound for "at once" that a busy machine keeps; an unclosed feed would wait far longer."""
PATIENCE_S = 15.0
"""A bound for what a source must notice by itself."""


class SourceContract:
    """A kind's test class gives ``kind``, ``finite`` and ``endless``."""

    kind: str

    def finite(self, folder: Path) -> tuple[Source, list[str]]:
        """A source over real files made in ``folder``, and the names it delivers, in order."""
        raise NotImplementedError

    def endless(self, folder: Path) -> Source:
        """A source that delivers at least one frame, then has its reader wait for ever."""
        raise NotImplementedError

    def missing(self, path: Path) -> Source:
        """A source of something that is not there."""
        made: Source = load_kind(KINDS, self.kind)(path=str(path))
        return made

    def test_delivers_every_frame_in_order_and_ends(self, tmp_path: Path) -> None:
        source, names = self.finite(tmp_path)
        assert names_of(source) == names

    def test_can_be_opened_again(self, tmp_path: Path) -> None:
        source, names = self.finite(tmp_path)
        assert names_of(source) == names_of(source) == names

    def test_times_of_capture_never_go_back(self, tmp_path: Path) -> None:
        source, names = self.finite(tmp_path)
        times = [item.captured_ns for item in source.open() if isinstance(item, Frame)]
        assert len(times) == len(names)
        assert times == sorted(times)

    def test_closing_from_another_thread_ends_the_wait(self, tmp_path: Path) -> None:
        feed = self.endless(tmp_path).open()
        began, ended = threading.Event(), threading.Event()

        def read() -> None:
            for _ in feed:
                began.set()
            ended.set()

        threading.Thread(target=read, daemon=True).start()
        assert began.wait(PROMPT_S)
        assert not ended.wait(0.2)
        feed.close()
        assert ended.wait(PROMPT_S)

    def test_a_closed_feed_delivers_nothing_and_closes_twice(self, tmp_path: Path) -> None:
        source, _ = self.finite(tmp_path)
        feed = source.open()
        feed.close()
        feed.close()
        assert list(feed) == []

    def test_constructing_touches_nothing_and_opening_names_what_is_missing(self, tmp_path: Path) -> None:
        source = self.missing(tmp_path / "nothing-here")
        with pytest.raises(SourceError, match="nothing-here"):
            source.open()

    def test_waits_for_its_reader_unless_it_is_paced(self, tmp_path: Path) -> None:
        cls = load_kind(KINDS, self.kind)
        assert not cls(path=".").live
        assert cls(path=".", fps=5.0).live
        assert cls(path=".", fps=5.0).fps == 5.0

    @pytest.mark.parametrize("fps", [0.0, -1.0, 1e9])
    def test_an_impossible_rate_is_refused_by_name(self, fps: float) -> None:
        problems = load_kind(KINDS, self.kind)(path=".", fps=fps).problems()
        assert problems == [f"fps: must be more than 0 and at most 1000, got {fps:g}"]

    def test_every_option_says_what_it_is(self) -> None:
        cls = load_kind(KINDS, self.kind)
        assert undocumented_fields(cls) == []
        assert cls(path=".").problems() == []
        assert all(field.kw_only for field in dataclasses.fields(cls))
        with pytest.raises(dataclasses.FrozenInstanceError):
            cls(path=".").path = "elsewhere"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scene:
    """A live source, and the word that changes what it reads from."""

    source: Source
    behave: Callable[[Behaviour], None]


class LiveSourceContract:
    """What every live source must do. A kind's test class gives ``kind``, ``scene`` and ``missing``.

    A scene delivers at least ten frames a second, and its hanging is noticed well within ``PATIENCE_S``.
    """

    kind: str
    conceals = False
    """Whether a damaged picture is delivered as what is left of it."""

    def scene(self, folder: Path) -> AbstractContextManager[Scene]:
        raise NotImplementedError

    def missing(self) -> tuple[Source, str]:
        """A source of something that is not there, and words of its message."""
        raise NotImplementedError

    def test_frames_can_be_decoded_and_carry_the_time_of_capture(self, tmp_path: Path) -> None:
        with self.scene(tmp_path) as scene:
            before_ns = time.monotonic_ns()
            reading = Reading(scene.source, 5)
            reading.close()
        assert scene.source.live
        assert [looks_right(item) for item in reading.items] == [True] * 5
        frames = [item for item in reading.items if isinstance(item, Frame)]
        times = [before_ns, *(frame.captured_ns for frame in frames), time.monotonic_ns()]
        assert times == sorted(times)
        assert all(re.fullmatch(r".+@2\d{3}-\d\d-\d\dT[\d:]+\.\d{3}Z", frame.name) for frame in frames)

    def test_a_reader_that_is_late_gets_the_newest(self, tmp_path: Path) -> None:
        with self.scene(tmp_path) as scene:
            buffer = FrameBuffer(1, lossless=not scene.source.live)
            feed = scene.source.open()

            def read() -> None:
                for item in feed:
                    buffer.put(item)

            reader = threading.Thread(target=read, daemon=True)
            reader.start()
            eventually(lambda: buffer.stats.received)
            late_ns, received = time.monotonic_ns(), buffer.stats.received
            eventually(lambda: buffer.stats.received >= received + 20)
            taken = buffer.get(PROMPT_S)
            feed.close()
            reader.join(PATIENCE_S)
        assert isinstance(taken, Frame)
        assert taken.captured_ns >= late_ns
        assert buffer.stats.dropped >= 20

    @pytest.mark.parametrize("trouble", ["close", "hang"])
    def test_the_other_side_goes_away_and_comes_back(self, tmp_path: Path, trouble: Behaviour) -> None:
        with self.scene(tmp_path) as scene:
            reading = Reading(scene.source, 2)
            scene.behave(trouble)
            with pytest.raises(SourceError) as caught:
                read_on(reading.rest, PATIENCE_S)
            reading.close()
            scene.behave("well")
            again = Reading(scene.source, 2)
            again.close()
        assert "s3cret" not in str(caught.value)
        assert len(again.items) == 2

    def test_refused(self, tmp_path: Path) -> None:
        with self.scene(tmp_path) as scene:
            scene.behave("refuse")
            with pytest.raises(SourceError) as caught:
                Reading(scene.source, 1)
            scene.behave("well")
            reading = Reading(scene.source, 1)
            reading.close()
        assert "s3cret" not in str(caught.value)
        assert len(reading.items) == 1

    def test_damaged_pictures_are_passed_over_or_seen_by_the_decoder(self, tmp_path: Path) -> None:
        """Never a hang; afterwards, if need be of a feed opened again, the pictures are right."""
        with self.scene(tmp_path) as scene:
            reading = Reading(scene.source, 2)
            scene.behave("corrupt")
            items: list[Frame | Skipped] = []
            try:
                for item in reading.rest:
                    items.append(item)
                    if self.conceals and len(items) > 60:
                        break
                    if not self.conceals and sum(not looks_right(each) for each in items) >= 3:
                        break
            except SourceError:
                assert self.conceals
            scene.behave("well")
            reading.close()
            after = Reading(scene.source, 3)
            after.close()
        assert [looks_right(item) for item in after.items] == [True] * 3
        if not self.conceals:
            assert sum(looks_right(item) for item in items) >= 3

    @pytest.mark.parametrize("while_", ["well", "hang"])
    def test_closing_from_another_thread_ends_it(self, tmp_path: Path, while_: Behaviour) -> None:
        with self.scene(tmp_path) as scene:
            feed = scene.source.open()
            began, ended = threading.Event(), threading.Event()

            def read() -> None:
                with contextlib.suppress(SourceError):
                    for _ in feed:
                        began.set()
                ended.set()

            threading.Thread(target=read, daemon=True).start()
            assert began.wait(PATIENCE_S)
            scene.behave(while_)
            began_ns = time.monotonic_ns()
            feed.close()
            assert time.monotonic_ns() - began_ns < PROMPT_S * 1e9
            assert ended.wait(PATIENCE_S)

    def test_a_closed_feed_delivers_nothing_and_closes_twice(self, tmp_path: Path) -> None:
        with self.scene(tmp_path) as scene:
            feed = scene.source.open()
            feed.close()
            feed.close()
            assert list(feed) == []

    def test_what_is_missing_is_named(self) -> None:
        source, words = self.missing()
        with pytest.raises(SourceError) as caught:
            source.open()
        assert words in str(caught.value)

    def test_opening_and_closing_leaves_nothing_behind(self, tmp_path: Path) -> None:
        with self.scene(tmp_path) as scene:
            Reading(scene.source, 1).close()
            files = open_files()
            for _ in range(3):
                Reading(scene.source, 1).close()
            eventually(lambda: open_files() <= files)

    def test_every_option_is_documented_and_the_defaults_are_right(self, tmp_path: Path) -> None:
        cls = load_kind(KINDS, self.kind)
        assert undocumented_fields(cls) == []
        with self.scene(tmp_path) as scene:
            assert scene.source.problems() == []  # type: ignore[attr-defined]
        assert all(field.kw_only for field in dataclasses.fields(cls))


class Reading:
    """A feed being read, and its first items."""

    def __init__(self, source: Source, count: int) -> None:
        self.feed = source.open()
        self.rest = iter(self.feed)
        self.items = list(islice(self.rest, count))

    def close(self) -> None:
        self.feed.close()


def read_on(rest: Iterator[Frame | Skipped], patience_s: float) -> None:
    """Read until the feed fails; an assertion when it goes on for ``patience_s``."""
    deadline_s = time.monotonic() + patience_s
    for _ in rest:
        assert time.monotonic() < deadline_s, "the feed goes on as if nothing had happened"


def looks_right(item: Frame | Skipped) -> bool:
    """Whether the step ``decode`` makes a picture of it that is not empty; of vectors: numbers."""
    if isinstance(item, Skipped):
        return False
    if isinstance(item.payload, np.ndarray) and item.payload.ndim == 1:
        return bool(np.isfinite(item.payload).all())
    try:
        return Decode(exif="ignore").apply(item.payload).std() > 1
    except FrameError:
        return False


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def names_of(source: Source) -> list[str]:
    return [item.name for item in source.open()]


def collect(source: Source, until: Callable[[list[Frame | Skipped]], bool]) -> list[Frame | Skipped]:
    """What an endless source delivers until ``until`` holds."""
    feed = source.open()
    items: list[Frame | Skipped] = []
    for item in feed:
        items.append(item)
        if until(items):
            feed.close()
    return items


def undocumented_fields(cls: type) -> list[str]:
    """Fields without a string beneath them."""
    body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0].body  # type: ignore[attr-defined]
    return [
        node.target.id
        for node, below in zip(body, [*body[1:], None], strict=True)
        if isinstance(node, ast.AnnAssign)
        and not (isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant))
    ]
