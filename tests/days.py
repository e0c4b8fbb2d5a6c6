"""A made-up camera: feature rows in order of time, through dark nights, noons and clouds."""

import numpy as np

from agent.monitor.groups import group_classes
from agent.monitor.reference import build

FEATURES, CLASSES, PER_DAY, WINDOW = 34, 10, 2750, 250
NAMES = tuple(f"feature {at}" for at in range(FEATURES))
NO_PIXELS = np.zeros((0, 256), dtype=np.int64)
QUIET = (20, 22, 25, 28)
"""Features that no hour of the day moves."""


class Camera:
    """Correlated features; the first ten go 2.5 sigma with the dark, six more a little, four vary less
    by night, some move at noon; other classes are seen by night. No two days are equally long or dark."""

    def __init__(self, seed):
        rng = np.random.default_rng(seed)
        loadings = rng.normal(size=(FEATURES, FEATURES))
        covariance = loadings @ loadings.T / FEATURES + 0.3 * np.eye(FEATURES)
        scale = np.sqrt(np.diag(covariance))
        self.mixing = np.linalg.cholesky(covariance / np.outer(scale, scale)).T
        self.by_day, self.by_night = rng.dirichlet(np.ones(CLASSES), 2)
        self.dark, self.noon, self.calm = np.zeros((3, FEATURES))
        self.dark[:10] = (1 + 0.3 * rng.normal(size=10)) * np.sign(rng.normal(size=10))
        self.dark[10:16] = 0.3 * rng.normal(size=6)
        self.noon[5:14] = 0.4 * rng.normal(size=9)
        self.calm[14:18] = -0.4

    def days(self, rng, days, per_day=PER_DAY, shift=(), by=0.0):
        """Rows float32 (n, F) and classes (n,); the features ``shift`` are off ``by`` sigmas."""
        n = int(days * per_day)
        hour = np.arange(n) / per_day
        day = hour.astype(int)
        nights = day.max() + 2
        sunset, depth = rng.normal(0, 0.05, nights)[day], 1 + rng.normal(0, 0.1, nights)[day]
        dark = depth / (1 + np.exp(-6 * (np.cos(2 * np.pi * hour) - sunset)))
        knots = np.arange(0, nights + 1, 0.04)
        cloud = 0.15 * np.interp(hour, knots, rng.normal(size=len(knots))) * (1 - dark)
        noon = np.maximum(-np.cos(2 * np.pi * hour), 0) ** 2
        rows = rng.normal(size=(n, FEATURES)) @ self.mixing * np.exp(dark[:, None] * self.calm)
        rows += 2.5 * (dark + cloud)[:, None] * self.dark + noon[:, None] * self.noon
        rows[:, list(shift)] += by
        rows[:, ::3] = np.exp(rows[:, ::3])
        by_night = rng.random(n) < dark / 2
        classes = np.where(
            by_night,
            rng.choice(CLASSES, n, p=self.by_night),
            rng.choice(CLASSES, n, p=self.by_day),
        )
        return rows.astype(np.float32), classes


def baseline(rows, classes, block=WINDOW, strip=25, **given):
    """The reference of rows in order of time: strips of them by turns profile and calibration rows."""
    numbers = np.arange(len(rows)) * max(len(rows) // block, 1) // len(rows)
    profile = np.arange(len(rows)) // strip % 2 == 0
    groups = group_classes(classes[profile])
    of = np.array([groups.of_class(int(index)) for index in classes])
    return build(
        features=NAMES,
        families=("light",) * FEATURES,
        profile_rows=rows[profile],
        profile_groups=of[profile],
        pixels=NO_PIXELS,
        calibration=rows[~profile],
        calibration_groups=of[~profile],
        groups=groups,
        fingerprint="",
        blocks=(numbers[profile], numbers[~profile]),
        **given,
    )
