"""What a device sees: one frame a second, day and night, scene after scene.

A scene is one half of a photograph and lasts ``dwell`` frames on average (geometrically distributed).
The light follows the sun, passing clouds and each scene's own shade, the camera wanders between its
two framings, and every frame has jitter of its own. Frames between two cached framings or levels of
light are their blend. Only sampled frames are made: the others are never looked at.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.contracts import Array
from tools.bench.monitor.rendered import Rendered
from tools.bench.monitor.scenes import LIGHTS

FRAMES_A_SECOND = 1
SAMPLE_EVERY = 10
"""The agent's default."""
DAY_S = 86_400
SAMPLES_A_DAY = DAY_S * FRAMES_A_SECOND // SAMPLE_EVERY
SAMPLE_INTERVAL_NS = SAMPLE_EVERY * 1_000_000_000 // FRAMES_A_SECOND
_CLOUDS, _CLOUD_SAMPLES = 0.5, 240
"""Standard deviation, in levels of light, of the clouds and how long they stay, in sampled frames."""
_SHADE = 0.35
_JITTER = 0.04
"""Of a feature's standard deviation: exposure and noise from frame to frame."""
_FURTHEST = LIGHTS - 1.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Frames:
    """Sampled frames in order of time: rows float32 (N, F), classes int64 (N,), right bool (N,)."""

    rows: NDArray[np.float32]
    classes: NDArray[np.int64]
    right: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.rows)

    def of(self, chosen: "slice | Array") -> "Frames":
        return Frames(rows=self.rows[chosen], classes=self.classes[chosen], right=self.right[chosen])


@dataclass(frozen=True, kw_only=True, slots=True)
class _Moments:
    """Where a stream is at each sampled frame: which scene, framing (0 … 1) and light (0 … 5)."""

    scene: NDArray[np.int64]
    framing: NDArray[np.float64]
    light: NDArray[np.float64]


class Stream:
    """An endless stream over ``scenes`` of the device. Two streams of one seed show the same scenes in
    the same light, whatever faults they are rendered with."""

    def __init__(self, scenes: int, *, dwell: int, seed: int) -> None:
        self._scenes = scenes
        self._rng = np.random.default_rng([seed, dwell])
        self._change = 1.0 - (1.0 - 1.0 / dwell) ** SAMPLE_EVERY
        self._at = 0
        self._cloud = 0.0
        self._last = (int(self._rng.integers(scenes)), 0.5, 0.0)

    def days(self, number: int) -> Iterator[_Moments]:
        for _ in range(number):
            yield self.next(SAMPLES_A_DAY)

    def next(self, samples: int) -> _Moments:
        rng = self._rng
        new = rng.random(samples) < self._change
        begun = np.concatenate([[True], new])
        which = np.cumsum(begun) - 1
        drawn = np.concatenate([[self._last[0]], rng.integers(self._scenes, size=int(new.sum()))])
        aim = np.concatenate([[self._last[1]], rng.random(int(new.sum()))])
        shade = np.concatenate([[self._last[2]], rng.normal(0, _SHADE, int(new.sum()))])
        which = which[1:]
        self._last = (int(drawn[which[-1]]), float(aim[which[-1]]), float(shade[which[-1]]))
        framing = np.clip(aim[which] + rng.normal(0, 0.12, samples), 0, 1)
        light = self._sun(samples) + self._clouds(samples) + shade[which] + rng.normal(0, 0.05, samples)
        return _Moments(scene=drawn[which], framing=framing, light=np.clip(light, 0, _FURTHEST))

    def _sun(self, samples: int) -> NDArray[np.float64]:
        """0 at noon, 5 at night; a stream begins at midnight."""
        hours = (self._at + np.arange(samples)) % SAMPLES_A_DAY / SAMPLES_A_DAY
        self._at += samples
        return _FURTHEST / 2 * (1 + np.tanh(2.5 * np.cos(2 * np.pi * hours)))

    def _clouds(self, samples: int) -> NDArray[np.float64]:
        keep = np.exp(-1.0 / _CLOUD_SAMPLES)
        pushes = self._rng.normal(0, _CLOUDS * np.sqrt(1 - keep**2), samples)
        clouds = np.empty(samples)
        level = self._cloud
        for at, push in enumerate(pushes.tolist()):
            level = keep * level + push
            clouds[at] = level
        self._cloud = level
        return clouds


def shown(moments: _Moments, of: Rendered, *, seed: int) -> Frames:
    """The frames of these moments, with these scenes."""
    rng = np.random.default_rng([seed, len(moments.scene)])
    low = np.minimum(moments.light.astype(np.int64), LIGHTS - 2)
    lamp, side = (moments.light - low)[:, None], moments.framing[:, None]
    scene = moments.scene
    rows = (1 - side) * ((1 - lamp) * of.rows[scene, 0, low] + lamp * of.rows[scene, 0, low + 1])
    rows += side * ((1 - lamp) * of.rows[scene, 1, low] + lamp * of.rows[scene, 1, low + 1])
    spread = of.rows.reshape(-1, of.rows.shape[-1]).std(axis=0)
    rows += rng.normal(0, 1, rows.shape).astype(np.float32) * (_JITTER * spread)
    framing = (rng.random(len(scene)) < moments.framing).astype(np.int64)
    light = low + (rng.random(len(scene)) < lamp[:, 0])
    return Frames(
        rows=rows.astype(np.float32),
        classes=of.classes[scene, framing, light],
        right=of.right[scene, framing, light],
    )
