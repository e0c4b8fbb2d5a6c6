"""Learns from a replay how accurate the model is, given nothing but a window of its inputs and outputs.

Every method is judged on what it will meet: faults of a family it never saw, on inputs it never saw.
So families are left out in turn, and the inputs are halved: learnt on one half, judged on the other.
The method that errs least is kept; its residuals make the interval.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from agent.contracts import Array
from agent.monitor.estimate.curve import Curve
from agent.monitor.estimate.estimator import (
    DIRECT,
    Estimator,
    Scatter,
    combined,
    shift_of,
    start_of,
    strangeness,
)
from agent.monitor.estimate.regression import Regression, Ridge
from agent.monitor.estimate.statistics_of import Basis, statistics_of
from agent.monitor.reference import Reference
from calibration.replay.conditions import HEALTHY, Condition, Replay
from calibration.replay.isotonic import fit_curve
from calibration.replay.trees import grow
from calibration.replay.windows import FRAMES, Windows, draw, join

Measure: TypeAlias = Literal["accuracy", "mse", "agreement"]
Learn: TypeAlias = Callable[[NDArray[np.float64], NDArray[np.float64]], Regression]
SCORES = ("output.mean_score", "output.top_score")
"""What confidence is read from: of detections the mean, else the winner's."""
VALUE = "output.value"
"""Of a regression with a single output: where in its range it is."""
ERROR_ROWS = 20
"""Inputs that say what its error is in one part of the range."""
FOLDS = 8
FEWEST_FAMILIES = 4
"""Without so many nothing can be learnt that holds for the next."""
TREES, TREES_JUDGED = 40, 8
SHRINKAGE = 0.1
COVERAGE = 0.9
BINS = 4
"""Sizes of shift the interval is told apart by."""
OUTERMOST = 0.95
"""Share of the replayed conditions that must count as known when their own family is left out."""
LEAST_OUTERMOST = 0.3
"""No window so near is strange, however densely the conditions lie."""
_DIGITS = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class _Subject:
    """What is learnt: conditions with their losses (N,), none of them None."""

    measure: Measure
    conditions: tuple[Condition, ...]
    losses: tuple[NDArray[np.float64], ...]
    basis: Basis
    baseline: float
    labelled: int

    def figure(self, loss: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mean losses in the unit that is learnt: accuracy, agreement, or root mean squared error."""
        return np.sqrt(loss) if self.measure == "mse" else 1.0 - loss

    def families(self, at: int) -> set[str]:
        return set(self.conditions[at].family.split("+"))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Judged:
    """Windows of faults and inputs no method had seen, and how far off each method was (k,)."""

    windows: Windows
    errors: dict[str, NDArray[np.float64]]


def fit(replay: Replay, reference: Reference, *, seed: int = 0) -> Estimator:
    """The estimator of a bundle, from its replay; ``reference`` is the bundle's.

    Deterministic for a ``seed``. Raises ValueError when the two are of different features.
    """
    if replay.features != reference.features:
        raise ValueError("the replay and the reference are of different features")
    rng = np.random.default_rng(seed)
    subject = _subject(replay, reference)
    everything = np.arange(len(replay.conditions[0].rows))
    judged = _judge(subject, rng)
    errors = {name: float(np.abs(error).mean()) for name, error in judged.errors.items()}
    method = min(errors, key=lambda name: errors[name])
    regression = None
    if method in _learners(rng):
        learnt = draw(subject.conditions, subject.losses, everything, subject.basis, rng)
        regression = _learn(subject, learnt, method, _learners(rng)[method])
    centroids = _centroids(subject)
    return Estimator(
        measure=subject.measure,
        basis=subject.basis,
        method=method,
        regression=regression,
        baseline=subject.baseline,
        reference=_reference_figure(subject, reference),
        scatter=_scatter(subject, judged, method),
        centroids=centroids,
        outermost=_outermost(subject, centroids),
    )


def _subject(replay: Replay, reference: Reference) -> _Subject:
    measure, losses = _losses(replay)
    healthy, held_out = replay.conditions[0], replay.held_out
    rows = np.concatenate([healthy.rows, held_out.rows]).astype(np.float64)
    loss = np.concatenate([losses[0], _loss_of(held_out, losses[0])])
    score = next((replay.features.index(name) for name in SCORES if name in replay.features), None)
    curve, threshold = None, 0.0
    if measure == "accuracy" and score is not None:
        curve = fit_curve(rows[:, score], 1.0 - loss)
        threshold = _threshold(rows[:, score], float(loss.mean()))
    value = replay.features.index(VALUE) if VALUE in replay.features and measure == "mse" else None
    std = rows.std(axis=0)
    basis = Basis(
        features=replay.features,
        families=reference.families,
        mean=rows.mean(axis=0),
        std=np.maximum(std, np.maximum(1e-3 * np.abs(rows.mean(axis=0)), 1e-6)),
        score=score,
        curve=curve,
        threshold=threshold,
        value=value,
        error=None if value is None else _local_error(rows[:, value], loss),
    )
    baseline = math.sqrt(loss.mean()) if measure == "mse" else 1.0 - float(loss.mean())
    return _Subject(
        measure=measure,
        conditions=replay.conditions,
        losses=losses,
        basis=basis,
        baseline=baseline,
        labelled=len(rows),
    )


def _losses(replay: Replay) -> tuple[Measure, tuple[NDArray[np.float64], ...]]:
    """Without labels a changed answer counts as a loss: the undisturbed model is the truth."""
    found = tuple(condition.loss for condition in replay.conditions if condition.loss is not None)
    if len(found) == len(replay.conditions):
        return ("mse" if replay.kind in ("mse", "regression") else "accuracy"), found
    healthy = replay.conditions[0].classes
    changed = [condition.classes != healthy for condition in replay.conditions]
    return "agreement", tuple(losses.astype(np.float64) for losses in changed)


def _loss_of(held_out: Condition, like: NDArray[np.float64]) -> NDArray[np.float64]:
    """Its loss; where there are no labels, none is lost by the undisturbed model."""
    return np.zeros(len(held_out.rows), like.dtype) if held_out.loss is None else held_out.loss


def _local_error(values: Array, loss: NDArray[np.float64]) -> Curve:
    """The mean squared error by predicted value, between the means of neighbouring equal shares."""
    order = np.argsort(values, kind="stable")
    shares = np.array_split(order, max(len(order) // ERROR_ROWS, 1))
    centres = np.array([values[share].mean() for share in shares])
    errors = np.array([loss[share].mean() for share in shares])
    rising = np.r_[True, np.diff(centres) > 0]
    return Curve(scores=centres[rising], rights=errors[rising])


def _threshold(scores: Array, loss: float) -> float:
    """ATC's: the score that as many inputs reach as are right."""
    return float(np.quantile(scores, min(max(loss, 0.0), 1.0)))


def _reference_figure(subject: _Subject, reference: Reference) -> float:
    """The bundle's own figure where it has one, so that a loss is against what is published of it."""
    if subject.measure == "accuracy" and reference.accuracy is not None:
        return reference.accuracy
    if subject.measure == "mse" and reference.mse is not None:
        return reference.mse
    return subject.baseline**2 if subject.measure == "mse" else subject.baseline


def _learners(rng: np.random.Generator, *, trees: int = TREES) -> dict[str, Learn]:
    def grown(x: NDArray[np.float64], y: NDArray[np.float64]) -> Regression:
        return grow(x, y, trees=trees, rng=rng)

    return {"ridge": _ridge, "trees": grown, DIRECT: grown}


def _learn(subject: _Subject, windows: Windows, method: str, learn: Learn) -> Regression:
    start = start_of(method, windows.statistics, subject.basis, subject.baseline)
    return learn(windows.statistics, subject.figure(windows.loss) - start)


def _ridge(statistics: NDArray[np.float64], targets: NDArray[np.float64]) -> Ridge:
    centre = statistics.mean(axis=0)
    scale = np.maximum(statistics.std(axis=0), 1e-6)
    x = (statistics - centre) / scale
    gram = x.T @ x + SHRINKAGE * len(x) * np.eye(x.shape[1])
    intercept = float(targets.mean())
    return Ridge(
        centre=centre,
        scale=scale,
        weights=np.linalg.solve(gram, x.T @ (targets - intercept)),
        intercept=intercept,
    )


def _judge(subject: _Subject, rng: np.random.Generator) -> _Judged:
    """Every method on every condition with its family left out, learnt on the other half of the inputs."""
    order = rng.permutation(len(subject.losses[0]))
    halves = [np.sort(order[::2]), np.sort(order[1::2])]
    first, second = (draw(subject.conditions, subject.losses, half, subject.basis, rng) for half in halves)
    found = [_errors(subject, second, first, rng), _errors(subject, first, second, rng)]
    errors = {name: np.concatenate([each[name] for each in found]) for name in found[0]}
    return _Judged(windows=join([first, second]), errors=errors)


def _errors(
    subject: _Subject, learnt: Windows, asked: Windows, rng: np.random.Generator
) -> dict[str, NDArray[np.float64]]:
    """How far each method is off on ``asked`` after learning from the other families of ``learnt``."""
    truth = subject.figure(asked.loss)
    errors: dict[str, NDArray[np.float64]] = {}
    if subject.measure != "agreement":
        for name in subject.basis.said:
            errors[name] = asked.statistics[:, subject.basis.names.index(name)] - truth
    if subject.measure != "accuracy":
        errors["unchanged"] = subject.baseline - truth
    folds = _folds(subject)
    if len(folds) < FEWEST_FAMILIES:
        return errors
    for name, learn in _learners(rng, trees=TREES_JUDGED).items():
        replayed = start_of(name, asked.statistics, subject.basis, subject.baseline).copy()
        for tested, known in folds:
            here = tested[asked.condition]
            regression = _learn(subject, learnt.pick(known[learnt.condition]), name, learn)
            replayed[here] += regression.predict(asked.statistics[here])
        errors[name] = combined(replayed, asked.statistics, subject.basis, subject.baseline) - truth
    return errors


def _folds(subject: _Subject) -> list[tuple[NDArray[np.bool_], NDArray[np.bool_]]]:
    """(conditions to judge, conditions to learn from), by family; a mix is judged with its first one,
    and never learnt from while any of its families is left out."""
    kinds = [subject.families(at) for at in range(len(subject.conditions))]
    first = [condition.family.split("+")[0] for condition in subject.conditions]
    names = sorted(set().union(*kinds) - {HEALTHY})
    folds = []
    for at in range(min(FOLDS, len(names))):
        out = set(names[at::FOLDS])
        known = np.array([not kind & out for kind in kinds])
        tested = np.array([name in out or (at == 0 and name == HEALTHY) for name in first])
        folds.append((tested, known))
    return folds


def _scatter(subject: _Subject, judged: _Judged, method: str) -> Scatter:
    """How far ``method`` strayed, by size of shift."""
    shift = shift_of(judged.windows.statistics, subject.basis)
    above = np.quantile(shift, np.arange(BINS) / BINS)
    above[0] = 0.0
    bins = np.searchsorted(above, shift, side="right") - 1
    known = _known(subject)
    halves = [max(_conformal(np.abs(judged.errors[method][bins == at])), known) for at in range(BINS)]
    # A larger shift is never known better: fewer windows must not make it look so.
    return Scatter(
        above=np.round(above, _DIGITS),
        half=np.maximum.accumulate(halves),
        worth=round(float(judged.windows.worth.mean()), _DIGITS),
        share=_open_share(subject),
    )


def _known(subject: _Subject) -> float:
    """Half the interval of the healthy figure itself: so few labelled inputs do not tell it better."""
    if subject.measure == "agreement":
        return 0.0
    base = subject.baseline
    single = base**2 if subject.measure == "mse" else max(base * (1 - base), 0.01)
    return round(1.645 * math.sqrt(single * _open_share(subject) / subject.labelled), _DIGITS)


def _conformal(errors: NDArray[np.float64]) -> float:
    """The smallest bound that a new error keeps with COVERAGE; 0 without any."""
    if not len(errors):
        return 0.0
    rank = min(math.ceil((len(errors) + 1) * COVERAGE), len(errors))
    return round(float(np.sort(errors)[rank - 1]), _DIGITS)


def _open_share(subject: _Subject) -> float:
    """How much of the variance of a single answer is left, its score known."""
    healthy, loss = subject.conditions[0], subject.losses[0]
    if subject.measure == "mse":
        # The delta method: a root mean squared error r has the variance var(e²) / (4 r² n).
        return round(min(float(loss.var()) / max(4 * float(loss.mean()) ** 2, 1e-12), 25.0), _DIGITS)
    rights = subject.basis.rights(healthy.rows)
    if rights is None or subject.basis.curve is None:
        return 1.0
    accuracy = float(rights.mean())
    alone = max(accuracy * (1 - accuracy), 1e-6)
    return round(min(max(float((rights * (1 - rights)).mean()) / alone, 0.3), 1.0), _DIGITS)


def _centroids(subject: _Subject) -> NDArray[np.float64]:
    """The statistics of each condition over all inputs: (C, D)."""
    found = []
    for condition in subject.conditions:
        weights = np.full((1, len(condition.rows)), 1 / len(condition.rows))
        found.append(statistics_of(condition.rows, weights, subject.basis, effective_n=FRAMES)[0])
    return np.round(np.array(found), _DIGITS)


def _outermost(subject: _Subject, centroids: NDArray[np.float64]) -> float:
    """How far from all others a condition lies whose own families were not replayed."""
    kinds = [subject.families(at) for at in range(len(centroids))]
    found = []
    for at, centroid in enumerate(centroids):
        others = [not kind & kinds[at] or number == 0 for number, kind in enumerate(kinds)]
        if at:
            found.append(strangeness(centroid, centroids[others]))
    return round(max(float(np.quantile(found, OUTERMOST)), LEAST_OUTERMOST), _DIGITS) if found else 1.0
