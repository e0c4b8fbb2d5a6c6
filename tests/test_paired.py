"""Exact tests and intervals for paired outcomes, against SciPy and by simulation."""

import numpy as np
import pytest
from scipy import stats

from calibration.paired import holm, mcnemar, paired_points, smallest_visible_points


@pytest.mark.parametrize(("lost", "gained"), [(0, 0), (8, 0), (5, 5), (7, 1), (1, 12), (40, 21), (300, 250)])
def test_mcnemar_is_the_exact_binomial_test(lost: int, gained: int) -> None:
    expected = stats.binomtest(lost, lost + gained, 0.5).pvalue if lost + gained else 1.0
    assert mcnemar(lost, gained) == pytest.approx(expected, rel=1e-12)


def test_mcnemar_does_not_overflow() -> None:
    assert 0.0 <= mcnemar(3_000, 1_000) < 1e-200
    assert mcnemar(2_001, 2_000) == pytest.approx(1.0)


def test_mcnemar_accuses_no_more_often_than_promised(rng: np.random.Generator) -> None:
    for discordant in (5, 12, 40):
        lost = rng.binomial(discordant, 0.5, 4000)
        accused = np.mean([mcnemar(int(k), discordant - int(k)) <= 0.01 for k in lost])
        assert accused <= 0.01 + 3 * np.sqrt(0.01 / 4000)


def test_holm_on_its_textbook_example() -> None:
    # Sorted .01, .02, .03, .04 times 4, 3, 2, 1, never falling.
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx((0.06, 0.04, 0.06, 0.06))
    assert holm([0.9, 0.8]) == (1.0, 1.0)
    assert holm([]) == ()


def test_holm_keeps_the_familywise_error(rng: np.random.Generator) -> None:
    uniform = rng.random((4000, 4))
    assert np.mean([min(holm(row.tolist())) <= 0.05 for row in uniform]) <= 0.05 + 3 * np.sqrt(0.05 / 4000)


@pytest.mark.parametrize(("p_lost", "p_gained"), [(0.02, 0.02), (0.1, 0.03), (0.3, 0.02), (0.0, 0.0)])
@pytest.mark.parametrize("n", [32, 64, 128])
def test_the_interval_of_points_covers(
    rng: np.random.Generator, p_lost: float, p_gained: float, n: int
) -> None:
    truth = 100 * (p_gained - p_lost)
    drawn = rng.multinomial(n, [p_lost, p_gained, 1 - p_lost - p_gained], 2000)
    covered = 0
    for lost, gained, _ in drawn.tolist():
        estimate, low, high = paired_points(lost, gained, n)
        assert low <= estimate <= high
        covered += low <= truth <= high
    assert covered / 2000 >= 0.87


def test_points_of_nothing_and_of_everything() -> None:
    assert paired_points(0, 0, 0) == (0.0, -100.0, 100.0)
    estimate, low, high = paired_points(64, 0, 64)
    assert estimate == -100.0 and low == -100.0 and high > -100.0
    # By hand: (16 + 1) / 130 lost, (4 + 1) / 130 gained, z = 1.644854.
    estimate, low, high = paired_points(16, 4, 128)
    assert estimate == pytest.approx(-9.375)
    half = 1.644854 * np.sqrt((22 / 130 - (12 / 130) ** 2) / 130)
    assert (low, high) == pytest.approx((100 * (-12 / 130 - half), 100 * (-12 / 130 + half)), abs=1e-4)


def test_the_smallest_loss_that_can_be_shown() -> None:
    # 2 × .5^8 = .0078: eight losses and no gain.
    assert smallest_visible_points(128) == 6.25
    assert smallest_visible_points(64) == 12.5
    assert smallest_visible_points(7) is None
    # As the smallest of three p-values: 3 × 2 × .5^10 = .0059.
    assert smallest_visible_points(128, tests=3) == 7.8125
    assert smallest_visible_points(64, tests=3) == 15.625
    for tests in (1, 2, 3, 5):
        fewest = round(128 * (smallest_visible_points(128, tests=tests) or 0) / 100)
        assert holm([mcnemar(fewest, 0), *[1.0] * (tests - 1)])[0] <= 0.01
        assert holm([mcnemar(fewest - 1, 0), *[1.0] * (tests - 1)])[0] > 0.01
