"""``estimator.json``: an estimator as JSON, strictly typed and checked."""

import dataclasses
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from agent.document import DocumentError, read_json
from agent.errors import BundleError
from agent.monitor.estimate.curve import Curve
from agent.monitor.estimate.estimator import DIRECT, Estimator, Scatter
from agent.monitor.estimate.regression import Regression, Ridge, Trees
from agent.monitor.estimate.statistics_of import Basis
from agent.structure import StructureProblemsError, structure

NAME = "estimator.json"
SCHEMA = "litewatch.estimator/1"
MAX_BYTES = 4 * 2**20
_MAX = 1e60
_LEAST_STD = 1e-12


@dataclass(frozen=True, kw_only=True, slots=True)
class CurveEntry:
    scores: tuple[float, ...]
    rights: tuple[float, ...]
    threshold: float


@dataclass(frozen=True, kw_only=True, slots=True)
class RidgeEntry:
    centre: tuple[float, ...]
    scale: tuple[float, ...]
    weights: tuple[float, ...]
    intercept: float


@dataclass(frozen=True, kw_only=True, slots=True)
class TreesEntry:
    roots: tuple[int, ...]
    feature: tuple[int, ...]
    cut: tuple[float, ...]
    right: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ScatterEntry:
    above: tuple[float, ...]
    half: tuple[float, ...]
    worth: float
    share: float


@dataclass(frozen=True, kw_only=True, slots=True)
class EstimatorFile:
    schema: Literal["litewatch.estimator/1"]
    measure: Literal["accuracy", "mse", "agreement"]
    method: str
    reference: float
    baseline: float
    outermost: float
    features: tuple[str, ...]
    families: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    score: int | None
    curve: CurveEntry | None
    value: int | None
    error: CurveEntry | None
    ridge: RidgeEntry | None
    trees: TreesEntry | None
    scatter: ScatterEntry
    centroids: tuple[tuple[float, ...], ...]


def encode(estimator: Estimator) -> bytes:
    """``estimator.json``; ``decode`` gives back the same estimator."""
    basis, regression = estimator.basis, estimator.regression
    curve = basis.curve
    file = EstimatorFile(
        schema="litewatch.estimator/1",
        measure=estimator.measure,
        method=estimator.method,
        reference=estimator.reference,
        baseline=estimator.baseline,
        outermost=estimator.outermost,
        features=basis.features,
        families=basis.families,
        mean=tuple(basis.mean.tolist()),
        std=tuple(basis.std.tolist()),
        score=basis.score,
        curve=None if curve is None else CurveEntry(threshold=basis.threshold, **_plain(curve)),
        value=basis.value,
        error=None if basis.error is None else CurveEntry(threshold=0.0, **_plain(basis.error)),
        ridge=RidgeEntry(**_plain(regression)) if isinstance(regression, Ridge) else None,
        trees=TreesEntry(**_plain(regression)) if isinstance(regression, Trees) else None,
        scatter=ScatterEntry(**_plain(estimator.scatter)),
        centroids=tuple(tuple(row) for row in estimator.centroids.tolist()),
    )
    return json.dumps(dataclasses.asdict(file), allow_nan=False, separators=(",", ":")).encode()


def _plain(value: Curve | Ridge | Trees | Scatter) -> dict[str, Any]:
    """The fields of a dataclass of arrays and floats."""
    found = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return {
        name: tuple(item.tolist()) if isinstance(item, np.ndarray) else item for name, item in found.items()
    }


def decode(data: bytes, *, features: tuple[str, ...] | None = None) -> Estimator:
    """The estimator in ``estimator.json``, for rows of ``features`` when they are given.

    Raises BundleError with every problem by dotted path, and when it is for other features.
    """
    if len(data) > MAX_BYTES:
        raise BundleError(f"{NAME}: {len(data)} bytes are more than the {MAX_BYTES} allowed")
    try:
        file = structure(read_json(data), EstimatorFile)
    except DocumentError as error:
        raise BundleError(f"{NAME}: {error}") from None
    except StructureProblemsError as error:
        raise BundleError(*(f"{NAME}: {problem}" for problem in error.problems)) from None
    problems = list(_problems(file))
    if features is not None and file.features != features:
        differ = sorted(set(features) ^ set(file.features))
        problems.append(f"features: not those of the reference: {', '.join(differ[:5]) or 'another order'}")
    if problems:
        raise BundleError(*(f"{NAME}: {problem}" for problem in problems))
    return _estimator(file)


def _estimator(file: EstimatorFile) -> Estimator:
    scatter = file.scatter
    return Estimator(
        measure=file.measure,
        basis=_basis(file),
        method=file.method,
        regression=_regression(file),
        baseline=file.baseline,
        reference=file.reference,
        scatter=Scatter(
            above=np.array(scatter.above),
            half=np.array(scatter.half),
            worth=scatter.worth,
            share=scatter.share,
        ),
        centroids=np.array(file.centroids),
        outermost=file.outermost,
    )


def _basis(file: EstimatorFile) -> Basis:
    curve, error = file.curve, file.error
    return Basis(
        features=file.features,
        families=file.families,
        mean=np.array(file.mean),
        std=np.array(file.std),
        score=file.score,
        curve=Curve(scores=np.array(curve.scores), rights=np.array(curve.rights)) if curve else None,
        threshold=curve.threshold if curve else 0.0,
        value=file.value,
        error=Curve(scores=np.array(error.scores), rights=np.array(error.rights)) if error else None,
    )


def _regression(file: EstimatorFile) -> Regression | None:
    ridge, trees = file.ridge, file.trees
    if ridge is not None:
        return Ridge(
            centre=np.array(ridge.centre),
            scale=np.array(ridge.scale),
            weights=np.array(ridge.weights),
            intercept=ridge.intercept,
        )
    if trees is not None:
        return Trees(
            roots=np.array(trees.roots, np.int64),
            feature=np.array(trees.feature, np.int64),
            cut=np.array(trees.cut),
            right=np.array(trees.right, np.int64),
        )
    return None


def _problems(file: EstimatorFile) -> Iterator[str]:
    count = len(file.features)
    if not count or len(set(file.features)) < count:
        yield "features: expected at least one, each once"
    for name in ("score", "value"):
        index = getattr(file, name)
        if index is not None and not 0 <= index < count:
            yield f"{name}: expected 0 … {count - 1}, got {index}"
    yield from _curves_problems(file)
    if any(value < _LEAST_STD for value in file.std):
        yield "std: must be more than 0"
    if any(abs(value) > _MAX for value in file.mean):
        yield f"mean: must be within ±{_MAX:g}"
    yield from _number_problems(file)
    yield from _method_problems(file)
    yield from _scatter_problems(file.scatter)
    short = [name for name in ("families", "mean", "std") if len(getattr(file, name)) != count]
    yield from (f"{name}: expected {count} entries, got {len(getattr(file, name))}" for name in short)
    if not short:
        yield from _width_problems(file, len(_basis(file).names))


def _number_problems(file: EstimatorFile) -> Iterator[str]:
    if not _LEAST_STD < file.outermost < _MAX:
        yield f"outermost: expected a distance, got {file.outermost}"
    if not (0 <= file.reference < _MAX and 0 <= file.baseline < _MAX):
        yield "reference, baseline: must be 0 or more"
    if file.measure != "mse" and max(file.reference, file.baseline) > 1:
        yield "reference, baseline: must be at most 1"


def _method_problems(file: EstimatorFile) -> Iterator[str]:
    if file.ridge is not None and file.trees is not None:
        yield "ridge, trees: expected at most one of them"
    if file.ridge is not None:
        known = ["ridge"]
    elif file.trees is not None:
        known = ["trees", DIRECT]
    else:
        known = ["cbpe", "atc"] if file.curve is not None else []
        known += ["local"] if file.error is not None else []
        known += [] if file.measure == "accuracy" else ["unchanged"]
    if file.method not in known:
        expected = ", ".join(known) or "none without a regression"
        yield f"method: expected one of {expected}, got {file.method!r}"


def _width_problems(file: EstimatorFile, width: int) -> Iterator[str]:
    if not file.centroids:
        yield "centroids: expected at least one"
    for at, row in enumerate(file.centroids):
        if len(row) != width or any(abs(value) > _MAX for value in row):
            yield f"centroids[{at}]: expected {width} finite numbers, got {len(row)}"
    if file.ridge is not None:
        yield from _ridge_problems(file.ridge, width)
    if file.trees is not None:
        yield from _tree_problems(file.trees, width)


def _ridge_problems(ridge: RidgeEntry, width: int) -> Iterator[str]:
    for name in ("centre", "scale", "weights"):
        if len(getattr(ridge, name)) != width:
            yield f"ridge.{name}: expected {width} numbers, got {len(getattr(ridge, name))}"
    if any(value < _LEAST_STD for value in ridge.scale):
        yield "ridge.scale: must be more than 0"
    for name, values in _bounded(ridge):
        if any(abs(value) > _MAX for value in values):
            yield f"ridge.{name}: must be within ±{_MAX:g}"


def _bounded(ridge: RidgeEntry) -> tuple[tuple[str, tuple[float, ...]], ...]:
    return (("centre", ridge.centre), ("weights", ridge.weights), ("intercept", (ridge.intercept,)))


def _tree_problems(trees: TreesEntry, width: int) -> Iterator[str]:
    nodes = len(trees.feature)
    if not trees.roots or not nodes == len(trees.cut) == len(trees.right):
        yield "trees: expected roots, and as many cuts and rights as features"
        return
    if not all(0 <= root < nodes for root in trees.roots):
        yield f"trees.roots: expected 0 … {nodes - 1}"
    if any(abs(value) > _MAX for value in trees.cut):
        yield f"trees.cut: must be within ±{_MAX:g}"
    # A step always leads down the table, so that no file makes a prediction go round in circles.
    for at, (feature, right) in enumerate(zip(trees.feature, trees.right, strict=True)):
        if not -1 <= feature < width:
            yield f"trees.feature[{at}]: expected -1 … {width - 1}, got {feature}"
        elif feature >= 0 and not at + 1 < right < nodes:
            yield f"trees.right[{at}]: expected {at + 2} … {nodes - 1}, got {right}"


def _scatter_problems(scatter: ScatterEntry) -> Iterator[str]:
    above = scatter.above
    if not above or above[0] != 0 or any(b < a for a, b in itertools.pairwise(above)):
        yield "scatter.above: must begin with 0 and never fall"
    if len(scatter.half) != len(above) or any(not 0 <= value < _MAX for value in scatter.half):
        yield f"scatter.half: expected {len(above)} numbers of 0 or more"
    if not (0 <= scatter.share < _MAX and 1 <= scatter.worth < _MAX):
        yield "scatter.share, scatter.worth: expected 0 or more, and 1 or more"


def _curves_problems(file: EstimatorFile) -> Iterator[str]:
    curve, error = file.curve, file.error
    if curve is not None:
        yield from _curve_problems(curve, "curve")
        if any(b < a for a, b in itertools.pairwise(curve.rights)) or any(x > 1 for x in curve.rights):
            yield "curve.rights: must never fall, and be at most 1"
        if file.score is None or file.measure != "accuracy":
            yield "curve: needs a score, and accuracy to measure"
    if error is not None:
        yield from _curve_problems(error, "error")
        if file.value is None or file.measure != "mse":
            yield "error: needs a value, and mse to measure"


def _curve_problems(curve: CurveEntry, where: str) -> Iterator[str]:
    if not curve.scores or len(curve.scores) != len(curve.rights):
        yield f"{where}: expected as many scores as rights, at least one"
    if any(b <= a for a, b in itertools.pairwise(curve.scores)):
        yield f"{where}.scores: must rise"
    if any(not 0 <= value < _MAX for value in curve.rights):
        yield f"{where}.rights: must be 0 or more"
