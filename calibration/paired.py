"""Paired comparison of two rungs on the same inputs: what was lost, what was gained.

Pure. An input counts as *lost* when it was right on the rung above and is wrong here, as *gained* the
other way round; inputs on which both agree say nothing about a difference.
"""

import math
from collections.abc import Sequence
from statistics import NormalDist

CONFIDENCE = 0.90
ALPHA = 0.01
"""Of the exact test over a whole ladder."""
ENOUGH_LABELS = 8
"""Labelled inputs from which an estimated loss is worth a look."""


def mcnemar(lost: int, gained: int) -> float:
    """Two-sided p of "losses and gains are equally likely", exact: the binomial test of ``lost`` among
    ``lost + gained`` at one half; 1 without any.

    Source: Q. McNemar, "Note on the sampling error of the difference between correlated proportions",
    Psychometrika 12 (1947), in its exact form.
    """
    n, fewer = lost + gained, min(lost, gained)
    if lost == gained:
        return 1.0
    tail = sum(math.comb(n, k) for k in range(fewer + 1))
    # Integers divided: exact until the last step, however many inputs there are.
    return min(1.0, float(2 * tail / 2**n))


def holm(ps: Sequence[float]) -> tuple[float, ...]:
    """``ps`` adjusted so that calling those at or below α significant errs in any of them with
    probability at most α; in the order given.

    Source: S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of
    Statistics 6 (1979).
    """
    adjusted = [0.0] * len(ps)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        largest = max(largest, min(1.0, (len(ps) - rank) * ps[place]))
        adjusted[place] = largest
    return tuple(adjusted)


def paired_points(
    lost: int, gained: int, n: int, confidence: float = CONFIDENCE
) -> tuple[float, float, float]:
    """Change of accuracy in percentage points (negative is loss) over ``n`` paired inputs: the
    estimate, and the low and high end of its interval.

    Adjusted Wald interval with one pseudo-input on either side: D. G. Bonett and R. M. Price, "Adjusted
    Wald confidence interval for a difference of binomial proportions based on paired data", Journal of
    Educational and Behavioral Statistics 37 (2012). Without inputs nothing is known: (0, −100, 100).
    """
    if n == 0:
        return 0.0, -100.0, 100.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    p_lost, p_gained = (lost + 1) / (n + 2), (gained + 1) / (n + 2)
    centre = p_gained - p_lost
    half = z * math.sqrt((p_lost + p_gained - centre**2) / (n + 2))
    estimate = (gained - lost) / n
    # The pseudo-inputs pull the centre towards 0: far out the estimate itself may lie beyond it.
    low, high = min(centre - half, estimate), max(centre + half, estimate)
    return 100 * estimate, 100 * max(low, -1.0), 100 * min(high, 1.0)


def smallest_visible_points(n: int, alpha: float = ALPHA, tests: int = 1) -> float | None:
    """The smallest loss in points that ``mcnemar`` can show at ``alpha`` with ``n`` inputs as the
    smallest p of ``tests`` that ``holm`` corrects, when nothing is gained; None when not even losing
    all of them would show."""
    lost = 1
    while tests * mcnemar(lost, 0) > alpha:
        lost += 1
    return 100 * lost / n if lost <= n else None
