"""What the statistics cost beside SciPy and whylogs, in processor time of one thread."""

import importlib
import subprocess
import tempfile
import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

import cv2
import numpy as np
from scipy.stats import ks_2samp

from agent.contracts import Profile
from agent.monitor.bins import bin_counts, quantile_edges
from agent.monitor.drift.evidence import Statistics
from agent.monitor.groups import NO_GROUPS
from agent.monitor.image_features import image_features
from agent.monitor.reference import Reference, build, profile_from_rows
from tools.bench.diagnosis.photographs import Photograph
from tools.bench.diagnosis.shot import SIDE
from tools.bench.figures import Figure

_FEATURES, _SAMPLES, _WIRE_FEATURES = 30, 500, 16
_ROUNDS = 15
_PEER = Path(__file__).resolve().parents[1] / "peer_whylogs.py"


def cost_figures(photographs: tuple[Photograph, ...], whylogs: Path | None) -> Iterator[Figure]:
    cv2.setNumThreads(1)
    yield from _frame(photographs, whylogs)
    yield from _window()
    yield _wire()


def _seconds(*works: tuple[Callable[[], object], int]) -> tuple[float, ...]:
    """Median processor time of one call of each, the repeats given; in turn, so that a machine that
    slows down slows all of them."""
    taken: list[list[float]] = [[] for _ in works]
    for _ in range(_ROUNDS):
        for (work, repeats), times in zip(works, taken, strict=True):
            work()
            begin = time.process_time()
            for _ in range(repeats):
                work()
            times.append((time.process_time() - begin) / repeats)
    return tuple(median(times) for times in taken)


def _frame(photographs: tuple[Photograph, ...], whylogs: Path | None) -> Iterator[Figure]:
    read = [cv2.imdecode(np.frombuffer(one.encoded, np.uint8), cv2.IMREAD_COLOR) for one in photographs[:20]]
    pictures = [np.asarray(cv2.resize(one, (SIDE, SIDE)), np.uint8) for one in read if one is not None]
    (ours,) = _seconds((lambda: [image_features(picture) for picture in pictures], 5))
    ours /= len(pictures)
    theirs = None if whylogs is None else _whylogs_s(photographs, whylogs)
    if theirs is None:
        yield Figure(
            name="features of a 224×224×3 frame, times as fast as whylogs",
            value=0.0,
            unit="×",
            target=40.0,
            bound="at least",
            detail=f"not measured: whylogs did not run here; ours {ours * 1e6:.0f} µs",
        )
        return
    yield Figure(
        name="features of a 224×224×3 frame, times as fast as whylogs",
        value=theirs / ours,
        unit="×",
        target=40.0,
        bound="at least",
        detail=f"{ours * 1e6:.0f} µs against {theirs * 1e6:.0f} µs of processor time",
    )


def _whylogs_s(photographs: tuple[Photograph, ...], python: Path) -> float | None:
    with tempfile.TemporaryDirectory(prefix="litewatch-") as folder:
        for number, one in enumerate(photographs[:20]):
            Path(folder, f"{number}{Path(one.name).suffix}").write_bytes(one.encoded)
        try:
            command = [str(python), str(_PEER), folder, "40"]
            done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
        except (OSError, subprocess.SubprocessError):
            return None
    return float(done.stdout) * 1e-6


def _reference(features: int, rng: np.random.Generator) -> Reference:
    rows = rng.normal(size=(2000, features)).astype(np.float32)
    return build(
        features=tuple(f"f{at}" for at in range(features)),
        families=("light",) * features,
        profile_rows=rows[:1000],
        profile_groups=np.full(1000, -1),
        pixels=np.zeros((3, 256), np.int64),
        calibration=rows[1000:],
        calibration_groups=np.full(1000, -1),
        groups=NO_GROUPS,
        fingerprint="0" * 64,
    )


def _profile(reference: Reference, rows: np.ndarray[tuple[int, int], np.dtype[np.float32]]) -> Profile:
    return profile_from_rows(
        rows,
        np.full(len(rows), -1),
        features=reference.features,
        edges=reference.edges,
        groups=reference.groups,
        pixels=np.zeros((3, 256), np.int64),
    )


def _window() -> Iterator[Figure]:
    rng = np.random.default_rng(0)
    reference = _reference(_FEATURES, rng)
    rows = rng.normal(size=(_SAMPLES, _FEATURES)).astype(np.float32)
    known = rng.normal(size=(_SAMPLES, _FEATURES))
    statistics, profile = Statistics(reference, _SAMPLES), _profile(reference, rows)
    edges = quantile_edges(reference.calibration)
    theirs, kept, binning = _seconds(
        (lambda: [ks_2samp(rows[:, at], known[:, at]) for at in range(_FEATURES)], 3),
        (lambda: statistics.of(profile), 1000),
        (lambda: bin_counts(rows, edges), 20),
    )
    binned = kept + binning
    for name, ours, target in (("from kept counts", kept, 1000.0), ("with binning", binned, 20.0)):
        yield Figure(
            name=f"check of a window {name}, times as fast as SciPy's KS",
            value=theirs / ours,
            unit="×",
            target=target,
            bound="at least",
            detail=f"{ours * 1e6:.0f} µs against {theirs * 1e3:.1f} ms, {_FEATURES} features × {_SAMPLES}",
        )


def _wire() -> Figure:
    rng = np.random.default_rng(1)
    reference = _reference(_WIRE_FEATURES, rng)
    profile = _profile(reference, rng.normal(size=(250, _WIRE_FEATURES)).astype(np.float32))
    name = f"window of {_WIRE_FEATURES} features on the wire"
    try:
        packed = importlib.import_module("agent.monitor.packed")
        size, detail = len(b64encode(packed.encode(profile))), "250 observations, in base64"
    except ImportError:
        size, detail = 1_000_000, "not measured: no fixed-width form"
    return Figure(name=name, value=float(size), unit="bytes", target=1000.0, detail=detail)
