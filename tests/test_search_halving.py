"""Successive halving: what is run, what survives."""

from collections.abc import Sequence

import numpy as np
import pytest

from calibration.candidate.halving import halve


def test_each_round_halves_the_arms_and_doubles_the_inputs() -> None:
    rounds: list[tuple[int, int]] = []

    def score(arms: Sequence[int], inputs: int) -> list[float]:
        rounds.append((len(arms), inputs))
        return [float(arm) for arm in arms]

    made = halve(range(40), score, first=16, most=200, keep=3)
    assert rounds == [(40, 16), (20, 32), (10, 64), (5, 128)]
    assert made.survivors == (39, 38, 37)
    assert made.inputs == 128
    assert {drop.arm for drop in made.dropped} == set(range(37))
    assert [(drop.inputs, drop.best) for drop in made.dropped if drop.arm == 0] == [(16, 39.0)]


def test_all_inputs_used_ends_it() -> None:
    made = halve(range(8), lambda arms, _: [-float(arm) for arm in arms], first=16, most=10, keep=2)
    assert (made.survivors, made.inputs) == ((0, 1), 10)


def test_equal_scores_keep_their_order() -> None:
    assert halve("abcd", lambda arms, _: [0.0] * len(arms), first=1, most=8, keep=1).survivors == ("a",)


def test_few_arms_are_ranked_once() -> None:
    assert halve([1, 2], lambda arms, _: [float(arm) for arm in arms], first=4, most=8, keep=3).survivors == (
        2,
        1,
    )


def test_nothing_to_choose_from() -> None:
    with pytest.raises(ValueError, match="0 arms"):
        halve([], lambda arms, _: [], first=1, most=1, keep=1)


def test_it_finds_the_best_of_noisy_arms_with_a_fraction_of_the_runs(rng: np.random.Generator) -> None:
    found = runs = 0
    for _ in range(100):
        means = np.linspace(0, 3, 32)
        samples = means[:, None] + rng.normal(0, 1, (32, 256))
        seen: set[tuple[int, int]] = set()

        def score(
            arms: Sequence[int],
            inputs: int,
            samples: np.ndarray = samples,
            seen: set[tuple[int, int]] = seen,
        ) -> list[float]:
            seen |= {(arm, at) for arm in arms for at in range(inputs)}
            return [float(samples[arm, :inputs].mean()) for arm in arms]

        found += 31 in halve(range(32), score, first=8, most=256, keep=3).survivors
        runs += len(seen)
    assert found >= 95
    assert runs / 100 < 0.15 * 32 * 256
