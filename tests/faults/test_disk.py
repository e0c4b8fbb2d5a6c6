"""The disk is full, read-only or broken in mid-run: the agent says so and goes on from memory."""

import os
import random
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from broker import Broker, eventually, start_broker
from fake_collector import FakeCollector
from powercut import recording
from powercut.workload import body
from running import Running

from agent.telemetry.outbox import RETRY_S, Outbox

ROUNDS = 150
EROFS, EIO = 30, 5


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    made = start_broker(tmp_path / "broker")
    yield made
    made.stop()


@contextmanager
def mounted(*arguments: str) -> Iterator[Path]:
    """A file system of the test's own; skipped where it may not be mounted."""
    folder = Path(tempfile.mkdtemp(prefix="litewatch-disk-"))
    try:
        done = subprocess.run(["mount", *arguments, str(folder)], capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("skipped: no mount command")
    if done.returncode:
        folder.rmdir()
        pytest.skip(f"skipped: no file system of our own can be mounted here ({done.stderr.strip()})")
    try:
        yield folder
    finally:
        # Lazily: a test that failed may still hold a file open.
        subprocess.run(["umount", "-l", str(folder)], check=True)
        folder.rmdir()


def fill(folder: Path) -> Path:
    """Take the last byte; the file to remove."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (65536, 4096, 512, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    return filler


def states(collector: FakeCollector) -> list[str]:
    return [" ".join((e.body.state, *e.body.problems)) for e in collector.of("state")]


def complete(collector: FakeCollector) -> int:
    """How many messages of its only session never arrived."""
    (session,) = {e.session for e in collector.of("health")}
    seqs = collector.seqs(session)
    return len(set(range(1, max(seqs) + 1)) - set(seqs))


def test_the_disk_is_full_in_mid_run(tmp_path: Path, broker: Broker, figure: Callable[..., None]) -> None:
    collector = FakeCollector(broker)
    with mounted("-t", "tmpfs", "-o", "size=8m", "tmpfs") as disk:
        agent = Running(tmp_path, state=disk / "state", broker=broker).start()
        try:
            eventually(lambda: collector.of("health"), within_s=30, what="the agent runs")
            filler = fill(disk)
            eventually(
                lambda: any(state.startswith("degraded") and "full" in state for state in states(collector)),
                what="that the disk is full is published",
            )
            before = len(collector.of("health"))
            eventually(lambda: len(collector.of("health")) > before + 5, what="messages from memory")
            filler.unlink()
            eventually(
                lambda: states(collector)[-1].startswith("online") or "full" not in states(collector)[-1],
                within_s=RETRY_S + 20,
                what="the disk is used again",
            )
            agent.stop()
        finally:
            agent.end()
            collector.close()
    lost = complete(collector)
    figure("disk full in mid-run: messages lost", lost, "messages", target=0,
           detail=f"of {len(collector.heard)}, told and recovered from")  # fmt: skip
    assert lost == 0


def test_the_file_system_turns_read_only_in_mid_run(
    tmp_path: Path, broker: Broker, figure: Callable[..., None]
) -> None:
    """ext4 finds an error in itself and does what cards' file systems do then: it allows no more writes."""
    image = tmp_path / "card"
    with image.open("wb") as file:
        file.truncate(16 * 2**20)
    if shutil.which("mkfs.ext4") is None:
        pytest.skip("skipped: no mkfs.ext4")
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    collector = FakeCollector(broker)
    with mounted("-o", "loop,errors=remount-ro", str(image)) as disk:
        device = subprocess.run(
            ["findmnt", "-no", "SOURCE", str(disk)], capture_output=True, text=True, check=True
        )
        switch = Path("/sys/fs/ext4") / Path(device.stdout.strip()).name / "trigger_fs_error"
        if not os.access(switch, os.W_OK):
            pytest.skip("skipped: this kernel cannot be told that its ext4 is damaged")
        agent = Running(tmp_path, state=disk / "state", broker=broker).start()
        try:
            eventually(lambda: collector.of("health"), within_s=30, what="the agent runs")
            switch.write_text("a test")
            eventually(
                lambda: any(
                    state.startswith("degraded") and "outbox" in state for state in states(collector)
                ),
                what="that the disk refuses is published",
            )
            before = len(collector.of("health"))
            eventually(lambda: len(collector.of("health")) > before + 5, what="messages from memory")
            agent.stop()
        finally:
            agent.end()
            collector.close()
    lost = complete(collector)
    figure("read-only in mid-run: messages lost", lost, "messages", target=0,
           detail=f"of {len(collector.heard)}")  # fmt: skip
    assert lost == 0


def test_every_write_fails_in_mid_run(tmp_path: Path, broker: Broker) -> None:
    """The same without root: the shim refuses, first as a read-only disk, then as a broken one."""
    if shutil.which("cc") is None:
        pytest.skip("skipped: no C compiler for the shim")
    refuse = tmp_path / "errno"
    refuse.write_text("0")
    agent = Running(tmp_path, broker=broker)
    agent.state.mkdir()
    collector = FakeCollector(broker)
    agent.start(**recording.refusing(recording.build(tmp_path), root=agent.state, refuse=refuse))
    try:
        eventually(lambda: collector.of("health"), within_s=30, what="the agent runs")
        for number in (EROFS, EIO):
            refuse.write_text(str(number))
            before = len(collector.of("health"))
            eventually(lambda before=before: len(collector.of("health")) > before + 5, what="messages go on")
        assert any(state.startswith("degraded") and "outbox" in state for state in states(collector))
        agent.stop()
    finally:
        agent.end()
        collector.close()
    assert complete(collector) == 0


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_disk_fills_and_empties_again_and_again(figure: Callable[..., None]) -> None:
    """The outbox on a file system hardly larger than its write-ahead log, filled at any moment."""
    chance, clock, number, evicted, refused = random.Random(9), Clock(), 0, 0, 0
    with mounted("-t", "tmpfs", "-o", "size=6m", "tmpfs") as disk:
        outbox = Outbox(disk / "outbox.db", session="s0", max_bytes=2**20, flush_interval_s=60, clock=clock)
        for _ in range(ROUNDS):
            filler = fill(disk) if chance.random() < 0.6 else None
            for _ in range(chance.randrange(12)):
                number += 1
                outbox.append(
                    "alarm", body("s0", number), created_at="2026-01-01T00:00:00Z", boot_id="b",
                    clock_synced=True, urgent=chance.random() < 0.6,
                )  # fmt: skip
            refused += outbox.stats.problem is not None
            if filler is not None:
                filler.unlink()
            clock.now += RETRY_S + 61
            outbox.flush_if_due()
            outbox.flush()
            outbox.acknowledge("s0", number - 20)
            stats = outbox.stats
            evicted += stats.evicted
            held = [row.seq for row in outbox.peek(0, 10_000)]
            assert held == list(range(max(1, number - 19), number + 1))
            assert (stats.problem, stats.pending, stats.set_aside) == (None, 0, 0)
        outbox.close()
    figure("disk full and free again: messages lost", evicted, "messages", target=0,
           detail=f"of {number}, {refused} of {ROUNDS} rounds refused")  # fmt: skip
    assert evicted == 0
    assert refused > ROUNDS / 4
