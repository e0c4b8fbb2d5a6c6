"""False alarms where nothing changed, and how long a fault goes unnoticed."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from math import exp
from multiprocessing import get_context
from typing import Literal, TypeAlias, TypeVar

import numpy as np

from tools.bench.monitor.device import Device, default_monitor
from tools.bench.monitor.rendered import Rendered
from tools.bench.monitor.streams import FRAMES_A_SECOND, SAMPLE_EVERY, SAMPLES_A_DAY, Stream, shown
from tools.bench.monitor.training import Trained

DAYS_A_DEVICE = 60
GIVEN_UP_DAYS = 3

Scenes: TypeAlias = Literal["the same", "unseen"]
Task = TypeVar("Task")
Done = TypeVar("Done")


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """What a device sees: healthy before it is commissioned, healthy afterwards."""

    trained: Trained
    commissioning: Rendered
    test: Rendered


@dataclass(frozen=True, kw_only=True, slots=True)
class Quiet:
    """A healthy device over ``days``: alarms raised, drifted scores by detector, ``lag_1`` of the last
    independent frames, ``interval`` between these in sampled frames. ``scenes``: the ones it was
    commissioned on, in other frames, or ``unseen`` halves of the same photographs."""

    scenes: Scenes
    dwell: int
    days: int
    alarms: int
    drifted: dict[str, int]
    commissioning_days: int
    interval: int
    lag_1: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class Delay:
    """Minutes from the fault's onset to the first score that drifted; infinite when none did."""

    fault: str
    cost: float
    minutes: float
    detector: str


def quiet(place: Place, scenes: Scenes, dwells: Sequence[int], *, days: int, workers: int) -> Iterator[Quiet]:
    """``days`` healthy device-days at each dwell, by several devices."""
    if scenes == "the same":
        place = replace(place, test=place.commissioning)
    devices = max(1, round(days / DAYS_A_DEVICE))
    tasks = [(dwell, seed, -(-days // devices)) for dwell in dwells for seed in range(devices)]
    yield from parallel(partial(_quiet, place, scenes), tasks, workers)


def parallel(work: Callable[[Task], Done], tasks: Sequence[Task], workers: int) -> Iterator[Done]:
    """The work on each task, in order, by so many processes."""
    if workers < 2:
        yield from map(work, tasks)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("fork")) as pool:
        yield from pool.map(work, tasks)


def commissioned(place: Place, dwell: int, seed: int) -> tuple[Device, int]:
    device = Device(place.trained, default_monitor())
    first = Stream(len(place.commissioning.rows), dwell=dwell, seed=2 * seed + 1)
    return device, device.commission(first, place.commissioning, seed=seed)


def _quiet(place: Place, scenes: Scenes, task: tuple[int, int, int]) -> Quiet:
    dwell, seed, days = task
    device, before = commissioned(place, dwell, seed)
    stream = Stream(len(place.test.rows), dwell=dwell, seed=2 * seed + 2)
    drifted: Counter[str] = Counter()
    alarms = 0
    for day in range(days):
        for said in device.watch(shown(stream.next(SAMPLES_A_DAY), place.test, seed=seed * 7919 + day)):
            drifted[said.detector] += said.verdict.score.drifted
            alarms += said.raised
    return Quiet(
        scenes=scenes,
        dwell=dwell,
        days=days,
        alarms=alarms,
        drifted=dict(drifted),
        commissioning_days=before,
        interval=device.interval,
        lag_1=device.lag_1,
    )


def upper_bound(events: int, exposure: float, *, confidence: float = 0.95) -> float:
    """One-sided upper bound of a Poisson rate with ``events`` over ``exposure`` (Garwood 1936): the rate
    at which so few events would have had a chance of 1 - ``confidence``."""

    def chance(mean: float) -> float:
        term = total = exp(-mean)
        for number in range(1, events + 1):
            term *= mean / number
            total += term
        return total

    low, high = 0.0, events + 20.0 + 6.0 * np.sqrt(events)
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if chance(middle) > 1 - confidence else (low, middle)
    return float(high / exposure)


def delays(
    place: Place,
    faults: Sequence[tuple[str, float, Rendered]],
    *,
    dwell: int,
    onsets: int,
    workers: int,
) -> Iterator[Delay]:
    """Each fault (name, cost in points, rendered) begins ``onsets`` times at a random hour."""
    device, _ = commissioned(place, dwell, 101)
    seeds = np.random.default_rng(17).integers(1, 2**31, (len(faults), onsets))
    tasks = [(at, int(seed)) for at, row in enumerate(seeds) for seed in row]
    yield from parallel(partial(_delay, place, device, tuple(faults), dwell), tasks, workers)


def _delay(
    place: Place,
    device: Device,
    faults: tuple[tuple[str, float, Rendered], ...],
    dwell: int,
    task: tuple[int, int],
) -> Delay:
    at, seed = task
    name, cost, rendered = faults[at]
    watching = device.twin()
    stream = Stream(len(place.test.rows), dwell=dwell, seed=seed)
    rng = np.random.default_rng(seed)
    watching.watch(shown(stream.next(int(rng.integers(SAMPLES_A_DAY))), place.test, seed=seed))
    onset = watching.at
    for hour in range(24 * GIVEN_UP_DAYS):
        frames = shown(stream.next(SAMPLES_A_DAY // 24), rendered, seed=seed + hour)
        for said in watching.watch(frames, until_drifted=True):
            if said.verdict.score.drifted:
                minutes = (said.at - onset) * SAMPLE_EVERY / FRAMES_A_SECOND / 60
                return Delay(fault=name, cost=cost, minutes=minutes, detector=said.detector)
    return Delay(fault=name, cost=cost, minutes=float("inf"), detector="")
