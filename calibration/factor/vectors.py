"""The factors of two vector specs: each kind of step by itself, where the two can be aligned."""

from dataclasses import replace
from typing import Final

from agent.preprocess.steps import Step
from agent.preprocess.validity import step_problems
from agent.preprocess.values import Cast

_FREE: Final = ("select", "impute", "clip")
_NAMES: Final = {"select": "selection", "impute": "imputation", "clip": "clipping"}


def differing(training: tuple[Step, ...], deployed: tuple[Step, ...]) -> tuple[tuple[str, str], ...]:
    """(factor, step) of each difference, in the order of the steps."""
    found = [(name, name) for name in _FREE if _of(training, name) != _of(deployed, name)]
    if _order(training) != _order(deployed) and _alignable(training, deployed) is None:
        found = [("preparation", found[0][1] if found else "select")]
    named = [(_NAMES.get(name, name), step) for name, step in found]
    if (_of(training, "standardize"), _cast(training).mode) != (
        _of(deployed, "standardize"),
        _cast(deployed).mode,
    ):
        named.append(("normalisation", "standardize"))
    if _cast(training).rounding != _cast(deployed).rounding:
        named.append(("rounding", "cast"))
    return tuple(named)


def mixed(training: tuple[Step, ...], deployed: tuple[Step, ...], chosen: frozenset[str]) -> tuple[Step, ...]:
    """``training`` with the ``chosen`` factors of ``deployed``."""
    order = _alignable(training, deployed)
    free: list[Step] = []
    if order is None:
        side = deployed if "preparation" in chosen else training
        free = [step for step in side if step.NAME in _FREE]
    else:
        for name in order:
            free += _of(deployed if _NAMES[name] in chosen else training, name)
    numbers = deployed if "normalisation" in chosen else training
    rounding = _cast(deployed if "rounding" in chosen else training).rounding
    return (*free, *_of(numbers, "standardize"), replace(_cast(numbers), rounding=rounding))


def _alignable(training: tuple[Step, ...], deployed: tuple[Step, ...]) -> tuple[str, ...] | None:
    """The common order of the free steps, where each kind occurs once at most and no mix is refused."""
    ours, theirs = _order(training), _order(deployed)
    shared = [name for name in ours if name in theirs]
    if len(set(ours)) < len(ours) or len(set(theirs)) < len(theirs):
        return ours if ours == theirs else None
    if shared != [name for name in theirs if name in ours]:
        return None
    order: tuple[str, ...] = tuple(name for name in _FREE if name in {*ours, *theirs})
    order = ours if set(theirs) <= set(ours) else theirs if set(ours) <= set(theirs) else order
    for mask in range(2 ** len(order)):
        sides = [deployed if mask >> i & 1 else training for i in range(len(order))]
        steps = [step for name, side in zip(order, sides, strict=True) for step in _of(side, name)]
        if step_problems([*steps, _cast(training)]):
            return None
    return order


def _order(steps: tuple[Step, ...]) -> tuple[str, ...]:
    return tuple(step.NAME for step in steps if step.NAME in _FREE)


def _of(steps: tuple[Step, ...], name: str) -> list[Step]:
    return [step for step in steps if name == step.NAME]


def _cast(steps: tuple[Step, ...]) -> Cast:
    cast = steps[-1]
    assert isinstance(cast, Cast)
    return cast
