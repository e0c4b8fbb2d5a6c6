"""What every source must do, whatever it reads from: inherited by the tests of each kind."""

import ast
import dataclasses
import inspect
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from agent.contracts import Frame, Skipped, Source
from agent.errors import SourceError
from agent.sources import KINDS
from agent.structure import load_kind

PROMPT_S = 5.0
"""A bound for "at once" that a busy machine keeps; an unclosed feed would wait far longer."""


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
