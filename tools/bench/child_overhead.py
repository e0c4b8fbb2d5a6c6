"""What it costs a frame that its runner lives in a child process.

``python -m tools.bench.child_overhead [--out FILE]``: the same model on the same kernels in this process
and in a child, alternating, so that both meet the same machine. On a machine that other work shares, a
run now and then waits for a core, and the one that needs two wake-ups waits more often: the figure
compares the fastest tenth of the runs, and the medians stand in its detail.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from agent.contracts import Array, Runner
from agent.runtime.child import ChildRunner
from agent.runtime.choice import Runtime, choose
from agent.runtime.cpu import Cpu
from tools.bench.figures import Figure, show, write
from tools.bench.scenario import data_pack
from tools.console import say

MODELS = {
    "MobileNet v1 0.25": "mobilenet_v1_0.25_224_quant.tflite",
    "MobileNet v2": "coral_edgetpu_mobilenet_v2_1.0_224_quant.tflite",
}
RUNS = 600
WARM_UP = 20
FASTEST = 10
"""The percentile that is compared."""
SHARE, LEAST_US = 0.05, 150.0
"""The promise: at most this share of a run in process, or so many microseconds, whichever is more."""


def child_overhead_figures(pack: Path, *, runs: int = RUNS) -> Iterator[Figure]:
    """A figure for each model of ``pack`` (the data pack)."""
    runtime = choose("auto", cache=None)
    for name, file in MODELS.items():
        yield _figure(name, (pack / "models" / file).read_bytes(), runtime, runs)


def _figure(name: str, model: bytes, runtime: Runtime, runs: int) -> Figure:
    here = Cpu().open(model, runtime=runtime, threads=1)
    child = ChildRunner(Cpu(), model, runtime=runtime, threads=1, timeout_s=60.0)
    try:
        alone, across = _times_us(here, child, runs)
    finally:
        child.close()
        here.close()
    fast, slow = (float(np.percentile(times, FASTEST)) for times in (alone, across))
    return Figure(
        name=f"a runner in a child process, {name}",
        value=slow - fast,
        unit="µs a frame",
        target=max(SHARE * fast, LEAST_US),
        detail=f"fastest tenth {fast:.0f} in process, {slow:.0f} in the child; medians "
        f"{np.median(alone):.0f} and {np.median(across):.0f}; {runs} runs of each, alternating",
    )


def _times_us(here: Runner, child: Runner, runs: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    spec = here.input
    tensor: Array = np.random.default_rng(0).integers(0, 256, spec.shape).astype(spec.dtype)
    times = np.empty((2, runs + WARM_UP))
    for number in range(runs + WARM_UP):
        for place, runner in enumerate((here, child)):
            begin = time.perf_counter_ns()
            runner.run(tensor)
            times[place, number] = (time.perf_counter_ns() - begin) / 1000
    return times[0, WARM_UP:], times[1, WARM_UP:]


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("build/child-overhead.json"))
@click.option("--runs", type=click.IntRange(10), default=RUNS, show_default=True)
def main(out: Path, runs: int) -> None:
    """Measure it; exit status 1 when the promise is missed."""
    pack = data_pack()
    if pack is None:
        say("skipped: no data pack (set LITEWATCH_DATA to the folder that holds labels.csv)")
        write(out, [], skipped="no data pack")
        return
    figures = list(child_overhead_figures(pack, runs=runs))
    write(out, figures)
    show("A runner in a child process", figures)
    raise SystemExit(1 if any(figure.met is False for figure in figures) else 0)


if __name__ == "__main__":
    main()
