"""Whether the interval of a factor's cost, from a golden set, holds its cost on other photographs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import permutations

import numpy as np

from agent.contracts import Array
from calibration import attribution
from tools.bench.diagnosis.cases import Case
from tools.bench.diagnosis.draws import Draw
from tools.bench.diagnosis.engines import Engine
from tools.bench.diagnosis.mixes import COMPOUNDS
from tools.bench.diagnosis.truth import Outputs, top
from tools.bench.figures import Figure


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """In points; ``true`` on the photographs outside the golden set."""

    classifier: str
    mistake: str
    factor: str
    points: float
    low: float
    high: float
    true: float

    @property
    def covered(self) -> bool:
        return self.low <= self.true <= self.high


def single(cases: Iterable[Case], outputs: Outputs, labels: Array, draws: Sequence[Draw]) -> list[Cost]:
    """Each mistake of preprocessing by itself, one implementation of each."""
    found: dict[tuple[str, str], list[Cost]] = {}
    for case in cases:
        key = (case.classifier, case.fault)
        if case.where == "preprocess" and not case.healthy and key not in found:
            right = [top(outputs[run]) == labels for run in (case.right, case.wrong)]
            found[key] = _costs(case.classifier, case.fault, (case.fault,), right, draws)
    return [cost for costs in found.values() for cost in costs]


def compound(
    classifiers: Iterable[str], outputs: Outputs, labels: Array, draws: Sequence[Draw]
) -> list[Cost]:
    """Several mistakes at once, shared out."""
    found = []
    for classifier in classifiers:
        for mistake in COMPOUNDS:
            runs = [(Engine(file=classifier), mistake.key(mix)) for mix in range(2 ** len(mistake.factors))]
            if all(run in outputs for run in runs):
                right = [top(outputs[run]) == labels for run in runs]
                found += _costs(classifier, mistake.name, mistake.factors, right, draws)
    return found


def figures(alone: Sequence[Cost], together: Sequence[Cost]) -> list[Figure]:
    both = [*alone, *together]
    width = float(np.median([cost.high - cost.low for cost in both])) if both else float("nan")
    return [
        _coverage("90 % interval of a factor's cost holds the true one", both, 85.0),
        _coverage("the same, one mistake at a time", alone),
        _coverage("the same, several mistakes shared out", together),
        Figure(name="median width of that interval", value=width, unit="points"),
    ]


def _coverage(name: str, costs: Sequence[Cost], target: float | None = None) -> Figure:
    held = [cost.covered for cost in costs]
    value = 100 * float(np.mean(held)) if held else float("nan")
    detail = f"{sum(held)} of {len(held)} factors and draws"
    return Figure(name=name, value=value, unit="%", target=target, bound="at least", detail=detail)


def _costs(
    classifier: str, mistake: str, factors: Sequence[str], right: Sequence[Array], draws: Sequence[Draw]
) -> list[Cost]:
    plan = attribution.design(len(factors))
    found = []
    for draw in draws:
        golden = {mix: right[mix][draw.golden].astype(np.float64) for mix in plan.mixes}
        made = attribution.shares(golden, plan)
        ends = 100 * attribution.intervals(made.costs, made.sampling)
        true = shapley([100 * float(found_right[draw.outside].mean()) for found_right in right], len(factors))
        found += [
            Cost(
                classifier=classifier,
                mistake=mistake,
                factor=factor,
                points=100 * float(made.costs[i].mean()),
                low=float(ends[i, 0]),
                high=float(ends[i, 1]),
                true=true[i],
            )
            for i, factor in enumerate(factors)
        ]
    return found


def shapley(accuracy: Sequence[float], k: int) -> list[float]:
    """What each factor takes from the accuracy, averaged over all orders of making the mistakes."""
    shares = [0.0] * k
    orders = list(permutations(range(k)))
    for order in orders:
        mix = 0
        for factor in order:
            shares[factor] += (accuracy[mix] - accuracy[mix | 1 << factor]) / len(orders)
            mix |= 1 << factor
    return shares
