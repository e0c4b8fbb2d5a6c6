"""What a bench writes: figures with a value, a unit, a target, and whether it was met."""

import json
import sys
from pathlib import Path

import pytest

from agent.errors import MachineError
from tools.bench.figures import Figure, write
from tools.bench.processes import measure
from tools.cli import main


@pytest.mark.parametrize(
    ("value", "bound", "met"),
    [(1.02, "at most", True), (1.04, "at most", False), (41.0, "at least", True), (0.5, "at least", False)],
)
def test_a_figure_knows_whether_it_was_met(value: float, bound: str, met: bool) -> None:
    figure = Figure(name="f", value=value, unit="×", target=1.03, bound=bound)  # type: ignore[arg-type]  # parametrized
    assert figure.met is met


def test_a_figure_without_target_only_informs(tmp_path: Path) -> None:
    path = tmp_path / "build" / "bench.json"
    write(path, [Figure(name="share", value=9.0, unit="%")], python="3.11")
    (record,) = json.loads(path.read_text())["figures"]
    assert {"name", "value", "unit", "target", "met"} <= set(record)
    assert (record["target"], record["met"]) == (None, None)


def test_without_the_data_pack_the_bench_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("tools.bench.scenario.places", lambda: [tmp_path / "nowhere"])
    out = tmp_path / "bench.json"
    assert main(["bench", "--out", str(out)]) == 0
    assert "skipped: no data pack" in capsys.readouterr().err
    assert json.loads(out.read_text())["skipped"] == "no data pack"


def test_a_process_is_measured_from_outside() -> None:
    busy = (
        "import time; print('first', flush=True); x = bytearray(80_000_000); e = time.process_time() + 0.3\n"
    )
    busy += "while time.process_time() < e: pass"
    run = measure([sys.executable, "-c", busy])
    assert run.cpu_s >= 0.3
    # Some 76 MiB of its own and a small Python, however large the process that measures has grown.
    assert 76 <= run.peak_rss_mib <= 110
    assert run.first_line_s <= run.wall_s
    with pytest.raises(MachineError, match="failed with 3: last words"):
        measure([sys.executable, "-c", "import sys; sys.stderr.write('last words'); sys.exit(3)"])
