"""The label-free estimate against the truth: faults that were replayed, and faults that never were."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression

from agent.monitor.estimate import Estimator
from calibration.replay.conditions import Replay
from tools.bench.monitor.faults import Fault
from tools.bench.monitor.rendered import TOP_SCORE, Rendered
from tools.bench.monitor.training import Trained

WINDOW = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Guess:
    """Accuracies, 0 … 1. ``value`` is None where the estimator abstained; ``cbpe`` is the bench's own
    (isotonic calibration of the top score on the bundle's held-out inputs)."""

    fault: str
    truth: float
    healthy: float
    cbpe: float
    value: float | None
    low: float | None
    high: float | None
    replayed: bool
    method: str = ""

    @property
    def drop(self) -> float:
        """Points of accuracy that the fault truly costs."""
        return 100 * (self.healthy - self.truth)

    @property
    def error(self) -> float:
        return float("nan") if self.value is None else 100 * abs(self.value - self.truth)

    @property
    def cbpe_error(self) -> float:
        return 100 * abs(self.cbpe - self.truth)

    @property
    def covered(self) -> bool:
        return self.low is not None and self.high is not None and self.low <= self.truth <= self.high


def guesses(
    trained: Trained,
    healthy: Rendered,
    faults: Sequence[tuple[Fault, Rendered]],
    *,
    windows: int,
    replayed: bool,
) -> list[Guess]:
    """Windows of 1,000 frames of every fault, and of none, judged by an estimator that has (``replayed``)
    or has not seen its families before."""
    calibrated = _calibrated(trained)
    blind: dict[tuple[str, ...], Estimator] = {}
    found = []
    for at, (fault, rendered) in enumerate([(None, healthy), *faults]):
        if fault is None or replayed:
            estimator = trained.estimator
        else:
            if fault.families not in blind:
                blind[fault.families] = trained.without(fault.families)
            estimator = blind[fault.families]
        rng = np.random.default_rng([23, at])
        found += [
            _guess(estimator, calibrated, healthy, rendered, fault, replayed, rng) for _ in range(windows)
        ]
    return found


def library_guesses(trained: Trained, replay: Replay) -> list[Guess]:
    """The library's own faults, as replayed on photographs of the device: a window of each."""
    calibrated, base = _calibrated(trained), replay.conditions[0].loss
    rng = np.random.default_rng(41)
    found = []
    for condition in replay.conditions[1:]:
        assert condition.loss is not None and base is not None
        places = rng.integers(0, len(base), WINDOW)
        rows = condition.rows[places]
        # All frames of a window are of so many pictures, and worth no more.
        told = trained.estimator.estimate(rows, effective_n=float(len(base)))
        found.append(
            Guess(
                fault=f"{condition.family} ({condition.name})",
                truth=1 - float(condition.loss[places].mean()),
                healthy=1 - float(base[places].mean()),
                cbpe=float(calibrated.predict(rows[:, TOP_SCORE]).mean()),
                value=told.value,
                low=told.low,
                high=told.high,
                replayed=True,
                method=told.method or told.abstained,
            )
        )
    return found


def _guess(
    estimator: Estimator,
    calibrated: IsotonicRegression,
    healthy: Rendered,
    rendered: Rendered,
    fault: Fault | None,
    replayed: bool,
    rng: np.random.Generator,
) -> Guess:
    places = drawn(rendered, WINDOW, rng)
    rows, right = rendered.rows[places], rendered.right[places]
    told = estimator.estimate(rows, effective_n=float(WINDOW))
    return Guess(
        fault=fault.key if fault else "none",
        truth=float(right.mean()),
        healthy=float(healthy.right[places].mean()),
        cbpe=float(calibrated.predict(rows[:, TOP_SCORE]).mean()),
        value=told.value,
        low=told.low,
        high=told.high,
        replayed=replayed,
        method=told.method or told.abstained,
    )


def drawn(rendered: Rendered, n: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], ...]:
    """Places of ``n`` frames, any scene in any framing and light."""
    flat = rng.integers(0, rendered.right.size, n)
    return tuple(np.unravel_index(flat, rendered.right.shape))


def _calibrated(trained: Trained) -> IsotonicRegression:
    held = trained.replay.held_out
    assert held.loss is not None
    return IsotonicRegression(out_of_bounds="clip").fit(held.rows[:, TOP_SCORE], 1.0 - held.loss)
