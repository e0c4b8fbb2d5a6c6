"""The agent's whole frame path against the hand-written loop, as whole processes in pairs.

Start-up is taken out by running each command with few and with many frames and dividing the
difference; pairs alternate, and the median ratio over the pairs is the figure.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import median

from tools.bench.figures import Figure
from tools.bench.processes import Run, measure
from tools.bench.scenario import Scenario

FEW, MANY = 150, 400
"""Frames of the shorter run: by then all that happens once is over."""
PAIRS = 9
PACED_FPS = 10.0
PACED_FEW, PACED_MANY = 20, 170


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """CPU milliseconds a frame, and the longer run as a whole."""

    cpu_ms: float
    run: Run


def frame_path_figures(scenario: Scenario) -> Iterator[Figure]:
    """CPU per frame, memory and start of the agent beside the loop."""
    default = _agent(scenario, "default", sample_every=10)
    every = _agent(scenario, "every", sample_every=1)
    measure(default(MANY))  # the first start computes thresholds and picks the runtime
    pairs = [(_cost(lambda n: scenario.loop(frames=n)), _cost(default), _cost(every)) for _ in range(PAIRS)]
    loop_ms = median(loop.cpu_ms for loop, _, _ in pairs)
    detail = f"loop {loop_ms:.2f} ms of CPU a frame, {scenario.name}, {PAIRS} pairs"
    yield Figure(
        name="frame path, default sampling",
        value=median(agent.cpu_ms / loop.cpu_ms for loop, agent, _ in pairs),
        unit="× loop",
        target=1.03,
        detail=detail,
    )
    yield Figure(
        name="frame path, every frame sampled",
        value=median(agent.cpu_ms / loop.cpu_ms for loop, _, agent in pairs),
        unit="× loop",
        target=1.08,
        detail=detail,
    )
    yield Figure(
        name="resident memory over the loop",
        value=median(agent.run.peak_rss_mib - loop.run.peak_rss_mib for loop, agent, _ in pairs),
        unit="MiB",
        target=30.0,
        detail=f"peak; loop {median(loop.run.peak_rss_mib for loop, _, _ in pairs):.0f} MiB",
    )
    shown = scenario.agent(scenario.folder / "default.yaml", frames=1, show=True)
    starts = [(measure(scenario.loop(frames=1)), measure(shown)) for _ in range(PAIRS)]
    yield Figure(
        name="start to first prediction, second start",
        value=median(agent.first_line_s / loop.first_line_s for loop, agent in starts),
        unit="× loop",
        target=2.0,
        detail=f"loop {median(loop.first_line_s for loop, _ in starts) * 1000:.0f} ms",
    )


def paced_figures(scenario: Scenario) -> Iterator[Figure]:
    """The share of one core at 10 frames a second, in absolute terms."""
    agent = _agent(scenario, "paced", sample_every=10, fps=PACED_FPS)
    commands: dict[str, Callable[[int], list[str]]] = {
        "agent": agent,
        "loop": lambda n: scenario.loop(frames=n, fps=PACED_FPS),
    }
    for name, command in commands.items():
        cost = _cost(command, few=PACED_FEW, many=PACED_MANY)
        share = cost.cpu_ms * PACED_FPS / 1000
        yield Figure(
            name=f"CPU share at {PACED_FPS:.0f} frames/s, {name}", value=100 * share, unit="% of a core"
        )


def _agent(
    scenario: Scenario, name: str, *, sample_every: int, fps: float | None = None
) -> Callable[[int], list[str]]:
    config = scenario.config(name, sample_every=sample_every, fps=fps)
    return lambda frames: scenario.agent(config, frames=frames)


def _cost(command: Callable[[int], list[str]], *, few: int = FEW, many: int = MANY) -> Cost:
    short, long = measure(command(few)), measure(command(many))
    return Cost(cpu_ms=(long.cpu_s - short.cpu_s) / (many - few) * 1000, run=long)
