"""The plug is pulled: nothing that was committed is lost, and the outbox opens.

The workload runs for real; the shim writes down what it does to its disk, and the simulated disk says
what a cut at any moment may leave (see powercut/disk.py). Each generation starts from what a cut of the
one before left, so that recovery is cut as well.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import get_args

import cuts
import pytest
from cuts import ROOT
from powercut import recording
from powercut.disk import Disk, Severity
from running import Running
from scale import scaled

from tools.cli import LITEWATCH

GENERATIONS = scaled(16, least=2)
CUTS = scaled(80, least=15)
"""In each generation."""
AGENT_CUTS = scaled(12, least=1)
SEED = 11


@pytest.fixture
def scratch() -> Iterator[Path]:
    """In memory where possible: thousands of small files are made and thrown away."""
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="litewatch-", dir=memory if memory.is_dir() else None))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def library(scratch: Path) -> Path:
    if shutil.which("cc") is None:
        pytest.skip("skipped: no C compiler for the shim")
    return recording.build(scratch)


def test_nothing_committed_is_lost(scratch: Path, library: Path, figure: Callable[..., None]) -> None:
    chance, truth, found = Random(SEED), cuts.Truth(), cuts.Found()
    start = None
    for generation in range(GENERATIONS):
        steps = chance.choice((10, 60, 250, 900))
        disk, records = cuts.run(
            scratch, library, start=start, session=f"s{generation}", seed=generation, steps=steps
        )
        found.add(cuts.through(disk, records, truth, CUTS, chance, scratch))
        start = scratch / "start"
        shutil.rmtree(start, ignore_errors=True)
        (scratch / "cut").rename(start)
    figure("power cuts", found.cuts, "cuts", target=1000, bound="at least",
           detail=f"{found.unsafe} unsynced changes dropped, torn or kept")  # fmt: skip
    figure("power cuts: committed messages lost", found.lost, "messages", target=0,
           detail=f"of {found.promised} promised")  # fmt: skip
    figure("power cuts: messages altered or doubled", found.wrong, "messages", target=0)
    figure("power cuts: outboxes that did not open", found.refused, "outboxes", target=0)
    assert (found.lost, found.wrong, found.refused) == (0, 0, 0)
    assert found.promised > 100 * GENERATIONS


def test_the_whole_agent_starts_after_any_cut(
    scratch: Path, library: Path, figure: Callable[..., None]
) -> None:
    """Its state directory (outbox, session, thresholds, last good config and bundle) as cuts leave it."""
    root, log = (scratch / "root").resolve(), scratch / "log"
    root.mkdir()
    disk = Disk(root)
    agent = Running(scratch, state=root / "state")
    command = [*LITEWATCH, "run", "-c", str(scratch / "agent.yaml"), "--frames"]
    environment = {**os.environ, "STATE_DIRECTORY": str(agent.state), "PYTHONPATH": str(ROOT)}
    records = recording.record([*command, "60"], library, root=root, log=log, cwd=scratch, env=environment)
    chance, failed, unsafe = Random(SEED), [], 0
    due = set(chance.sample(range(len(records) // 20, len(records)), AGENT_CUTS))
    for number, record in enumerate(records):
        disk.feed(record)
        if number not in due:
            continue
        unsafe += disk.pending
        shutil.rmtree(root)
        root.mkdir()
        disk.cut(root, chance, chance.choice(get_args(Severity)))
        done = subprocess.run(
            [*command, "3"], cwd=scratch, env=environment, capture_output=True, text=True, timeout=60
        )
        aside = list(agent.state.glob("*.damaged-*"))
        if done.returncode or "Traceback" in done.stderr or aside:
            failed.append((number, done.returncode, aside, done.stderr[-2000:]))
    figure("power cuts of litewatch run: starts that failed", len(failed), "starts", target=0,
           detail=f"of {AGENT_CUTS}, {unsafe} unsynced changes")  # fmt: skip
    assert not failed, failed[0]


def test_the_simulation_finds_what_a_weaker_setting_loses(
    scratch: Path, library: Path, figure: Callable[..., None]
) -> None:
    """Without a sync at each commit (synchronous=NORMAL) messages must be lost, or this proves nothing."""
    disk, records = cuts.run(
        scratch, library, start=None, session="s0", seed=1, steps=300, synchronous="NORMAL"
    )
    found = cuts.through(disk, records, cuts.Truth(), CUTS, Random(SEED), scratch)
    figure("power cuts: lost with synchronous=NORMAL (control)", found.lost, "messages", target=1,
           bound="at least")  # fmt: skip
    assert found.lost > 0
