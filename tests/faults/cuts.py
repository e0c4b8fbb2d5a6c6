"""Many power cuts through one recorded run of the outbox, and what must be there after each."""

import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import get_args

from powercut import recording, workload
from powercut.disk import Disk, Severity
from powercut.recording import Record

from agent.telemetry.outbox import Outbox

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Truth:
    """What the outbox promised before the cut, by session."""

    committed: dict[str, int] = field(default_factory=dict)
    removed: dict[str, int] = field(default_factory=dict)
    session: str = ""

    def hear(self, mark: str) -> None:
        word, session, *seq = mark.split()
        if word == "remembered":
            self.session = session
        elif word != "made":
            getattr(self, word)[session] = int(seq[0])

    @property
    def held(self) -> set[tuple[str, int]]:
        """Messages that must still be there."""
        return {
            (session, seq)
            for session, upto in self.committed.items()
            for seq in range(self.removed.get(session, 0) + 1, upto + 1)
        }

    def copy(self) -> "Truth":
        return Truth(dict(self.committed), dict(self.removed), self.session)


@dataclass
class Found:
    """Over all cuts."""

    cuts: int = 0
    promised: int = 0
    lost: int = 0
    wrong: int = 0
    """Messages that came back altered, twice, or that were never made."""
    refused: int = 0
    """Databases that did not open, or were put aside."""
    unsafe: int = 0
    """Changes that were not synced at the cut: what the simulation had to play with."""

    def add(self, other: "Found") -> None:
        for name in self.__dataclass_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


def run(scratch: Path, library: Path, *, start: Path | None, session: str, seed: int, steps: int,
        synchronous: str = "") -> tuple[Disk, list[Record]]:  # fmt: skip
    """One run of the workload from the disk as it lies in ``start``; the simulated disk and its log."""
    root = scratch / "root"
    shutil.rmtree(root, ignore_errors=True)
    if start is None:
        root.mkdir()
    else:
        shutil.copytree(start, root)
    disk = Disk(root.resolve())
    database = root.resolve() / "state" / "outbox.db"
    command = [sys.executable, workload.__file__, str(database), session, str(seed), str(steps)]
    records = recording.record(
        [*command, *([synchronous] if synchronous else [])], library, root=root, log=scratch / "log", cwd=ROOT
    )
    return disk, records


def through(
    disk: Disk, records: list[Record], truth: Truth, cuts: int, chance: Random, scratch: Path
) -> Found:
    """Cut ``cuts`` times at random moments; ``truth`` ends as it is at the end of the run. The folder of
    the last cut stays in ``scratch/cut``, and ``truth`` is what was promised then."""
    found = Found()
    due = sorted(chance.sample(range(1, len(records) + 1), min(cuts, len(records))))
    cut, heard = scratch / "cut", 0
    for number, record in enumerate(records[: due[-1]], start=1):
        disk.feed(record)
        if number != due[0]:
            continue
        due.pop(0)
        for mark in disk.marks[heard:]:
            truth.hear(mark)
        heard = len(disk.marks)
        shutil.rmtree(cut, ignore_errors=True)
        cut.mkdir()
        disk.cut(cut, chance, chance.choice(get_args(Severity)))
        look = scratch / "look"
        shutil.rmtree(look, ignore_errors=True)
        shutil.copytree(cut, look)
        found.unsafe += disk.pending
        found.add(after(look, truth))
    return found


def after(folder: Path, truth: Truth) -> Found:
    """Open what the cut left, as the agent does at its next start."""
    found = Found(cuts=1, promised=len(truth.held))
    remembered = folder / "state" / workload.SESSION_FILE
    if remembered.exists():  # the newest or, while it is replaced, the one before: but whole
        found.wrong += len(remembered.read_text()) != len(truth.session) + 1
    else:
        found.wrong += bool(truth.held)
    outbox = Outbox(folder / "state" / "outbox.db", session="next", max_bytes=2**26, flush_interval_s=3600)
    rows = outbox.peek(0, 10**9)
    stats = outbox.stats
    outbox.close()
    found.refused += stats.set_aside + (stats.problem is not None)
    there = [(row.session, row.seq) for row in rows]
    found.lost += len(truth.held - set(there))
    found.wrong += len(there) - len(set(there))
    found.wrong += sum(row.body != workload.body(row.session, row.seq) for row in rows)
    found.wrong += there != sorted(there, key=lambda item: (int(item[0].removeprefix("s")), item[1]))
    return found
