"""Registration: which box of the original a picture shows, when no rule says so.

Gauss-Newton on the sum of squares between the picture and the original resampled by a scale and a
shift per axis, with gain and offset free, from coarse to fine (Lucas and Kanade 1981; Baker and
Matthews 2004).
"""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.contracts import Array

_ROUNDS = 12
_EDGE = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Map:
    """Source position = scale × position + start, both as shares of the sides (0..1)."""

    scale_x: float
    start_x: float
    scale_y: float
    start_y: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Registered:
    """``unexplained``: share of the picture's variance (inside the overlap) left over."""

    map: Map
    unexplained: float


def register(
    source: Array, picture: Array, start: Map, sizes: tuple[int, ...] = (24, 48, 96, 192)
) -> Registered:
    """``source`` and ``picture`` are float32 planes (H, W)."""
    found = Registered(map=start, unexplained=1.0)
    for size in sizes:
        found = _refine(source, picture, found.map, size)
    return found


def _refine(source: Array, picture: Array, start: Map, size: int) -> Registered:
    target = _smooth(cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA))
    # About one source pixel per target pixel, so that warping neither aliases nor blurs.
    wide = int(np.clip(size / max(start.scale_x, 0.05), 8, source.shape[1]))
    tall = int(np.clip(size / max(start.scale_y, 0.05), 8, source.shape[0]))
    small = _smooth(cv2.resize(source, (wide, tall), interpolation=cv2.INTER_AREA))
    u = ((np.arange(size, dtype=np.float32) + 0.5) / size)[None, :].repeat(size, 0)
    v = np.ascontiguousarray(u.T)
    best = Registered(map=start, unexplained=2.0)
    here = start
    for _ in range(_ROUNDS):
        step, left = _step(small, target, here, u, v)
        if left >= best.unexplained * 0.9999 and best.unexplained < 2.0:
            break
        if left < best.unexplained:
            best = Registered(map=here, unexplained=left)
        if step is None:
            break
        here = _limited(here, step)
    return best


def _step(
    small: Array, target: Array, here: Map, u: Array, v: Array
) -> tuple[NDArray[np.float64] | None, float]:
    """The Gauss-Newton step at ``here`` and what is unexplained there."""
    x, y = here.scale_x * u + here.start_x, here.scale_y * v + here.start_y
    inside = (x > 0.0) & (x < 1.0) & (y > 0.0) & (y < 1.0)
    # Smoothing has mirrored what lies at the picture's edge; the original knows what lies beyond.
    inside[:_EDGE] = inside[-_EDGE:] = inside[:, :_EDGE] = inside[:, -_EDGE:] = False
    if np.count_nonzero(inside) < 0.1 * inside.size:
        return None, 1.0
    warped = cv2.remap(
        small,
        (x * small.shape[1] - 0.5).astype(np.float32),
        (y * small.shape[0] - 0.5).astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    down, across = np.gradient(warped)
    size = target.shape[0]
    gx, gy = across * (size / here.scale_x), down * (size / here.scale_y)
    columns = [gx * u, gx, gy * v, gy, warped, np.ones_like(warped)]
    design = np.stack([column[inside] for column in columns], 1).astype(np.float64)
    wanted = target[inside].astype(np.float64)
    left = _line_rest(design[:, 4], wanted)
    normal = design.T @ design
    normal += np.diag(np.diag(normal)) * 1e-4 + np.eye(6) * 1e-9
    solved = np.linalg.solve(normal, design.T @ wanted)
    gain = solved[4]
    if abs(gain) < 1e-3 * float(np.std(wanted)) / (float(np.std(design[:, 4])) + 1e-9):
        return None, left
    return solved[:4] / gain, left


def _line_rest(p: NDArray[np.float64], f: NDArray[np.float64]) -> float:
    p, f = p - p.mean(), f - f.mean()
    total = float(f @ f)
    return 1.0 if total <= 0 else 1.0 - float(p @ f) ** 2 / max(float(p @ p) * total, 1e-12)


def _limited(here: Map, step: NDArray[Any]) -> Map:
    step = np.clip(step, -0.1, 0.1)
    return Map(
        scale_x=float(np.clip(here.scale_x + step[0], 0.05, 8.0)),
        start_x=here.start_x + float(step[1]),
        scale_y=float(np.clip(here.scale_y + step[2], 0.05, 8.0)),
        start_y=here.start_y + float(step[3]),
    )


def _smooth(plane: Array) -> Array:
    return np.asarray(cv2.GaussianBlur(plane.astype(np.float32), (0, 0), 0.8))
