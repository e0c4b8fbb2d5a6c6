"""What each of k factors costs: Shapley values over mixes of factors, with intervals.

Pure. A mix is a bit mask over the factors (bit i set: factor i as deployed), its outcome one number
from 0 to 1 per input (1: right). A factor's share of one input is what it takes from that input's
outcome; a factor's cost is the mean share, and all costs add up to the whole loss exactly.

Sources: L. S. Shapley, "A value for n-person games" (1953), over all 2^k mixes up to ``EXACT`` factors.
Above that, permutations are sampled (J. Castro, D. Gómez, J. Tejada, "Polynomial calculation of the
Shapley value based on sampling", Computers & Operations Research 36 (2009)): cycles of a random
order, so that every factor stands in every place, each with its reverse (R. Mitchell et al., "Sampling
permutations for Shapley value estimation", JMLR 23 (2022)).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Final

import numpy as np
from numpy.typing import NDArray

EXACT: Final = 6
"""Factors up to which every mix is run."""
MOST_MIXES: Final = 96
"""Of sampled mixes; one cycle of orders is always run (k (k - 1) + 2 mixes)."""
CONFIDENCE: Final = 0.90
RESAMPLES: Final = 2000
FLIPS: Final = 20_000
FRESH: Final = 2.0
"""The interval is for the cost on another set of inputs, this many times as large."""
INTERVAL: Final = (
    "90 % intervals: what is found on another set of such inputs, twice as large, lies inside nine times "
    "in ten"
)
_SEED: Final = 20260101


@dataclass(frozen=True, kw_only=True, slots=True)
class Design:
    """Which mixes to run for ``k`` factors. ``orders``: the permutations that were drawn, in pairs of
    an order and its reverse; None where every mix is run."""

    k: int
    orders: tuple[tuple[int, ...], ...] | None
    mixes: tuple[int, ...]

    @property
    def exact(self) -> bool:
        return self.orders is None


@dataclass(frozen=True, kw_only=True, slots=True)
class Shares:
    """``costs`` float64 (k, n): each factor's share of each input. ``sampling`` float64 (k,): standard
    error of the mean cost that comes from having drawn permutations, 0 where every mix was run."""

    costs: NDArray[np.float64]
    sampling: NDArray[np.float64]


def design(k: int, *, seed: int = _SEED) -> Design:
    """The mixes that ``shares`` needs; the same for the same ``k`` and ``seed``."""
    if k <= EXACT:
        return Design(k=k, orders=None, mixes=tuple(range(2**k)))
    rng = np.random.default_rng(seed)
    orders: list[tuple[int, ...]] = []
    mixes: set[int] = set()
    while True:
        base = tuple(int(i) for i in rng.permutation(k))
        cycle = [base[s:] + base[:s] for s in range(k)]
        # The reverse of an order in a cycle passes only through mixes that the cycle has anyway.
        new = mixes.union(*(_passed(order) for order in cycle))
        if orders and len(new) > MOST_MIXES:
            return Design(k=k, orders=tuple(orders), mixes=tuple(sorted(mixes)))
        mixes = new
        for order in cycle:
            orders += [order, order[::-1]]


def shares(outcomes: Mapping[int, NDArray[np.float64]], plan: Design) -> Shares:
    """``outcomes``: for each mix of the plan float64 (n,), from 0 to 1."""
    if plan.orders is None:
        return Shares(costs=_exact(outcomes, plan.k), sampling=np.zeros(plan.k))
    drawn = np.stack([_marginals(outcomes, order) for order in plan.orders])
    pairs = (drawn[0::2] + drawn[1::2]).mean(axis=2) / 2
    error = pairs.std(axis=0, ddof=1) / math.sqrt(len(pairs))
    return Shares(costs=drawn.mean(axis=0), sampling=error)


def intervals(costs: NDArray[np.float64], sampling: NDArray[np.float64]) -> NDArray[np.float64]:
    """Low and high end (k, 2) of each row's mean, on another set of ``FRESH`` times as many inputs.

    Percentile bootstrap over inputs with three corrections. Two pseudo-inputs, one that a factor
    costs and one that it gains, as D. G. Bonett and R. M. Price (Journal of Educational and
    Behavioral Statistics 37, 2012) add to paired proportions: without them a factor that changed none
    of few inputs would be certain to cost nothing. Tails widened to Student's t (T. C. Hesterberg,
    "What teachers should know about the bootstrap", The American Statistician 69 (2015)). The whole
    widened by √(1 + 1 / FRESH), for what is found on other inputs varies as well (G. J. Hahn and
    W. Q. Meeker, "Statistical Intervals" (1991), prediction of a future mean). The error of drawn
    permutations is added in quadrature.
    """
    k = len(costs)
    values = np.hstack([costs, np.ones((k, 1)), -np.ones((k, 1))])
    n = values.shape[1]
    weights = np.random.default_rng(_SEED).multinomial(n, np.full(n, 1 / n), size=RESAMPLES) / n
    tail = NormalDist().cdf(-math.sqrt(n / (n - 1)) * _student((1 + CONFIDENCE) / 2, n - 1))
    ends = np.quantile(values @ weights.T, [tail, 1 - tail], axis=1).T
    mean = costs.mean(axis=1)
    reach = np.maximum(np.stack([mean - ends[:, 0], ends[:, 1] - mean], axis=1), 0) * math.sqrt(1 + 1 / FRESH)
    drawn = NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * sampling[:, None]
    reach = np.sqrt(reach**2 + drawn**2)
    ends = np.stack([mean - reach[:, 0], mean + reach[:, 1]], axis=1)
    return ends.clip(-1, 1)


def chance(costs: NDArray[np.float64]) -> float:
    """Two-sided p of "this factor costs nothing" for one row of shares: how often random signs make
    a sum as large. For one factor alone this is McNemar's exact test.

    All signs are tried where the inputs that moved are few, else ``FLIPS`` random ones. Source:
    E. J. G. Pitman, "Significance tests which may be applied to samples from any populations",
    Supplement to the Journal of the Royal Statistical Society 4 (1937).
    """
    moved = costs[costs != 0]
    total = abs(float(moved.sum())) - 1e-9
    if moved.size <= math.log2(FLIPS):
        signs = 1 - 2 * (np.arange(2**moved.size)[:, None] >> np.arange(moved.size) & 1)
        return float(np.mean(np.abs(signs @ moved) >= total))
    if np.all(np.abs(moved) == 1):
        return _binomial(int((moved > 0).sum()), moved.size)
    signs = np.random.default_rng(_SEED).integers(0, 2, (FLIPS, moved.size)) * 2 - 1
    return float((np.sum(np.abs(signs @ moved) >= total) + 1) / (FLIPS + 1))


def _exact(outcomes: Mapping[int, NDArray[np.float64]], k: int) -> NDArray[np.float64]:
    costs = np.zeros((k, len(outcomes[0])))
    for i in range(k):
        for mix in range(2**k):
            if not mix >> i & 1:
                size = mix.bit_count()
                weight = math.factorial(size) * math.factorial(k - size - 1) / math.factorial(k)
                costs[i] += weight * (outcomes[mix] - outcomes[mix | 1 << i])
    return costs


def _marginals(outcomes: Mapping[int, NDArray[np.float64]], order: Sequence[int]) -> NDArray[np.float64]:
    costs = np.zeros((len(order), len(outcomes[0])))
    mix = 0
    for factor in order:
        costs[factor] = outcomes[mix] - outcomes[mix | 1 << factor]
        mix |= 1 << factor
    return costs


def _passed(order: Sequence[int]) -> set[int]:
    """The mixes on the way from none to all, in this order."""
    mixes = {0}
    mix = 0
    for factor in order:
        mix |= 1 << factor
        mixes.add(mix)
    return mixes


def _binomial(successes: int, n: int) -> float:
    fewer = min(successes, n - successes)
    return min(1.0, float(2 * sum(math.comb(n, i) for i in range(fewer + 1)) / 2**n))


def _student(share: float, freedom: int) -> float:
    """Quantile of Student's t from the normal one: G. W. Hill's expansion (Communications of the ACM 13
    (1970), algorithm 396), to the third order; off by less than 1 % from 3 degrees of freedom on."""
    z = NormalDist().inv_cdf(share)
    return (
        z
        + (z**3 + z) / (4 * freedom)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * freedom**3)
    )
