"""Successive halving: find the best of many arms without trying each of them in full.

All arms are scored on a few inputs, the worse half is dropped, the rest is scored on twice as many,
and so on: every round costs the same. Source: K. Jamieson and A. Talwalkar, "Non-stochastic best
arm identification and hyperparameter optimization", AISTATS 2016, algorithm 1.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

T = TypeVar("T")
Score: TypeAlias = Callable[[Sequence[T], int], Sequence[float]]
"""Scores of these arms over the first so many inputs, higher is better."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Dropped(Generic[T]):
    """An arm that was left behind after ``inputs`` inputs, with its ``score`` over them and that of
    the round's ``best``."""

    arm: T
    inputs: int
    score: float
    best: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Halving(Generic[T]):
    """``survivors`` best first, by their score over ``inputs`` inputs; ``dropped`` the earliest first."""

    survivors: tuple[T, ...]
    inputs: int
    dropped: tuple[Dropped[T], ...]


def halve(arms: Sequence[T], score: Score[T], *, first: int, most: int, keep: int) -> Halving[T]:
    """Halve ``arms`` until ``keep`` are left: ``first`` inputs in the first round, twice as many in
    each next one, never more than ``most``; once all ``most`` are used the best ``keep`` stay.

    Equal scores keep the order given. Raises ValueError for nothing to choose from.
    """
    if not arms or keep < 1 or first < 1 or most < 1:
        raise ValueError(f"{len(arms)} arms, keep {keep}, first {first}, most {most}: expected at least 1")
    left = list(arms)
    dropped: list[Dropped[T]] = []
    inputs = min(first, most)
    while True:
        scores = list(score(left, inputs))
        order = sorted(range(len(left)), key=lambda place: -scores[place])
        last = inputs == most or len(left) <= keep
        kept = keep if last else max(keep, (len(left) + 1) // 2)
        best = scores[order[0]]
        dropped += [Dropped(arm=left[at], inputs=inputs, score=scores[at], best=best) for at in order[kept:]]
        left = [left[at] for at in order[:kept]]
        if last or len(left) <= keep:
            return Halving(survivors=tuple(left), inputs=inputs, dropped=tuple(dropped))
        inputs = min(2 * inputs, most)
