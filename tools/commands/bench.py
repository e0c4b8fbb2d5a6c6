"""``litewatch bench``: the agent against its peers, each figure a ratio in one run."""

import platform
import tempfile
from pathlib import Path

import click

from tools.bench.child_overhead import child_overhead_figures
from tools.bench.figures import Figure, show, write
from tools.bench.frame_path import frame_path_figures, paced_figures
from tools.bench.scenario import Scenario, data_pack, prepare
from tools.bench.statistics_cost import statistics_figures
from tools.console import emit_json, say


@click.command(
    epilog="\b\nExamples:\n  litewatch bench\n  litewatch bench --peers .venv-peers/bin/python --json"
)
@click.option("--out", type=click.Path(path_type=Path), default=Path("build/bench.json"), show_default=True)
@click.option(
    "--peers",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="A Python that has whylogs, for its figure.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def bench(out: Path, peers: Path | None, as_json: bool) -> None:
    """Measure CPU, memory, start and statistics against a hand-written loop and whylogs.

    Exit status 1 when a figure misses its target.
    """
    pack = data_pack()
    if pack is None:
        say("skipped: no data pack (set LITEWATCH_DATA to the folder that holds labels.csv)")
        write(out, [], skipped="no data pack")
        if as_json:
            emit_json({"figures": [], "skipped": "no data pack"})
        return
    write(out, [])  # whether it can be written should be known before the measuring
    with tempfile.TemporaryDirectory() as folder:
        figures = _measure(prepare(Path(folder), pack), pack, peers)
    write(out, figures, machine=platform.processor() or platform.machine(), python=platform.python_version())
    if as_json:
        emit_json({"figures": [figure.record() for figure in figures]})
    else:
        show("litewatch bench", figures)
        say(f"written: {out}")
    if any(figure.met is False for figure in figures):
        raise click.exceptions.Exit(1)


def _measure(scenario: Scenario, pack: Path, peers: Path | None) -> list[Figure]:
    say("frame path, memory and start: about 3 minutes")
    figures = list(frame_path_figures(scenario))
    if peers is None:
        say("no --peers: the statistics are not compared with whylogs")
    else:
        say("statistics: about half a minute")
        figures += statistics_figures(scenario, peers)
    say("a runner in a child process: about half a minute")
    figures += child_overhead_figures(pack)
    say("paced at 10 frames/s: about a minute")
    return figures + list(paced_figures(scenario))
