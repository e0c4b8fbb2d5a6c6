"""What the statistics of one 224×224 picture cost, against whylogs' image logging."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import cv2
import numpy as np

from agent.bundle import load
from agent.contracts import Classification
from agent.errors import MachineError
from agent.monitor.features import feature_set
from agent.monitor.window import WindowBuilder
from tools.bench.figures import Figure
from tools.bench.scenario import Scenario

FRAMES = 60
PAIRS = 5


def statistics_figures(scenario: Scenario, peers: Path) -> Iterator[Figure]:
    """Features, counts and pixel histogram of a picture beside ``log_image`` of whylogs."""
    pairs = [(_whylogs_us(peers, scenario.pictures), _ours_us(scenario)) for _ in range(PAIRS)]
    ours_us = median(ours for _, ours in pairs)
    yield Figure(
        name="statistics of a 224×224×3 frame, faster than whylogs",
        value=median(peer / ours for peer, ours in pairs),
        unit="×",
        target=40.0,
        bound="at least",
        detail=f"{ours_us:.0f} µs of CPU against {median(peer for peer, _ in pairs):.0f} µs",
    )


def _ours_us(scenario: Scenario) -> float:
    cv2.setNumThreads(1)
    reference = load(scenario.bundle).reference
    features = feature_set(image=True, prediction="classification")
    paths = sorted(scenario.pictures.iterdir())[:FRAMES]
    read = [cv2.imread(str(path)) for path in paths]
    pictures = [np.asarray(cv2.resize(one, (224, 224)), np.uint8) for one in read if one is not None]
    scores = np.full(1001, 1 / 1001, dtype=np.float32)
    prediction = Classification(scores=scores, top=0, score=float(scores[0]))
    window = WindowBuilder(reference)
    window.add(features.row(pictures[0], prediction), 0, window.pixels_of(pictures[0]))
    rounds = 10
    begin = time.process_time()
    for _ in range(rounds):
        for picture in pictures:
            window.add(features.row(picture, prediction), 0, window.pixels_of(picture))
    window.profile()
    return (time.process_time() - begin) / (rounds * len(pictures)) * 1e6


def _whylogs_us(peers: Path, pictures: Path) -> float:
    script = Path(__file__).with_name("peer_whylogs.py")
    try:
        done = subprocess.run([peers, script, pictures, str(FRAMES)], capture_output=True, text=True)
    except OSError as error:
        raise MachineError(f"--peers: {peers} cannot be run: {error.strerror}") from None
    if done.returncode:
        raise MachineError(f"whylogs did not run: {done.stderr[-400:]}")
    return float(done.stdout)
