"""The baseline's file: appended to, kept over restarts, begun anew when it must be."""

import logging
from pathlib import Path

import numpy as np
import pytest

from agent.baseline import BaselineFile
from agent.monitor.commissioning import Baseline, Wanted

S = 10**9
WANTED = Wanted(key="k", features=36, hours=24.0, samples=2000)


def gather(baseline: Baseline, start_s: int, stop_s: int, every_s: int = 10) -> None:
    for at in range(start_s, stop_s, every_s):
        row = np.full(36, at, dtype=np.float32)
        baseline.add(row, predicted=at % 5, right=0.9, at_ns=at * S)


def test_a_day_is_kept_over_a_restart_at_less_than_a_megabyte(tmp_path: Path) -> None:
    path, written = tmp_path / "baseline.bin", 0
    file = BaselineFile(path, WANTED)
    length = 0
    for minute in range(24 * 60):
        gather(file.baseline, minute * 60, minute * 60 + 60)
        file.tick((minute + 1) * 60 * S)
        size = path.stat().st_size if path.exists() else 0
        written += size - length
        length = size
    file.save()
    assert path.stat().st_size < 650_000
    assert written < 650_000
    again = BaselineFile(path, WANTED)
    assert again.problem == ""
    assert again.baseline.n == file.baseline.n == 4000
    assert again.baseline.hours == pytest.approx(24.0, abs=0.01)


def test_it_is_saved_every_half_hour_and_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "baseline.bin"
    file = BaselineFile(path, WANTED)
    file.tick(0)
    gather(file.baseline, 0, 1799)
    file.tick(1799 * S)
    assert not path.exists()
    file.tick(1800 * S)
    saved = BaselineFile(path, WANTED).baseline.n
    assert saved == file.baseline.n == 83
    gather(file.baseline, 1800, 2400)
    file.tick(2400 * S)
    assert BaselineFile(path, WANTED).baseline.n == 83
    file.save()
    assert BaselineFile(path, WANTED).baseline.n == file.baseline.n == 111


def test_only_this_user_may_read_it(tmp_path: Path) -> None:
    file = BaselineFile(tmp_path / "baseline.bin", WANTED)
    gather(file.baseline, 0, 100)
    file.save()
    assert (tmp_path / "baseline.bin").stat().st_mode & 0o777 == 0o600


def test_a_damaged_end_is_said_and_cut_off(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "baseline.bin"
    file = BaselineFile(path, WANTED)
    gather(file.baseline, 0, 1000)
    file.save()
    whole = path.read_bytes()
    path.write_bytes(whole + b"half a part")
    with caplog.at_level(logging.WARNING):
        again = BaselineFile(path, WANTED)
    assert again.problem == "baseline.bin: its last 11 bytes are damaged; 46 rows of it are kept"
    assert again.problem in caplog.text
    gather(again.baseline, 1000, 2000)
    again.save()
    assert path.read_bytes()[: len(whole)] == whole
    third = BaselineFile(path, WANTED)
    assert (third.problem, third.baseline.n) == ("", again.baseline.n)


def test_another_bundle_begins_anew_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "baseline.bin"
    file = BaselineFile(path, WANTED)
    gather(file.baseline, 0, 1000)
    file.save()
    other = Wanted(key="other", features=36, hours=24.0, samples=2000)
    again = BaselineFile(path, other)
    assert again.problem == ""  # nothing is wrong with it
    assert again.baseline.n == 0
    gather(again.baseline, 0, 500)
    again.save()
    assert BaselineFile(path, other).baseline.n == again.baseline.n
    assert BaselineFile(path, WANTED).baseline.n == 0


def test_a_baseline_that_began_anew_is_forgotten_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "baseline.bin"
    file = BaselineFile(path, WANTED)
    gather(file.baseline, 0, 1000)
    file.save()
    file.baseline.forget()
    file.tick(2000 * S)
    assert not path.exists()
    gather(file.baseline, 2000, 2500)
    file.save()
    assert BaselineFile(path, WANTED).baseline.n == file.baseline.n == 23


def test_a_full_disk_costs_nothing_but_the_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "gone"
    file = BaselineFile(folder / "baseline.bin", WANTED)
    gather(file.baseline, 0, 1000)
    with caplog.at_level(logging.WARNING):
        file.save()
    assert "baseline.bin not kept: No such file or directory" in caplog.text
    folder.mkdir()
    file.save()
    assert BaselineFile(folder / "baseline.bin", WANTED).baseline.n == file.baseline.n
