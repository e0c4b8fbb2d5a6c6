"""A window's profile as the numbers people read: per feature counts, moments and distances.

The three channels of the 8-bit model input stand beside the features: their distances are taken
on all 256 values, their counts travel on 16 bins.
"""

import numpy as np

from agent.contracts import FeatureDistance, Profile
from agent.monitor.bins import BINS
from agent.monitor.distances import Counts, compare, jensen_shannon, kolmogorov_smirnov, psi, wasserstein
from agent.monitor.reference import Reference
from agent.telemetry.messages import FeatureWindow

CHANNELS = ("red", "green", "blue")


def feature_windows(profile: Profile, reference: Reference) -> tuple[FeatureWindow, ...]:
    """Every feature of ``profile`` in the reference's order, then the channels of its pixels."""
    distances = {distance.name: distance for distance in compare(reference, profile)}
    stds = np.sqrt(profile.m2 / max(profile.n - 1, 1))
    features = [
        _feature(distances[name], profile.counts[at], float(profile.mean[at]), float(stds[at]))
        for at, name in enumerate(profile.features)
    ]
    return (*features, *_channels(profile.pixels, reference.profile.pixels))


def five_digits(value: float) -> float:
    """Five significant digits: more would be noise on the wire."""
    return float(f"{value:.5g}")


def _feature(distance: FeatureDistance, counts: Counts, mean: float, std: float) -> FeatureWindow:
    return FeatureWindow(
        name=distance.name,
        counts=tuple(counts.tolist()),
        mean=five_digits(mean),
        std=five_digits(std),
        psi=five_digits(distance.psi),
        ks=five_digits(distance.ks),
        wasserstein=five_digits(distance.wasserstein),
        js=five_digits(distance.js),
    )


def _channels(pixels: Counts, known: Counts) -> list[FeatureWindow]:
    if not pixels.size:
        return []
    values = np.arange(pixels.shape[-1])
    measures = [measure(known, pixels) for measure in (psi, kolmogorov_smirnov, wasserstein, jensen_shannon)]
    windows = []
    for at, name in enumerate(CHANNELS):
        counts = pixels[at]
        total = max(int(counts.sum()), 1)
        mean = float(counts @ values) / total
        variance = float(counts @ (values - mean) ** 2) / total
        index, largest, moved, distance = (float(measure[at]) for measure in measures)
        windows.append(
            FeatureWindow(
                name=f"pixels {name}",
                counts=tuple(counts.reshape(BINS, -1).sum(axis=1).tolist()),
                mean=five_digits(mean),
                std=five_digits(variance**0.5),
                psi=five_digits(index),
                ks=five_digits(largest),
                wasserstein=five_digits(moved),
                js=five_digits(distance),
            )
        )
    return windows
