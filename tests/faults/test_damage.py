"""A database damaged on purpose: put aside, counted, told, and a new one begins; nothing false is sent."""

import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from broker import eventually
from powercut.workload import body
from running import Running
from scale import scaled

from agent.telemetry.outbox import Outbox

ROUNDS = scaled(1200, least=40)
MESSAGES = 60
SEED = 5

Damage = Callable[[bytearray, Random], None]


def flip_bits(data: bytearray, chance: Random) -> None:
    for _ in range(chance.choice((1, 1, 1, 8, 200))):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def wipe(data: bytearray, chance: Random) -> None:
    """A range becomes zeros, as a lost flash block reads."""
    start, length = chance.randrange(len(data)), chance.choice((16, 512, 4096, 65536))
    end = min(len(data), start + length)
    data[start:end] = bytes(end - start)


def garbage(data: bytearray, chance: Random) -> None:
    start, length = chance.randrange(len(data)), chance.choice((4, 512, 4096))
    end = min(len(data), start + length)
    data[start:end] = chance.randbytes(end - start)


def shorten(data: bytearray, chance: Random) -> None:
    del data[chance.randrange(len(data)) :]


def swap_pages(data: bytearray, chance: Random) -> None:
    """Two pages change places, as in a file system that lost track."""
    pages = len(data) // 1024
    if pages > 1:
        one, other = (1024 * chance.randrange(pages) for _ in range(2))
        data[one : one + 1024], data[other : other + 1024] = (
            data[other : other + 1024],
            data[one : one + 1024],
        )


def header(data: bytearray, chance: Random) -> None:
    for _ in range(chance.choice((1, 4))):
        data[chance.randrange(min(100, len(data)))] = chance.randrange(256)


DAMAGES: tuple[Damage, ...] = (flip_bits, wipe, garbage, shorten, swap_pages, header)


def put(outbox: Outbox, *, urgent: bool = True) -> int:
    seq = outbox.stats.committed_seq + outbox.stats.pending + 1
    return outbox.append(
        "alarm" if seq % 5 == 0 else "window", body(outbox.session, seq), created_at="2026-01-01T00:00:00Z",
        boot_id="b", clock_synced=True, urgent=urgent, preprocess='{"fingerprint":"f","differs":[]}',
    )  # fmt: skip


def opened(path: Path, session: str) -> Outbox:
    return Outbox(path, session=session, max_bytes=2**20, flush_interval_s=3600)


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An outbox as a killed agent leaves it: some in the database, some in its write-ahead log."""
    folder = tmp_path_factory.mktemp("healthy")
    first = opened(folder / "outbox.db", "s1")
    for _ in range(MESSAGES // 2):
        put(first)
    first.close()
    second = opened(folder / "outbox.db", "s2")
    for _ in range(MESSAGES // 2):
        put(second)
    shutil.copytree(folder, folder / "killed", ignore=shutil.ignore_patterns("killed", "*-shm"))
    second.close()
    return folder / "killed"


def use(outbox: Outbox) -> list[tuple[str, int, bool]]:
    """What an agent does with it; every message read, and whether it is as it was made."""
    read, after = [], 0
    while rows := outbox.peek(after, 20):
        read += [(row.session, row.seq, row.body == body(row.session, row.seq)) for row in rows]
        after = rows[-1].id
        outbox.floor(rows[0].session)
    for _ in range(3):
        put(outbox)
    outbox.acknowledge("s1", 20)
    outbox.flush()
    return read


def test_a_damaged_outbox_is_put_aside_and_nothing_false_is_sent(
    healthy: Path, tmp_path: Path, figure: Callable[..., None]
) -> None:
    chance, seen, false, deaf = Random(SEED), Counter[str](), [], []
    for number in range(ROUNDS):
        folder = tmp_path / "damaged"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(healthy, folder)
        victim = folder / chance.choice(("outbox.db", "outbox.db", "outbox.db-wal"))
        data = bytearray(victim.read_bytes())
        damage = chance.choice(DAMAGES)
        damage(data, chance)
        victim.write_bytes(data)
        outbox = opened(folder / "outbox.db", "s3")
        read = use(outbox)
        stats = outbox.stats
        false += [(number, damage.__name__, row) for row in read if not row[2]]
        if stats.problem or stats.committed_seq != 3 or stats.pending:
            deaf.append((number, damage.__name__, stats.problem))
        outbox.close()
        seen["put aside" if stats.set_aside else "all there" if len(read) == MESSAGES else "part there"] += 1
        again = opened(folder / "outbox.db", "s4")
        kept = {(row.session, row.seq) for row in again.peek(0, 1000)}
        if not {("s3", seq) for seq in (1, 2, 3)} <= kept or again.stats.problem:
            deaf.append((number, damage.__name__, "lost what was committed after the damage"))
        again.close()
    figure(
        "damaged databases",
        ROUNDS,
        "databases",
        detail=", ".join(f"{n} {what}" for what, n in sorted(seen.items())),
    )
    figure("damaged databases: false messages read", len(false), "messages", target=0)
    figure("damaged databases: outboxes that did not work on", len(deaf), "outboxes", target=0)
    assert not false, false[:5]
    assert not deaf, deaf[:5]
    assert seen["put aside"] > ROUNDS / 10


def test_what_was_put_aside_is_published(tmp_path: Path) -> None:
    agent = Running(tmp_path)
    agent.state.mkdir()
    (agent.state / "outbox.db").write_bytes(b"no database at all " * 200)
    agent.start()
    try:
        log = agent.state / "outbox.db-wal"
        eventually(lambda: log.exists() and log.stat().st_size > 60_000, within_s=30, what="it works on")
        agent.stop()
    finally:
        agent.end()
    assert agent.bodies("health")[-1]["outbox_set_aside"] == 1
    assert (agent.state / "outbox.db.damaged-1").exists()
