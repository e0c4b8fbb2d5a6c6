"""The store, on SQLite and (where a server can be started) on PostgreSQL."""

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from databases import postgres
from hypothesis import given, settings
from hypothesis import strategies as st
from seeded_telemetry import AT, SESSIONS, about, accepted, alarm, envelope, health, state, window
from sqlalchemy import create_engine, select, text

from agent.errors import InputError, MachineError, WireError
from agent.telemetry import wire
from tools.collector.admission import Identity, refuse
from tools.collector.progress import AckDue, Gap
from tools.collector.store import Store
from tools.collector.tables import devices, messages, newest, quarantine, sessions


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "collector.db")
    url: str = request.getfixturevalue("server")
    with create_engine(url).begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    return url


@pytest.fixture
def store(database: str) -> Iterator[Store]:
    opened = Store(database)
    yield opened
    opened.close()


def due(upto: int, *, session: str = SESSIONS[1], device: str = "cam-1", site: str = "lab") -> AckDue:
    return AckDue(site=site, device=device, session=session, upto=upto)


def slot(store: Store, name: str) -> object:
    rows = [row for row in store.rows(newest) if row.slot == name]
    assert len(rows) == 1
    return wire.decode(rows[0].envelope, kind=rows[0].kind).body


def test_every_message_is_stored_once_and_acknowledged_again(store: Store) -> None:
    first = store.ingest([accepted(health(seq)) for seq in (1, 2, 2, 3)])
    assert (len(first.stored), first.duplicates, first.acks) == (3, 1, (due(3),))

    again = store.ingest([accepted(health(2))])
    assert (len(again.stored), again.duplicates, again.acks) == (0, 1, (due(3),))

    row = store.rows(sessions)[0]
    assert (row.stored, row.duplicates, row.lost, row.upto) == (3, 2, 0, 3)
    assert [(row.seq, row.kind, row.received_at) for row in store.rows(messages)] == [
        (seq, "health", AT) for seq in (1, 2, 3)
    ]


def test_the_body_is_kept_as_it_came_with_what_a_newer_agent_added(store: Store) -> None:
    from tools.collector.admission import Accepted, admit

    payload = json.loads(wire.encode(health(1)))
    payload["body"]["fan_rpm"] = 1200
    verdict = admit("litewatch/1/lab/cam-1/health", json.dumps(payload).encode(), received_at=AT)
    assert isinstance(verdict, Accepted)
    store.ingest([verdict])
    assert json.loads(store.rows(messages)[0].body) == payload["body"]


def test_nothing_is_acknowledged_past_a_hole_until_it_is_filled(store: Store) -> None:
    assert store.ingest([accepted(health(seq)) for seq in (2, 3, 6)]).acks == ()
    assert store.gaps("lab", "cam-1", SESSIONS[1]) == (
        Gap(first=1, last=1, lost=False),
        Gap(first=4, last=5, lost=False),
    )
    assert store.ingest([accepted(health(1))]).acks == (due(3),)
    assert store.ingest([accepted(health(seq)) for seq in (4, 5)]).acks == (due(6),)
    assert store.gaps("lab", "cam-1", SESSIONS[1]) == ()


def test_what_the_device_evicted_is_reported_and_not_waited_for(store: Store) -> None:
    store.ingest([accepted(health(seq)) for seq in (1, 2)])
    receipt = store.ingest([accepted(health(9, floor=8))])
    assert receipt.acks == (due(7),)
    assert store.rows(sessions)[0].lost == 5
    assert store.gaps("lab", "cam-1", SESSIONS[1]) == (
        Gap(first=3, last=7, lost=True),
        Gap(first=8, last=8, lost=False),
    )
    # A straggler that was given up arrives after all.
    assert store.ingest([accepted(health(8, floor=8)), accepted(health(5, floor=8))]).acks == (due(9),)
    assert store.rows(sessions)[0].lost == 4
    assert store.gaps("lab", "cam-1", SESSIONS[1]) == (
        Gap(first=3, last=4, lost=True),
        Gap(first=6, last=7, lost=True),
    )


def test_a_birth_can_raise_the_floor_and_is_itself_never_acknowledged(store: Store) -> None:
    store.ingest([accepted(health(1))])
    assert store.ingest([accepted(state("online", 2, floor=5))]).acks == ()
    assert store.ingest([accepted(health(5, floor=5))]).acks == (due(5),)


def test_sessions_and_devices_are_counted_apart(store: Store) -> None:
    batch = [
        accepted(health(1)),
        accepted(health(1, session=SESSIONS[2])),
        accepted(health(2, session=SESSIONS[2])),
        accepted(health(1, device="cam-2", session=SESSIONS[3])),
    ]
    assert set(store.ingest(batch).acks) == {
        due(1),
        due(2, session=SESSIONS[2]),
        due(1, device="cam-2", session=SESSIONS[3]),
    }


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.lists(
            st.tuples(st.integers(0, 12), st.integers(0, 12)).filter(lambda pair: pair[0] or pair[1] > 1),
            min_size=1,
            max_size=6,
        ),
        max_size=8,
    )
)
def test_progress_equals_the_definition(batches: list[list[tuple[int, int]]]) -> None:
    """Against sets: stored and settled seqs, whatever the order, the batches and the repetitions."""
    store = Store("sqlite://")
    seen: set[int] = set()
    floor = 0
    for batch in batches:
        receipt = store.ingest([accepted(health(seq, floor=low)) for seq, low in batch])
        seen |= {seq for seq, _ in batch if seq}
        floor = max([floor, *(low for _, low in batch)])
        upto = next(n for n in range(20) if n + 1 not in seen and n + 1 >= floor)
        wanted = (due(upto),) if upto and any(seq for seq, _ in batch) else ()
        assert receipt.acks == wanted
        row = store.rows(sessions)[0]
        highest = max([upto, *seen])
        assert (row.upto, row.highest, row.stored) == (upto, highest, len(seen))
        assert row.lost == sum(n not in seen for n in range(1, upto + 1))
        holes = store.gaps("lab", "cam-1", SESSIONS[1])
        missing = [(n, hole.lost) for hole in holes for n in range(hole.first, hole.last + 1)]
        assert missing == [(n, n <= upto) for n in range(1, highest + 1) if n not in seen]
    store.close()


def test_a_stale_death_is_ignored(store: Store) -> None:
    store.ingest([accepted(state("online", 2, session=SESSIONS[2]))])
    store.ingest(
        [
            accepted(state("lost", 1, session=SESSIONS[2])),
            accepted(state("lost", 9, session=SESSIONS[1])),
        ]
    )
    assert slot(store, "state").state == "online"  # type: ignore[attr-defined]
    store.ingest([accepted(state("lost", 2, session=SESSIONS[2]))])
    assert slot(store, "state").state == "lost"  # type: ignore[attr-defined]
    # A Will is the last word of its connection, whatever a restarted broker replays.
    store.ingest([accepted(state("online", 2, session=SESSIONS[2]), replayed=True)])
    assert slot(store, "state").state == "lost"  # type: ignore[attr-defined]
    # Births are never deduplicated away.
    for what in ("degraded", "online", "degraded", "online"):
        store.ingest([accepted(state(what, 3, session=SESSIONS[2]))])
        assert slot(store, "state").state == what  # type: ignore[attr-defined]


def test_a_numbered_state_sent_again_does_not_overrule_a_later_one(store: Store) -> None:
    store.ingest([accepted(state("degraded", 1, seq=1)), accepted(state("online", 1, seq=2))])
    store.ingest([accepted(state("degraded", 1, seq=1))])
    assert slot(store, "state").state == "online"  # type: ignore[attr-defined]
    # Nor does one that comes late and for the first time overrule a birth of its connection.
    store.ingest([accepted(state("stopped", 1)), accepted(state("degraded", 1, seq=4))])
    assert slot(store, "state").state == "stopped"  # type: ignore[attr-defined]


def test_a_backlog_of_an_older_session_does_not_overrule_the_newest(store: Store) -> None:
    store.ingest([accepted(envelope(about(agent="0.2.0"), 0, session=SESSIONS[2]))])
    store.ingest([accepted(envelope(about(agent="0.1.0"), 0, session=SESSIONS[1]), replayed=True)])
    assert slot(store, "about").agent == "0.2.0"  # type: ignore[attr-defined]

    store.ingest([accepted(envelope(alarm("cleared"), 1, session=SESSIONS[2]))])
    store.ingest([accepted(envelope(alarm("raised"), 7, session=SESSIONS[1], historical=True))])
    assert slot(store, "alarm:drift").status == "cleared"  # type: ignore[attr-defined]


def test_a_death_or_a_replay_is_no_sign_of_life(store: Store) -> None:
    later = "2026-01-01T13:00:00.000000Z"
    store.ingest([accepted(state("online", 1), received_at=later, replayed=True)])
    assert store.rows(devices)[0].last_seen == "2026-01-01T11:59:59.500000Z"
    store.ingest([accepted(health(1), received_at=AT)])
    store.ingest([accepted(state("lost", 1), received_at=later)])
    assert store.rows(devices)[0].last_seen == AT
    store.ingest([accepted(health(2), received_at=later)])
    store.ingest([accepted(health(3), received_at=AT)])
    assert store.rows(devices)[0].last_seen == later


def test_frames_are_counted_once_however_often_a_window_is_sent(store: Store) -> None:
    batch = [accepted(envelope(window(frames=700), seq)) for seq in (1, 2, 2)]
    store.ingest(batch)
    store.ingest(batch)
    assert store.rows(sessions)[0].window_frames == 1400


def test_the_quarantine_keeps_the_newest_and_only_their_beginning(database: str) -> None:
    store = Store(database, quarantine_rows=3)
    store.ingest([accepted(health(1))])
    for n in range(5):
        payload = bytes([n]) * 10_000
        store.ingest([refuse("litewatch/1/lab/cam-1/health", payload, f"reason {n}", received_at=AT)])
    rows = store.rows(quarantine)
    assert [(row.reason, row.size, len(row.payload)) for row in rows] == [
        (f"reason {n}", 10_000, 4096) for n in (2, 3, 4)
    ]
    assert store.rows(devices)[0].quarantined == 5
    store.close()


def test_a_refused_message_that_is_known_for_certain_is_not_waited_for(store: Store) -> None:
    who = Identity(site="lab", device="cam-1", session=SESSIONS[1], seq=2)
    broken = refuse("litewatch/1/lab/cam-1/health", b"{", "body.rss_mib: …", received_at=AT, settles=who)
    receipt = store.ingest([accepted(health(1)), broken, accepted(health(3))])
    assert receipt.acks == (due(3),)
    assert [row.kind for row in store.rows(messages)] == ["health", "refused", "health"]
    # Sent again because the ack was lost: acknowledged again, quarantined once.
    again = store.ingest([broken])
    assert (again.acks, again.duplicates, again.refused) == ((due(3),), 1, ())
    assert len(store.rows(quarantine)) == 1


def test_a_commit_is_visible_to_another_store_at_once(store: Store, database: str) -> None:
    other = Store(database)
    store.ingest([accepted(health(1))])
    assert other.ingest([accepted(health(2))]).acks == (due(2),)
    other.close()


def test_two_stores_at_once_advance_the_same_session(database: str) -> None:
    """Each gets every second message, in its own thread: the prefix still reaches the end."""
    from concurrent.futures import ThreadPoolExecutor

    stores = [Store(database), Store(database)]

    def share(place: int) -> int:
        top = 0
        for seq in range(1 + place, 81, 2):
            receipt = stores[place].ingest([accepted(health(seq))])
            top = max([top, *(ack.upto for ack in receipt.acks)])
        return top

    with ThreadPoolExecutor(2) as pool:
        tops = list(pool.map(share, (0, 1)))
    assert max(tops) == 80
    row = stores[0].rows(sessions)[0]
    assert (row.upto, row.stored, row.lost) == (80, 80, 0)
    for store in stores:
        store.close()


def test_a_locked_database_is_reported_and_nothing_is_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tools.collector.database.BUSY_TIMEOUT_S", 0.05)
    path = tmp_path / "collector.db"
    store = Store(str(path))
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    with pytest.raises(MachineError, match="database is locked"):
        store.ingest([accepted(health(1))])
    blocker.execute("ROLLBACK")
    blocker.close()
    assert store.ingest([accepted(health(1))]).acks == (due(1),)
    store.close()


def test_sqlite_survives_a_pulled_plug(tmp_path: Path) -> None:
    store = Store(str(tmp_path / "collector.db"))
    with store._engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == 2
    store.close()


def test_databases_of_others_are_refused_by_name(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.db"
    with sqlite3.connect(foreign) as connection:
        connection.execute("CREATE TABLE recipes (name TEXT)")
    with pytest.raises(InputError, match=r"foreign\.db is a database, but not a Litewatch collector's"):
        Store(str(foreign))

    text_file = tmp_path / "notes.txt"
    text_file.write_text("not a database at all, and long enough to be read as a header of one" * 3)
    with pytest.raises(InputError, match=r"notes\.txt: file is not a database"):
        Store(str(text_file))

    newer = tmp_path / "newer.db"
    Store(str(newer)).close()
    with sqlite3.connect(newer) as connection:
        connection.execute("UPDATE litewatch_collector SET version = 99")
    with pytest.raises(InputError, match=r"newer\.db has tables of version 99; this Litewatch knows 1"):
        Store(str(newer))

    for database, told in (
        ("mysql://host/db", "--db: expected sqlite or postgresql, got mysql"),
        ("://", "--db: expected a path or a URL"),
        (str(tmp_path / "none" / "x.db"), "--db: there is no folder"),
    ):
        with pytest.raises(InputError) as refused:
            Store(database)
        assert str(refused.value).startswith(told)
    with pytest.raises(InputError, match="there is no database"):
        Store(str(tmp_path / "absent.db"), create=False)
    assert not (tmp_path / "absent.db").exists()


def test_a_message_no_database_can_hold_is_quarantined_and_the_rest_stored(store: Store) -> None:
    from dataclasses import replace

    bad = accepted(health(2))
    bad = replace(bad, envelope=replace(bad.envelope, sent_at="yesterday"))
    receipt = store.ingest([accepted(health(1)), bad, accepted(health(3))])
    assert receipt.acks == (due(3),)
    assert [row.reason for row in store.rows(quarantine)] == [
        "the database cannot hold it: Invalid isoformat string: 'yesterday'"
    ]
    assert [row.kind for row in store.rows(messages)] == ["health", "refused", "health"]


def test_whatever_is_accepted_can_be_stored_and_read_again(store: Store) -> None:
    """Its typed body, written anew, would be larger than anything that may be sent: 1 becomes 1.0."""
    from tools.collector.admission import Accepted, admit

    def message(evidence: dict[str, int]) -> bytes:
        fields = json.loads(wire.encode(envelope(alarm("raised"), 1)))
        fields["body"]["evidence"] = evidence
        return json.dumps(fields, separators=(",", ":")).encode()

    large = {f"k{n:05}": 1 for n in range(22_000)}
    verdict = admit("litewatch/1/lab/cam-1/alarm", message(large), received_at=AT)
    assert isinstance(verdict, Accepted)
    with pytest.raises(WireError):
        wire.encode(verdict.envelope)
    assert store.ingest([verdict, accepted(health(2))]).acks == (due(2),)
    assert slot(store, "alarm:drift").evidence == large  # type: ignore[attr-defined]


def test_a_message_that_cannot_be_written_is_put_aside_alone(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tools.collector import latest

    told = latest._kept

    def refuses(message: object) -> str:
        if message is bad:
            raise WireError("body: a defect")
        return told(message)  # type: ignore[arg-type]

    bad = accepted(envelope(alarm("raised"), 2))
    monkeypatch.setattr(latest, "_kept", refuses)
    receipt = store.ingest([accepted(health(1)), bad, accepted(health(3))])
    assert receipt.acks == (due(3),)
    assert [(row.reason, row.topic) for row in store.rows(quarantine)] == [
        ("the database cannot hold it: body: a defect", "litewatch/1/lab/cam-1/alarm")
    ]


def test_a_namesake_at_another_site_takes_nobodys_numbers(store: Store) -> None:
    forged = [accepted(envelope(alarm("cleared"), seq, site="other", floor=seq)) for seq in (1, 9)]
    assert store.ingest(forged).acks == (due(9, site="other"),)
    for _ in range(2):
        receipt = store.ingest([accepted(envelope(alarm("raised"), 1))])
        assert receipt.acks == (due(1),)
    bodies = {(row.site, row.seq): json.loads(row.body)["status"] for row in store.rows(messages)}
    assert bodies == {("lab", 1): "raised", ("other", 1): "cleared", ("other", 9): "cleared"}
    assert [(row.site, row.upto, row.duplicates) for row in store.rows(sessions)] == [
        ("lab", 1, 1),
        ("other", 9, 0),
    ]


def test_a_device_that_moved_sends_the_rest_of_its_backlog_from_its_new_site(store: Store) -> None:
    """What its outbox still holds of the session before goes out under the new site."""
    assert store.ingest([accepted(health(seq, floor=1)) for seq in (1, 2)]).acks == (due(2),)
    moved = [health(3, site="hall", floor=3), health(1, site="hall", floor=1, session=SESSIONS[2])]
    assert set(store.ingest([accepted(one) for one in moved]).acks) == {
        due(3, site="hall"),
        due(1, site="hall", session=SESSIONS[2]),
    }


def test_reading_needs_no_write_lock(tmp_path: Path) -> None:
    path = tmp_path / "collector.db"
    writer = Store(str(path))
    writer.ingest([accepted(health(1))])
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    reader = Store(str(path), create=False)
    assert [row.stored for row in reader.rows(sessions)] == [1]
    blocker.execute("ROLLBACK")
    blocker.close()
    reader.close()
    writer.close()


def test_select_is_by_primary_key(database: str) -> None:
    """The identity is the key itself: the database, not our code, refuses a second copy."""
    store = Store(database)
    store.ingest([accepted(health(1))])
    with store._engine.connect() as connection:
        key = [column.name for column in messages.primary_key.columns]
        assert key == ["site", "device", "session", "seq"]
        assert connection.execute(select(messages.c.seq)).scalars().all() == [1]
    store.close()
