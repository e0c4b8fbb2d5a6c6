"""The outbox: what is committed survives, what is confirmed goes, what is damaged is put aside."""

import json
import resource
import signal
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from agent.errors import OutboxError
from agent.telemetry import outbox_rows
from agent.telemetry.outbox import RETRY_S, Outbox
from agent.telemetry.outbox_database import APPLICATION_ID, KEEP_ASIDE

MIB = 1024 * 1024


class Time:
    """A monotonic clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Time:
    return Time()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.db"


@pytest.fixture
def make(path: Path, clock: Time) -> Iterator[Callable[..., Outbox]]:
    made: list[Outbox] = []

    def build(session: str = "s1", **options: Any) -> Outbox:
        usual: dict[str, Any] = {"max_bytes": 64 * MIB, "flush_interval_s": 120.0, "clock": clock}
        outbox = Outbox(path, session=session, **usual | options)
        made.append(outbox)
        return outbox

    yield build
    for outbox in made:
        outbox.close()


def put(outbox: Outbox, kind: str = "window", *, urgent: bool = False, body: str = '{"a":1}') -> int:
    return outbox.append(
        kind, body, created_at="2026-01-01T00:00:00Z", boot_id="b", clock_synced=True, urgent=urgent
    )


def seqs(outbox: Outbox, after: int = 0, limit: int = 10_000) -> list[tuple[str, int]]:
    return [(row.session, row.seq) for row in outbox.peek(after, limit)]


def crash(outbox: Outbox) -> None:
    """Lose the process: what was not committed is gone."""
    assert outbox._database is not None
    outbox._database.close()
    outbox._closed = True
    outbox._database = None


def test_ordinary_messages_wait_for_the_interval_and_one_commit_takes_all(
    make: Callable[..., Outbox], clock: Time
) -> None:
    outbox = make()
    assert [put(outbox), put(outbox), put(outbox)] == [1, 2, 3]
    assert seqs(outbox) == []
    assert outbox.flush_if_due() == 120.0
    clock.now += 119.0
    assert outbox.flush_if_due() == 1.0
    assert outbox.stats.committed_seq == 0
    clock.now += 1.0
    assert outbox.flush_if_due() is None
    assert seqs(outbox) == [("s1", 1), ("s1", 2), ("s1", 3)]
    assert outbox.stats.committed_seq == 3


def test_an_urgent_message_is_committed_at_once_with_what_waits(make: Callable[..., Outbox]) -> None:
    outbox = make()
    put(outbox)
    put(outbox, "alarm", urgent=True)
    put(outbox)
    crash(outbox)
    assert seqs(make("s2")) == [("s1", 1), ("s1", 2)]


def test_what_was_stored_comes_back_as_it_was(make: Callable[..., Outbox], clock: Time) -> None:
    outbox = make()
    outbox.append(
        "alarm",
        '{"ü":1}',
        created_at="2026-01-31T00:00:00Z",
        boot_id="boot",
        clock_synced=False,
        urgent=True,
        preprocess='{"fingerprint":"f"}',
    )
    (row,) = outbox.peek(0, 10)
    assert (row.kind, row.body, row.created_at, row.boot_id) == (
        "alarm",
        '{"ü":1}',
        "2026-01-31T00:00:00Z",
        "boot",
    )
    assert (row.clock_synced, row.preprocess, row.created_s) == (False, '{"fingerprint":"f"}', clock.now)


def test_peek_pages_over_all_sessions_oldest_first(make: Callable[..., Outbox]) -> None:
    first = make("s1")
    put(first, urgent=True)
    put(first, urgent=True)
    first.close()
    second = make("s2")
    put(second, urgent=True)
    page = second.peek(0, 2)
    assert [(row.session, row.seq) for row in page] == [("s1", 1), ("s1", 2)]
    assert seqs(second, page[-1].id) == [("s2", 1)]
    assert second.last_id == second.peek(0, 10)[-1].id


def test_an_ack_removes_its_session_up_to_its_seq_and_costs_no_commit(
    make: Callable[..., Outbox], path: Path
) -> None:
    outbox = make()
    for _ in range(3):
        put(outbox, urgent=True)
    written = path.with_name("outbox.db-wal").stat().st_size
    assert outbox.acknowledge("s1", 2) == 2
    assert outbox.acknowledge("s1", 2) == 0
    assert outbox.acknowledge("other", 99) == 0
    assert seqs(outbox) == [("s1", 3)]
    assert outbox.floor("s1") == 3
    assert outbox.stats.messages == 1
    assert path.with_name("outbox.db-wal").stat().st_size == written
    outbox.close()
    assert seqs(make("s2")) == [("s1", 3)]


def test_an_ack_covers_messages_that_never_reached_the_disk(make: Callable[..., Outbox]) -> None:
    outbox = make()
    put(outbox)
    assert outbox.acknowledge("s1", 1) == 1
    outbox.flush()
    assert seqs(outbox) == []
    assert outbox.floor("s1") == 2


def test_the_oldest_ordinary_messages_go_first_then_the_oldest_alarms(make: Callable[..., Outbox]) -> None:
    body = '"' + "x" * 98 + '"'  # 100 bytes and 256 of overhead
    outbox = make(max_bytes=5 * 356)
    put(outbox, "alarm", body=body, urgent=True)
    for _ in range(5):
        put(outbox, "window", body=body, urgent=True)
    assert [seq for _, seq in seqs(outbox)] == [1, 3, 4, 5, 6]
    for _ in range(5):
        put(outbox, "alarm", body=body, urgent=True)
    assert [(row.kind, row.seq) for row in outbox.peek(0, 10)] == [("alarm", n) for n in (7, 8, 9, 10, 11)]
    assert outbox.stats.evicted == 6
    assert outbox.stats.bytes == 5 * 356
    assert outbox.floor("s1") == 7


def test_the_file_stays_within_its_bound(make: Callable[..., Outbox], path: Path) -> None:
    outbox = make(max_bytes=2 * MIB)
    for _ in range(40):
        for _ in range(100):
            put(outbox, body='"' + "x" * 2000 + '"')
        outbox.flush()
    assert outbox.stats.evicted > 2000
    outbox.close()
    assert path.stat().st_size < 1.3 * 2 * MIB


def test_garbage_is_put_aside_and_counted_and_a_new_outbox_begins(
    make: Callable[..., Outbox], path: Path
) -> None:
    path.write_bytes(b"no database at all" * 100)
    outbox = make()
    assert put(outbox, urgent=True) == 1
    assert seqs(outbox) == [("s1", 1)]
    assert outbox.stats.set_aside == 1
    assert outbox.stats.problem is None
    assert path.with_name("outbox.db.damaged-1").read_bytes() == b"no database at all" * 100


def test_only_the_newest_damaged_files_are_kept_but_all_are_counted(
    make: Callable[..., Outbox], path: Path
) -> None:
    for _ in range(KEEP_ASIDE + 2):
        path.write_bytes(b"garbage garbage garbage garbage")
        make().close()
    kept = sorted(file.name for file in path.parent.glob("*.damaged-*"))
    assert kept == [f"outbox.db.damaged-{n}" for n in (3, 4, 5)]
    assert make().stats.set_aside == 5


def test_damage_while_running_costs_the_stored_messages_but_not_the_waiting_ones(
    make: Callable[..., Outbox], path: Path
) -> None:
    outbox = make()
    for _ in range(50):
        put(outbox, body='"' + "x" * 3000 + '"')
    outbox.flush()
    assert outbox._database is not None
    outbox._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    outbox._database.execute("PRAGMA shrink_memory")
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))
    assert put(outbox, "alarm", urgent=True) == 51
    assert seqs(outbox) == [("s1", 51)]
    assert (outbox.stats.set_aside, outbox.stats.messages, outbox.stats.problem) == (1, 1, None)


def test_another_programs_database_is_refused_and_left_alone(make: Callable[..., Outbox], path: Path) -> None:
    with sqlite3.connect(path) as foreign:
        foreign.execute("CREATE TABLE precious (x)")
    foreign.close()
    before = path.read_bytes()
    with pytest.raises(OutboxError) as raised:
        make()
    assert str(raised.value) == f"outbox.path: {path} is a database of another program; name another file"
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_our_database_is_recognised_by_its_application_id(make: Callable[..., Outbox], path: Path) -> None:
    make().close()
    assert int.from_bytes(path.read_bytes()[68:72], "big") == APPLICATION_ID


def test_a_database_of_a_newer_agent_is_put_aside(make: Callable[..., Outbox], path: Path) -> None:
    make().close()
    with sqlite3.connect(path) as newer:
        newer.execute("PRAGMA user_version = 99")
    newer.close()
    assert make().stats.set_aside == 1


def test_one_forgotten_bit_in_a_message_is_damage(make: Callable[..., Outbox], path: Path) -> None:
    outbox = make()
    put(outbox, body='{"temperature":20}', urgent=True)
    outbox.close()
    stored = path.read_bytes()
    assert stored.count(b'"temperature":20') == 1
    path.write_bytes(stored.replace(b'"temperature":20', b'"temperature":60'))
    after = make("s2")
    assert (seqs(after), after.stats.set_aside) == ([], 1)
    assert put(after, urgent=True) == 1
    assert seqs(after) == [("s2", 1)]


def test_messages_of_an_agent_without_checksums_are_taken_over(
    make: Callable[..., Outbox], path: Path
) -> None:
    outbox = make()
    put(outbox, urgent=True)
    put(outbox, body='{"ü":2.5}', urgent=True)
    outbox.close()
    with sqlite3.connect(path) as older:
        older.execute("ALTER TABLE message DROP COLUMN checksum")
    older.close()
    after = make("s2")
    assert (seqs(after), after.stats.set_aside) == ([("s1", 1), ("s1", 2)], 0)
    after.close()
    assert seqs(make("s3")) == [("s1", 1), ("s1", 2)]


def test_two_agents_cannot_share_one_outbox(make: Callable[..., Outbox], clock: Time) -> None:
    first, second = make("s1"), make("s2")
    put(second, "alarm", urgent=True)
    assert second.stats.problem is not None
    assert "another process uses it; messages wait in memory" in second.stats.problem
    first.close()
    clock.now += RETRY_S
    assert second.flush_if_due() is None
    after = second.stats
    assert (after.problem, after.committed_seq) == (None, 1)


@contextmanager
def no_room_beyond(size: int) -> Iterator[None]:
    """Files cannot grow beyond ``size`` bytes: to SQLite, a disk that refuses."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


def test_while_the_disk_refuses_messages_can_be_sent_from_memory_and_are_committed_later(
    make: Callable[..., Outbox], clock: Time
) -> None:
    outbox = make()
    put(outbox, urgent=True)
    with no_room_beyond(1):
        put(outbox, "alarm", urgent=True)
        assert outbox.stats.problem is not None
        assert outbox.stats.problem.endswith("; messages wait in memory")
        assert "damaged" not in outbox.stats.problem
        assert (outbox.stats.committed_seq, outbox.stats.pending) == (1, 1)
        assert ("s1", 2) in seqs(outbox)
    assert outbox.flush_if_due() == RETRY_S
    clock.now += RETRY_S
    outbox.flush_if_due()
    after = outbox.stats
    assert (after.problem, after.committed_seq, after.pending) == (None, 2, 0)
    assert seqs(outbox) == [("s1", 1), ("s1", 2)]


def test_memory_is_bounded_while_the_disk_refuses_and_alarms_stay_longest(
    tmp_path: Path, clock: Time
) -> None:
    (tmp_path / "file").write_text("in the way")
    outbox = Outbox(
        tmp_path / "file" / "outbox.db", session="s1", max_bytes=MIB, flush_interval_s=1, clock=clock
    )
    put(outbox, "alarm", urgent=True)
    for _ in range(100):
        put(outbox, body='"' + "x" * 20_000 + '"')
    stats = outbox.stats
    assert stats.bytes <= MIB
    assert stats.evicted == 101 - stats.messages > 40
    assert [row.kind for row in outbox.peek(0, 1)] == ["alarm"]


def test_messages_older_than_a_late_opened_database_are_numbered_after_it(
    make: Callable[..., Outbox], clock: Time
) -> None:
    first = make("s1")
    for _ in range(3):
        put(first, urgent=True)
    second = make("s2")  # the file is locked
    put(second, urgent=True)
    before = second.epoch
    first.close()
    clock.now += RETRY_S
    second.flush()
    assert seqs(second) == [("s1", 1), ("s1", 2), ("s1", 3), ("s2", 1)]
    assert second.epoch == before + 1


def test_after_closing_nothing_is_taken(make: Callable[..., Outbox]) -> None:
    outbox = make()
    put(outbox)
    outbox.close()
    with pytest.raises(OutboxError, match="closed"):
        put(outbox)
    assert seqs(make("s2")) == [("s1", 1)]


def test_committed_messages_survive_a_kill_in_the_middle_of_a_commit(path: Path) -> None:
    script = textwrap.dedent(f"""
        from agent.telemetry.outbox import Outbox
        outbox = Outbox({str(path)!r}, session="s1", max_bytes=2**26, flush_interval_s=0.001)
        while True:
            seq = outbox.append("alarm", '"' + "x" * 5000 + '"', created_at="", boot_id="",
                                clock_synced=True, urgent=True)
            print(seq, flush=True)
    """)
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for _ in range(100):
        process.stdout.readline()
    process.kill()
    last = int((["100", *process.stdout.read().split()])[-1])
    process.wait()
    outbox = Outbox(path, session="s2", max_bytes=2**26, flush_interval_s=1)
    found = [seq for _, seq in seqs(outbox)]
    assert found[:last] == list(range(1, last + 1))
    assert outbox.stats.set_aside == 0
    outbox.close()


class Model(RuleBasedStateMachine):
    """Against a plain dict: what was committed and not confirmed is what a reader sees."""

    def __init__(self) -> None:
        super().__init__()
        import tempfile

        self.directory = tempfile.TemporaryDirectory()
        self.number = 0
        self.held: dict[tuple[str, int], bool] = {}
        self.start()

    def start(self) -> None:
        self.number += 1
        self.session = f"s{self.number}"
        self.seq = 0
        path = Path(self.directory.name) / "outbox.db"
        self.outbox = Outbox(path, session=self.session, max_bytes=2**26, flush_interval_s=120, clock=Time())

    @rule(urgent=st.booleans())
    def append(self, urgent: bool) -> None:
        self.seq += 1
        assert put(self.outbox, urgent=urgent) == self.seq
        self.held[self.session, self.seq] = False
        if urgent:
            self.commit_all()

    @rule()
    def flush(self) -> None:
        self.outbox.flush()
        self.commit_all()

    @rule(back=st.integers(0, 2), upto=st.integers(0, 8))
    def acknowledge(self, back: int, upto: int) -> None:
        session = f"s{max(1, self.number - back)}"
        gone = [key for key in self.held if key[0] == session and key[1] <= upto]
        assert self.outbox.acknowledge(session, upto) == len(gone)
        for key in gone:
            del self.held[key]

    @rule(position=st.integers(0, 5))
    def delete_one(self, position: int) -> None:
        rows = self.outbox.peek(0, 100)
        if position < len(rows):
            self.outbox.delete([rows[position].id, 10**9])
            del self.held[rows[position].session, rows[position].seq]

    @rule()
    def restart(self) -> None:
        self.outbox.close()
        self.commit_all()
        self.start()

    @invariant()
    def agrees(self) -> None:
        assert seqs(self.outbox) == [key for key, committed in self.held.items() if committed]
        stats = self.outbox.stats
        assert stats.messages == len(self.held)
        assert stats.bytes == len(self.held) * (256 + len('{"a":1}'))
        own = [seq for session, seq in self.held if session == self.session]
        assert self.outbox.floor(self.session) == min(own, default=self.seq + 1)

    def commit_all(self) -> None:
        self.held = dict.fromkeys(self.held, True)

    def teardown(self) -> None:
        self.outbox.close()
        self.directory.cleanup()


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)


@given(st.text(max_size=3000))
def test_a_body_is_read_as_it_was_kept(body: str) -> None:
    assert outbox_rows.unpacked(outbox_rows.packed(body)) == body


def test_a_windows_body_takes_a_third_of_its_room_on_the_card() -> None:
    stored = Path(__file__).parent / "fixtures" / "messages" / "window.v1.json"
    feature = json.loads(stored.read_text())["body"]["features"][0]
    varied = [feature | {"name": f"light.{k}", "mean": k / 7, "psi": k / 300} for k in range(33)]
    body = json.dumps(varied)
    assert len(outbox_rows.packed(body)) < len(body) / 3
