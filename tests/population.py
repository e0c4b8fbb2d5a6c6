"""A made-up population of feature rows with classes, and references drawn from it."""

from dataclasses import dataclass

import numpy as np

from agent.monitor.groups import group_classes
from agent.monitor.profiles import profile_of
from agent.monitor.reference import build

FEATURES, CLASSES = 34, 10
NAMES = tuple(f"feature {at}" for at in range(FEATURES))
FAMILIES = tuple(("light", "sharpness", "value")[at % 3] for at in range(FEATURES))
NO_PIXELS = np.zeros((0, 256), dtype=np.int64)


@dataclass(frozen=True)
class Population:
    """Correlated normal features; every third is made lognormal, one is mostly zero."""

    mixing: np.ndarray
    chances: np.ndarray

    def draw(self, rng, n, shift=()):
        """``n`` rows and their classes; the normals of features ``shift`` move by half a sigma."""
        normal = rng.normal(size=(n, FEATURES)) @ self.mixing
        normal[:, list(shift)] += 0.5
        normal[:, ::3] = np.exp(normal[:, ::3])
        normal[:, 1] = np.maximum(normal[:, 1], 0)
        return normal.astype(np.float32), rng.choice(CLASSES, size=n, p=self.chances)


def population(seed):
    rng = np.random.default_rng(seed)
    loadings = rng.normal(size=(FEATURES, FEATURES))
    covariance = loadings @ loadings.T / FEATURES + 0.3 * np.eye(FEATURES)
    scale = np.sqrt(np.diag(covariance))
    mixing = np.linalg.cholesky(covariance / np.outer(scale, scale)).T
    return Population(mixing=mixing, chances=rng.dirichlet(np.ones(CLASSES)))


def reference_of(drawn_from, rng, profile_rows=600, calibration_rows=600):
    rows, classes = drawn_from.draw(rng, profile_rows)
    calibration, calibration_classes = drawn_from.draw(rng, calibration_rows)
    groups = group_classes(classes)
    return build(
        features=NAMES,
        families=FAMILIES,
        profile_rows=rows,
        profile_groups=groups_of(groups, classes),
        pixels=NO_PIXELS,
        calibration=calibration,
        calibration_groups=groups_of(groups, calibration_classes),
        groups=groups,
        fingerprint="0" * 64,
        accuracy=0.9,
        labelled=profile_rows,
    )


def groups_of(groups, classes):
    return np.array([groups.of_class(int(index)) for index in classes], dtype=np.int64)


def window_of(reference, rows, classes):
    return profile_of(
        rows,
        groups_of(reference.groups, classes),
        features=reference.features,
        edges=reference.edges,
        n_groups=len(reference.groups.names),
        pixels=NO_PIXELS,
    )
