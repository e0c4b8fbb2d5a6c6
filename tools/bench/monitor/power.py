"""How many faults one window finds: ours, and every peer on the same rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tools.bench.monitor import peers
from tools.bench.monitor.alarms import Place, commissioned, parallel
from tools.bench.monitor.device import Device
from tools.bench.monitor.faults import Fault
from tools.bench.monitor.peers import PEERS, Told, power_at
from tools.bench.monitor.rendered import Rendered
from tools.bench.monitor.streams import SAMPLES_A_DAY, Stream, shown

WINDOW = 250
DWELL = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """One window of WINDOW independent rows, and who called it drift."""

    rows: NDArray[np.float32]
    detectors: frozenset[str]


@dataclass(frozen=True, kw_only=True, slots=True)
class PeerPower:
    name: str
    found: float
    false_alarms: float
    windows: int
    seconds_a_window: float
    failed: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Power:
    """``found`` per fault, share of its windows called drift by any detector, and by the panel alone.
    ``false_alarms`` likewise of the unchanged windows, ``unchanged`` in number."""

    found: dict[str, float]
    panel: dict[str, float]
    false_alarms: float
    false_alarms_panel: float
    unchanged: int
    interval: int
    peers: tuple[PeerPower, ...]

    @property
    def mean(self) -> float:
        return float(np.mean(list(self.found.values())))

    @property
    def mean_panel(self) -> float:
        return float(np.mean(list(self.panel.values())))


def power(
    place: Place,
    faults: Sequence[tuple[Fault, Rendered]],
    *,
    unchanged: int,
    per_fault: int,
    environments: Path | None,
    workers: int,
) -> Power:
    device, _ = commissioned(place, DWELL, 77)
    tasks = [(-1, seed) for seed in range(unchanged)]
    tasks += [(at, 100_000 + seed) for at in range(len(faults)) for seed in range(per_fault)]
    rendered = [place.test, *(given for _, given in faults)]
    seen = list(parallel(partial(_seen, device, rendered), tasks, workers))
    normal, faulty = seen[:unchanged], seen[unchanged:]
    by_fault = [faulty[at * per_fault : (at + 1) * per_fault] for at in range(len(faults))]
    asked: tuple[PeerPower, ...] = ()
    rate = _share(normal)
    if environments is not None:
        asked = tuple(_asked(environments, place, device, normal, by_fault, rate))
    return Power(
        found={fault.key: _share(windows) for (fault, _), windows in zip(faults, by_fault, strict=True)},
        panel={
            fault.key: _share(windows, "panel") for (fault, _), windows in zip(faults, by_fault, strict=True)
        },
        false_alarms=rate,
        false_alarms_panel=_share(normal, "panel"),
        unchanged=unchanged,
        interval=device.interval,
        peers=asked,
    )


def _seen(device: Device, rendered: Sequence[Rendered], task: tuple[int, int]) -> Seen:
    at, seed = task
    watching, every = device.twin(), device.interval
    given = rendered[at + 1]
    stream = Stream(len(given.rows), dwell=DWELL, seed=500_000 + seed)
    stream.next(int(np.random.default_rng(seed).integers(SAMPLES_A_DAY)))
    frames = shown(stream.next((WINDOW + 1) * every), given, seed=seed)
    drifted = {one.detector for one in watching.watch(frames) if one.verdict.score.drifted}
    return Seen(rows=frames.rows[::every][:WINDOW], detectors=frozenset(drifted))


def _share(windows: Sequence[Seen], detector: str | None = None) -> float:
    called = [bool(one.detectors) if detector is None else detector in one.detectors for one in windows]
    return float(np.mean(called))


def _asked(
    environments: Path,
    place: Place,
    device: Device,
    normal: Sequence[Seen],
    by_fault: Sequence[Sequence[Seen]],
    rate: float,
) -> list[PeerPower]:
    unchanged = np.stack([one.rows for one in normal])
    faults = np.stack([np.stack([one.rows for one in windows]) for windows in by_fault])
    # The commissioning rows, as the device itself has them: they are what "unchanged" means.
    reference = device.reference.calibration
    ask = partial(peers.ask, environments, reference=reference, unchanged=unchanged, faults=faults)
    found = []
    for peer in PEERS:
        told: Told = ask(peer)
        share, wrong = power_at(told, rate) if not told.failed else (0.0, 0.0)
        found.append(
            PeerPower(
                name=peer.name,
                found=share,
                false_alarms=wrong,
                windows=len(told.unchanged),
                seconds_a_window=told.seconds_a_window,
                failed=told.failed,
            )
        )
    return found
