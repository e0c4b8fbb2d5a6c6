"""The session a device remembers: the next one is later, and nothing in the file keeps it from running."""

import uuid
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.telemetry.identity import LATEST_MS, next_session, uuid7
from agent.telemetry.session_file import remembered_session

RANDOM = b"litewatch!"
MAY_2026_MS = 1_777_593_600_000
TEN = st.binary(min_size=10, max_size=10)


def ms_of(session: str) -> int:
    return uuid.UUID(session).int >> 80


@pytest.mark.parametrize(
    ("now_ms", "last_ms", "expected_ms"),
    [
        (MAY_2026_MS, MAY_2026_MS - 5, MAY_2026_MS),
        (MAY_2026_MS, MAY_2026_MS, MAY_2026_MS + 1),
        (0, MAY_2026_MS, MAY_2026_MS + 1),  # no battery clock: 1970 at boot
        (-1, MAY_2026_MS, MAY_2026_MS + 1),
        (MAY_2026_MS, 2 * MAY_2026_MS, 2 * MAY_2026_MS + 1),  # one boot with a wild clock
        (MAY_2026_MS, LATEST_MS, MAY_2026_MS),  # there is no later one
    ],
)
def test_the_next_session_is_later_than_the_last(now_ms: int, last_ms: int, expected_ms: int) -> None:
    assert next_session(now_ms, uuid7(last_ms, RANDOM), RANDOM) == uuid7(expected_ms, RANDOM)


@pytest.mark.parametrize("last", [None, "", "x", str(uuid.UUID(int=2**127)), uuid7(5, RANDOM).upper()])
def test_what_is_no_session_is_passed_over(last: str | None) -> None:
    assert next_session(MAY_2026_MS, last, RANDOM) == uuid7(MAY_2026_MS, RANDOM)


@given(st.lists(st.tuples(st.integers(-(10**12), 2**41), TEN), min_size=2, max_size=20))
def test_sessions_sort_as_they_began_whatever_the_clock_does(boots: list[tuple[int, bytes]]) -> None:
    last, sessions = None, []
    for now_ms, random in boots:
        last = next_session(now_ms, last, random)
        sessions.append(last)
    assert sessions == sorted(set(sessions))


def test_it_is_remembered_from_run_to_run(tmp_path: Path) -> None:
    path = tmp_path / "state" / "session"
    path.parent.mkdir()
    wild = uuid7(2 * MAY_2026_MS, RANDOM)
    path.write_text(wild)
    second, third = remembered_session(path), remembered_session(path)
    assert (ms_of(second), ms_of(third)) == (2 * MAY_2026_MS + 1, 2 * MAY_2026_MS + 2)
    assert path.read_text() == f"{third}\n"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe", b"not a session at all, and long" * 10])
def test_a_missing_or_damaged_file_is_made_anew(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "state" / "session"
    if content is not None:
        path.parent.mkdir()
        path.write_bytes(content)
    session = remembered_session(path)
    assert uuid.UUID(session).version == 7
    assert path.read_text() == f"{session}\n"


def test_where_nothing_can_be_written_a_session_begins_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "session").mkdir()
    for path, why in (
        (tmp_path / "file" / "session", "File exists"),
        (tmp_path / "session", "Is a directory"),
    ):
        caplog.clear()
        assert uuid.UUID(remembered_session(path)).version == 7
        assert caplog.messages == [f"{path}: the session cannot be remembered ({why})"]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file", "session"]
