"""The sources, on real files: what each delivers, and what it does with what it cannot use."""

import csv
import errno
import os
import threading
import time
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.contracts import Frame, Skipped, Source
from agent.errors import SourceError
from agent.sources import KINDS
from agent.sources.directory import Directory, DirectoryFeed
from agent.sources.rows import HeaderError, JsonFormat, RowError, csv_format
from agent.sources.vectors import Vectors
from agent.sources.video import Video
from agent.structure import StructureProblemsError, structure_kind
from tests.contract_source import PROMPT_S, SourceContract, collect, names_of


def frames(source: Source) -> list[Frame]:
    items = list(source.open())
    assert all(isinstance(item, Frame) for item in items), items
    return [item for item in items if isinstance(item, Frame)]


def write_images(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"encoded " + name.encode())


class TestDirectory(SourceContract):
    kind = "directory"

    def finite(self, folder: Path) -> tuple[Source, list[str]]:
        write_images(folder, "b.jpg", "a.png", "c.JPG", "notes.txt", ".hidden.jpg", "deeper/d.jpg")
        (folder / "folder.jpg").mkdir()
        return Directory(path=str(folder)), ["a.png", "b.jpg", "c.JPG"]

    def endless(self, folder: Path) -> Source:
        write_images(folder, "a.jpg")
        return Directory(path=str(folder), watch=True, poll_interval_s=0.01)

    def test_the_payload_is_the_file(self, tmp_path: Path) -> None:
        write_images(tmp_path, "a.jpg", "b.jpg")
        assert [item.payload for item in frames(Directory(path=str(tmp_path)))] == [
            b"encoded a.jpg",
            b"encoded b.jpg",
        ]

    def test_recursion_names_files_by_their_path_inside(self, tmp_path: Path) -> None:
        write_images(tmp_path, "z.jpg", "a/b/c.jpg", "a/x.jpg", ".git/y.jpg")
        (tmp_path / "a" / "again").symlink_to(tmp_path, target_is_directory=True)
        source = Directory(path=str(tmp_path), recursive=True)
        assert names_of(source) == ["a/b/c.jpg", "a/x.jpg", "z.jpg"]

    def test_patterns_choose(self, tmp_path: Path) -> None:
        write_images(tmp_path, "front-1.jpg", "back-1.jpg", "front-2.png")
        assert names_of(Directory(path=str(tmp_path), pattern=("front-*",))) == ["front-1.jpg", "front-2.png"]

    def test_links_to_files_are_followed_and_dead_ones_ignored(self, tmp_path: Path) -> None:
        write_images(tmp_path, "real/a.jpg")
        (tmp_path / "link.jpg").symlink_to(tmp_path / "real" / "a.jpg")
        (tmp_path / "dead.jpg").symlink_to(tmp_path / "nowhere.jpg")
        (only,) = frames(Directory(path=str(tmp_path)))
        assert (only.name, only.payload) == ("link.jpg", b"encoded real/a.jpg")

    def test_a_pipe_that_looks_like_an_image_does_not_hold_the_source(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "trap.jpg")
        write_images(tmp_path, "a.jpg")
        assert names_of(Directory(path=str(tmp_path))) == ["a.jpg"]

    def test_an_oversized_file_is_skipped_with_the_reason(self, tmp_path: Path) -> None:
        (tmp_path / "big.jpg").write_bytes(b"x" * 1001)
        (tmp_path / "fits.jpg").write_bytes(b"x" * 1000)
        big, fits = Directory(path=str(tmp_path), max_bytes=1000).open()
        assert big == Skipped(name="big.jpg", reason="larger than max_bytes (1,000 bytes)")
        assert isinstance(fits, Frame)

    def test_a_file_that_vanishes_after_listing_is_skipped(self, tmp_path: Path) -> None:
        write_images(tmp_path, "a.jpg", "b.jpg", "c.jpg")
        feed = iter(Directory(path=str(tmp_path)).open())
        assert next(feed).name == "a.jpg"
        (tmp_path / "b.jpg").unlink()
        assert next(feed) == Skipped(name="b.jpg", reason="gone before it was read")
        assert next(feed).name == "c.jpg"

    def test_a_name_that_is_no_utf8_can_still_be_sent(self, tmp_path: Path) -> None:
        (tmp_path / os.fsdecode(b"caf\xe9.jpg")).write_bytes(b"x")
        (only,) = frames(Directory(path=str(tmp_path)))
        assert only.name.encode("utf-8") == rb"caf\xe9.jpg"

    def test_a_loop_begins_again(self, tmp_path: Path) -> None:
        write_images(tmp_path, "a.jpg", "b.jpg")
        items = collect(Directory(path=str(tmp_path), loop=True), lambda items: len(items) == 5)
        assert [item.name for item in items] == ["a.jpg", "b.jpg", "a.jpg", "b.jpg", "a.jpg"]

    def test_a_loop_over_nothing_usable_ends(self, tmp_path: Path) -> None:
        (tmp_path / "big.jpg").write_bytes(b"x" * 11)
        assert names_of(Directory(path=str(tmp_path), loop=True, max_bytes=10)) == ["big.jpg"]

    def test_an_empty_folder_is_an_error_that_names_the_pattern(self, tmp_path: Path) -> None:
        with pytest.raises(SourceError) as caught:
            Directory(path=str(tmp_path), pattern=("*.jpg", "*.png")).open()
        assert str(caught.value) == f"{tmp_path}: no file here is called *.jpg or *.png"

    def test_a_file_is_no_folder(self, tmp_path: Path) -> None:
        write_images(tmp_path, "a.jpg")
        with pytest.raises(SourceError, match=r"a\.jpg: cannot be listed: Not a directory"):
            Directory(path=str(tmp_path / "a.jpg")).open()

    def test_watching_delivers_new_and_rewritten_files_once(self, tmp_path: Path) -> None:
        write_images(tmp_path, "a.jpg")
        names = []
        feed = Directory(path=str(tmp_path), watch=True, poll_interval_s=0.01).open()
        for item in feed:
            assert isinstance(item, Frame)
            names.append((item.name, item.payload))
            if len(names) == 1:
                write_images(tmp_path, "b.jpg")
            elif len(names) == 2:
                (tmp_path / "a.jpg").write_bytes(b"rewritten")
            else:
                feed.close()
        assert names == [("a.jpg", b"encoded a.jpg"), ("b.jpg", b"encoded b.jpg"), ("a.jpg", b"rewritten")]

    def test_watching_waits_until_a_file_is_written_out(self, tmp_path: Path) -> None:
        path = tmp_path / "slow.jpg"
        path.write_bytes(b"begin")
        parts = [b" middle", b" more", b" end"]

        class WrittenBetweenLooks(DirectoryFeed):
            def listing(self) -> dict[str, Any]:
                found = super().listing()
                if parts:
                    with path.open("ab") as file:
                        file.write(parts.pop(0))
                return found

        feed = WrittenBetweenLooks(Directory(path=str(tmp_path), watch=True, poll_interval_s=0.01))
        item = next(iter(feed))
        assert isinstance(item, Frame) and item.payload == b"begin middle more end"

    @pytest.mark.parametrize("failures", [2, 1000])
    def test_a_watched_file_that_cannot_be_read_for_a_moment_is_read_later(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failures: int
    ) -> None:
        write_images(tmp_path, "a.jpg", "b.jpg")
        read, failed = Path.open, list[str]()

        def flaky(path: Path, *arguments: Any, **options: Any) -> Any:
            if path.name == "a.jpg" and len(failed) < failures:
                failed.append(path.name)
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return read(path, *arguments, **options)

        monkeypatch.setattr(Path, "open", flaky)
        source = Directory(path=str(tmp_path), watch=True, poll_interval_s=0.01)
        other, item = collect(source, lambda items: len(items) == 2)
        assert isinstance(other, Frame) and other.name == "b.jpg"
        if failures == 2:
            assert isinstance(item, Frame) and (item.name, item.payload) == ("a.jpg", b"encoded a.jpg")
        else:
            assert item == Skipped(name="a.jpg", reason="cannot be read: Input/output error")
            assert len(failed) == 4

    def test_a_watched_folder_that_vanishes_is_lost(self, tmp_path: Path) -> None:
        folder = tmp_path / "inbox"
        write_images(folder, "a.jpg")
        feed = iter(Directory(path=str(folder), watch=True, poll_interval_s=0.01).open())
        next(feed)
        (folder / "a.jpg").unlink()
        folder.rmdir()
        with pytest.raises(SourceError, match="inbox: cannot be listed"):
            next(feed)

    def test_a_watched_folder_may_be_empty_but_does_not_loop(self, tmp_path: Path) -> None:
        Directory(path=str(tmp_path), watch=True).open().close()
        assert Directory(path=".", watch=True, loop=True).problems() == [
            "loop: a watched folder does not end, so it cannot begin again; set one of the two"
        ]


COLOURS = [(200, 30, 30), (30, 200, 30), (30, 30, 200)]
"""RGB of the test video's frames, in order."""


def write_video(path: Path) -> None:
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 20.0, (64, 48))
    assert writer.isOpened()
    for red, green, blue in COLOURS:
        writer.write(np.full((48, 64, 3), (blue, green, red), np.uint8))
    writer.release()


class TestVideo(SourceContract):
    kind = "video"

    def finite(self, folder: Path) -> tuple[Source, list[str]]:
        write_video(folder / "door.avi")
        return Video(path=str(folder / "door.avi")), ["door.avi#0", "door.avi#1", "door.avi#2"]

    def endless(self, folder: Path) -> Source:
        write_video(folder / "door.avi")
        return Video(path=str(folder / "door.avi"), loop=True, fps=0.01)

    def test_frames_are_rgb_pixels(self, tmp_path: Path) -> None:
        source, _ = self.finite(tmp_path)
        for item, colour in zip(frames(source), COLOURS, strict=True):
            assert isinstance(item.payload, np.ndarray)
            assert item.payload.shape == (48, 64, 3) and item.payload.dtype == np.uint8
            # JPEG's chroma rounds; swapped channels would be 170 apart.
            assert np.abs(item.payload.reshape(-1, 3).mean(0) - colour).max() < 4

    def test_a_loop_plays_the_same_frames_again(self, tmp_path: Path) -> None:
        write_video(tmp_path / "door.avi")
        source = Video(path=str(tmp_path / "door.avi"), loop=True)
        items = collect(source, lambda items: len(items) == 7)
        assert [item.name[-1] for item in items] == list("0120120")
        payloads = [item.payload for item in items if isinstance(item, Frame)]
        np.testing.assert_array_equal(payloads[0], payloads[3])
        np.testing.assert_array_equal(payloads[2], payloads[5])

    def test_the_native_rate_is_the_files(self, tmp_path: Path) -> None:
        source, _ = self.finite(tmp_path)
        native = Video(path=source.path, native=True)  # type: ignore[attr-defined]
        assert native.live
        began_ns = time.monotonic_ns()
        times = [item.captured_ns - began_ns for item in frames(native)]
        # Never early; late as a busy machine pleases.
        assert times[2] >= 2 * 1e9 / 20

    def test_a_file_that_is_no_video_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "broken.avi").write_bytes(b"no video at all")
        with pytest.raises(SourceError) as caught:
            Video(path=str(tmp_path / "broken.avi")).open()
        assert str(caught.value) == f"{tmp_path / 'broken.avi'}: OpenCV cannot play this file"

    def test_two_rates_are_one_too_many(self) -> None:
        assert Video(path=".", fps=5.0, native=True).problems() == [
            "native: the file's own rate and fps cannot both hold; set one of the two"
        ]


class TestVectors(SourceContract):
    kind = "vectors"

    def finite(self, folder: Path) -> tuple[Source, list[str]]:
        (folder / "readings.csv").write_text("id,x,y\nfirst,1,2\n,3,4\nthird,5,6\n")
        return Vectors(path=str(folder / "readings.csv")), ["first", "readings.csv:3", "third"]

    def endless(self, folder: Path) -> Source:
        (folder / "readings.csv").write_text("x\n1\n")
        return Vectors(path=str(folder / "readings.csv"), follow=True, poll_interval_s=60.0)

    def read(self, folder: Path, text: str | bytes, **options: object) -> list[Frame | Skipped]:
        path = folder / "in.txt"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return list(structure_kind({"kind": "vectors", "path": str(path), **options}, KINDS, root="s").open())

    def test_all_columns_but_the_id_in_the_headers_order(self, tmp_path: Path) -> None:
        source, _ = self.finite(tmp_path)
        values = np.array([item.payload for item in frames(source)])
        np.testing.assert_array_equal(values, [[1, 2], [3, 4], [5, 6]])
        assert values.dtype == np.float64

    def test_chosen_columns_in_the_chosen_order(self, tmp_path: Path) -> None:
        (row,) = self.read(
            tmp_path, 'when,"a, b",c\nnoon,1.5,-2e3\n', columns=["c", "a, b"], id_column="when"
        )
        assert isinstance(row, Frame) and row.name == "noon"
        np.testing.assert_array_equal(row.payload, [-2000, 1.5])

    def test_windows_line_ends_and_byte_order_mark(self, tmp_path: Path) -> None:
        (row,) = self.read(tmp_path, b"\xef\xbb\xbfx,y\r\n1,2\r\n\r\n", columns=["x"])
        assert isinstance(row, Frame)
        np.testing.assert_array_equal(row.payload, [1])

    def test_malformed_rows_are_skipped_by_line_number_and_the_rest_is_read(self, tmp_path: Path) -> None:
        text = 'x,y\n1,2\n3\nwarm,4\n1_0,0\n5,inf\n"6,7\n8,\xff\n' + "9" * 80 + ",1\n10,11"
        items = self.read(tmp_path, text.encode("latin-1"), max_line_bytes=60)
        assert [item.reason for item in items if isinstance(item, Skipped)] == [
            "line 3: 1 cells where the header has 2",
            "line 4: x: expected a finite number, got 'warm'",
            "line 5: x: expected a finite number, got '1_0'",
            "line 6: y: expected a finite number, got 'inf'",
            "line 7: no CSV: unexpected end of data",
            "line 8: no UTF-8",
            "line 9: longer than max_line_bytes",
        ]
        assert [item.name for item in items if isinstance(item, Frame)] == ["in.txt:2", "in.txt:10"]

    def test_a_line_longer_than_any_read_is_refused_without_being_kept(self, tmp_path: Path) -> None:
        text = b"x\n1\n" + b"7" * 1_000_000 + b"\n2\n" + b"7" * 1_000_000
        items = self.read(tmp_path, text)
        assert [(item.name, type(item)) for item in items] == [
            ("in.txt:2", Frame),
            ("in.txt:3", Skipped),
            ("in.txt:4", Frame),
            ("in.txt:5", Skipped),
        ]

    def test_empty_cells_are_missing_values(self, tmp_path: Path) -> None:
        items = self.read(tmp_path, "x,y\n,1\nNaN,2\n")
        np.testing.assert_array_equal(
            [item.payload for item in items if isinstance(item, Frame)], [[np.nan, 1], [np.nan, 2]]
        )

    def test_json_lines_with_values(self, tmp_path: Path) -> None:
        items = self.read(
            tmp_path,
            '{"id": 7, "values": [1, 2.5, null]}\n{"values": [true]}\n{"values": 3}\n[1]\n{"x": 1}\n{',
        )
        assert isinstance(items[0], Frame) and items[0].name == "7"
        np.testing.assert_array_equal(items[0].payload, [1, 2.5, np.nan])
        reasons = [item.reason for item in items[1:] if isinstance(item, Skipped)]
        assert reasons[:4] == [
            "line 2: values[0]: expected a finite number, got True",
            "line 3: values: expected a list of numbers, got 3",
            "line 4: expected an object, got list",
            "line 5: no 'values'",
        ]
        assert reasons[4].startswith("line 6: no JSON: ")

    def test_json_lines_by_key(self, tmp_path: Path) -> None:
        items = self.read(
            tmp_path, '{"t": 20, "h": null, "tag": "a"}\n{"t": 1}\n', columns=["h", "t"], id_column="tag"
        )
        assert isinstance(items[0], Frame) and items[0].name == "a"
        np.testing.assert_array_equal(items[0].payload, [np.nan, 20])
        assert items[1] == Skipped(name="in.txt:2", reason="line 2: no 'h'")

    @pytest.mark.parametrize(
        ("header", "options", "problem"),
        [
            ("x,y", {"columns": ["x", "z"]}, "column 'z' is missing (the header has: x, y)"),
            ("x,x", {}, "column 'x' stands there twice (the header has: x, x)"),
            ("id", {}, "no column of values (the header has: id)"),
            ('"x', {}, "the header is no CSV: unexpected end of data"),
        ],
    )
    def test_a_header_that_cannot_be_used_names_the_file(
        self, tmp_path: Path, header: str, options: dict[str, object], problem: str
    ) -> None:
        with pytest.raises(SourceError) as caught:
            self.read(tmp_path, f"{header}\n1,2\n", **options)
        assert str(caught.value) == f"{tmp_path / 'in.txt'}: {problem}"

    def test_following_reads_what_is_appended_and_begins_a_replaced_file_anew(self, tmp_path: Path) -> None:
        path = tmp_path / "log.csv"
        path.write_text("x,y\n1,2\n3,")
        feed = Vectors(path=str(path), follow=True, poll_interval_s=0.01).open()
        seen = []
        for item in feed:
            assert isinstance(item, Frame) and isinstance(item.payload, np.ndarray)
            seen.append((item.name, item.payload.tolist()))
            if len(seen) == 1:
                with path.open("a") as file:
                    file.write("4\n")
            elif len(seen) == 2:
                (tmp_path / "new.csv").write_text("y\n5.000\n")
                (tmp_path / "new.csv").replace(path)
            elif len(seen) == 3:
                path.write_text("z\n")  # Cut short in place.
                with path.open("a") as file:
                    file.write("6\n")
            else:
                feed.close()
        assert seen == [("log.csv:2", [1, 2]), ("log.csv:3", [3, 4]), ("log.csv:2", [5]), ("log.csv:2", [6])]

    def test_a_named_pipe_is_read_as_it_is_written(self, tmp_path: Path) -> None:
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        feed = Vectors(path=str(pipe)).open()
        threading.Thread(target=lambda: pipe.write_text("x\n1\n2\n"), daemon=True).start()
        assert [item.name for item in feed] == ["pipe:2", "pipe:3"]

    def test_standard_input(self, standard_input: int) -> None:
        feed = iter(Vectors(path="-").open())
        os.write(standard_input, b'{"values": [1]}\n{"val')
        assert next(feed).name == "stdin:1"
        os.write(standard_input, b'ues": [2]}\n')
        assert next(feed).name == "stdin:2"
        os.close(standard_input)
        assert list(feed) == []

    def test_closing_while_standard_input_is_silent(self, standard_input: int) -> None:
        feed = Vectors(path="-").open()
        ended = threading.Event()
        threading.Thread(target=lambda: (list(feed), ended.set()), daemon=True).start()
        assert not ended.wait(0.2)
        feed.close()
        assert ended.wait(PROMPT_S)
        os.close(standard_input)

    def test_a_folder_is_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(SourceError, match="is a folder, not a file"):
            Vectors(path=str(tmp_path)).open()

    def test_options_that_make_no_sense(self) -> None:
        source = Vectors(path="-", columns=("x", "x"), poll_interval_s=0.0, max_line_bytes=0)
        assert source.problems() == [
            "poll_interval_s: must be from 0.01 to 3600, got 0",
            "max_line_bytes: must be at least 1, got 0",
            "columns: one is named twice",
        ]


@pytest.fixture
def standard_input() -> Iterator[int]:
    """The writing end of a pipe that is this process's standard input for one test."""
    reading, writing = os.pipe()
    saved = os.dup(0)
    os.dup2(reading, 0)
    os.close(reading)
    yield writing
    os.dup2(saved, 0)
    os.close(saved)


def test_kinds_are_what_the_tests_cover() -> None:
    """Of live kinds: test_sources_live.py and test_sources_camera.py."""
    covered = {cls.kind for cls in SourceContract.__subclasses__()}
    assert covered | {"camera", "rpicam", "stream", "mqtt"} == set(KINDS)


def test_unknown_options_are_refused_by_path() -> None:
    with pytest.raises(StructureProblemsError, match=r"source: unknown key 'paht' \(known: .*path"):
        structure_kind({"kind": "video", "path": "a.avi", "paht": 1}, KINDS, root="source")


def test_pacing_spaces_the_frames(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("x\n" + "1\n" * 6)
    began_ns = time.monotonic_ns()
    times = [item.captured_ns - began_ns for item in frames(Vectors(path=str(tmp_path / "in.csv"), fps=50.0))]
    # Never early; late as a busy machine pleases.
    assert all(time_ns >= index * 1e9 / 50 for index, time_ns in enumerate(times))


NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


@given(
    values=st.lists(NUMBERS, min_size=1, max_size=6), name=st.text(st.characters(exclude_categories=["C"]))
)
def test_csv_rows_round_trip(values: list[float], name: str) -> None:
    columns = [f"c{index}" for index in range(len(values))]
    line = StringIO()
    csv.writer(line, lineterminator="").writerow([*map(repr, values), name])
    row = csv_format(",".join([*columns, "id"]), columns=(), id_column="id").row(line.getvalue())
    np.testing.assert_array_equal(row.values, values)
    assert row.id == (name.strip() or None)


@given(line=st.text() | st.binary().map(lambda data: data.decode("latin-1")))
def test_any_line_is_a_row_or_a_row_error(line: str) -> None:
    for layout in (
        csv_format("a,b", columns=(), id_column="id"),
        JsonFormat(columns=(), id_column="id"),
        JsonFormat(columns=("a",), id_column="id"),
    ):
        try:
            values = layout.row(line).values
        except RowError:
            continue
        assert not np.isinf(values).any()
    try:
        layout = csv_format(line, columns=(), id_column="id")
    except HeaderError:
        return
    assert layout.columns
