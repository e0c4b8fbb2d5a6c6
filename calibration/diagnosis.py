"""Runs every mix of the factors that differ, and says what each costs and which to repair first."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agent.contracts import Decoder
from agent.preprocess.spec import PreprocessSpec
from calibration import attribution, factors
from calibration.attribution import Design, Shares
from calibration.diagnosis_result import DiagnosisResult, FactorCost, Measure
from calibration.evaluation import Answer, Decoded, Evaluation, Model
from calibration.factor.words import headline, remarks
from calibration.factors import Factor
from calibration.outcomes import flips, units
from calibration.paired import holm

ALPHA: Final = 0.05
QUANTIZATION: Final = "quantization"
KERNELS: Final = "kernels"


@dataclass(frozen=True, kw_only=True, slots=True)
class Models:
    """The quantized model by the kernels that everything is compared on, its ``floating`` twin (None:
    quantization is no factor), and the same model by the kernels in use (None: kernels are no factor)."""

    model: Model
    kernels: str
    floating: Model | None = None
    deployed: Model | None = None
    deployed_kernels: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """What is to be diagnosed. With ``labels`` None answers are compared with the healthy model's.

    ``tolerance``: the largest error of a regression that is right, in the model's units.
    """

    bundle: str
    task: str
    training: PreprocessSpec
    deployed: PreprocessSpec
    models: Models
    decoder: Decoder
    inputs: Decoded
    labels: tuple[int | float, ...] | None
    tolerance: float | None = None


class Mixes:
    """The mixes of a case: bit i of a mask is the i-th of ``factors``."""

    def __init__(self, case: Case) -> None:
        self._case = case
        models = case.models
        self._spec_factors = factors.factors(case.training, case.deployed)
        found = list(self._spec_factors)
        if models.floating is not None:
            found.append(Factor(name=QUANTIZATION, step="", trained="float", deployed="quantized"))
        if models.deployed is not None:
            found.append(
                Factor(name=KERNELS, step="", trained=models.kernels, deployed=models.deployed_kernels)
            )
        self.factors = tuple(found)
        self.design: Design = attribution.design(len(found))
        self._evaluations: dict[Model, Evaluation] = {}

    @property
    def runs(self) -> int:
        """Answers that ``outcomes`` asks for."""
        return len(self.design.mixes) * len(self._case.inputs)

    def outcomes(self, advance: Callable[[], None]) -> dict[int, NDArray[np.float64]]:
        """For each mix of the design, what every input's answer is worth: 1 right, 0 wrong; without
        labels the share of the answer that is the healthy model's."""
        answers = self._answers(advance)
        healthy = answers[0]
        return {mix: self._worth(given, healthy) for mix, given in answers.items()}

    def refused(self) -> int:
        """Inputs that the deployed preprocessing cannot take."""
        evaluation, spec = self._of(2 ** len(self.factors) - 1)
        return sum(answer.refused for answer in evaluation.answers(spec))

    def _answers(self, advance: Callable[[], None]) -> dict[int, list[Answer]]:
        """Input by input, so that each is decoded once."""
        places = {mix: self._of(mix) for mix in self.design.mixes}
        found: dict[int, list[Answer]] = {mix: [] for mix in places}
        for index in range(len(self._case.inputs)):
            for mix, (evaluation, spec) in places.items():
                found[mix].append(evaluation.answer(spec, index))
                advance()
        return found

    def _worth(self, answers: Sequence[Answer], healthy: Sequence[Answer]) -> NDArray[np.float64]:
        if self._case.labels is not None:
            return np.array([bool(answer.right) for answer in answers], np.float64)
        pairs = zip(healthy, answers, strict=True)
        return np.array([_alike(was, now, self._case.tolerance) for was, now in pairs], np.float64)

    def _of(self, mix: int) -> tuple[Evaluation, PreprocessSpec]:
        case, models = self._case, self._case.models
        chosen = {factor.name for i, factor in enumerate(self.factors) if mix >> i & 1}
        model = models.model
        if models.floating is not None and QUANTIZATION not in chosen:
            model = models.floating  # A float model has no quantized kernels to differ in.
        elif models.deployed is not None and KERNELS in chosen:
            model = models.deployed
        if model not in self._evaluations:
            labels = case.labels or (None,) * len(case.inputs)
            self._evaluations[model] = Evaluation(
                model, case.decoder, case.inputs, labels, tolerance=case.tolerance
            )
        names = chosen & {factor.name for factor in self._spec_factors}
        return self._evaluations[model], factors.mix(case.training, case.deployed, names)


def diagnose(
    case: Case,
    mixes: Mixes,
    *,
    advance: Callable[[], None] = lambda: None,
    environment: tuple[tuple[str, str], ...] = (),
    notes: tuple[str, ...] = (),
) -> DiagnosisResult:
    """What each factor of ``mixes`` (made of ``case``) costs; ``advance`` is called after each of its
    ``runs``. Raises SpecError when the deployed spec cannot fill the model's input."""
    outcomes = mixes.outcomes(advance)
    found = attribution.shares(outcomes, mixes.design)
    healthy, broken = outcomes[0], outcomes[2 ** len(mixes.factors) - 1]
    loss = healthy - broken
    ((low, high),) = attribution.intervals(loss[None], np.zeros(1))
    measure: Measure = "agreement" if case.labels is None else "accuracy"
    costs = _costs(mixes, found, outcomes, measure)
    trained, deployed = float(healthy.mean()), float(broken.mean())
    first = _first(costs)
    return DiagnosisResult(
        bundle=case.bundle,
        task=case.task,
        measure=measure,
        inputs=len(case.inputs),
        trained=trained,
        deployed=deployed,
        loss_points=100 * float(loss.mean()),
        loss_low=100 * max(float(low), 0.0 if measure == "agreement" else -1.0),
        loss_high=100 * float(high),
        factors=costs,
        first=first.name if first else None,
        sentence=headline(costs, first, measure, len(case.inputs), (trained, deployed), case.task),
        interval=attribution.INTERVAL,
        exact=mixes.design.exact,
        mixes=len(mixes.design.mixes),
        environment=environment,
        notes=(*notes, *remarks(measure, len(case.inputs), mixes.refused(), mixes.design)),
    )


def _costs(
    mixes: Mixes, found: Shares, outcomes: dict[int, NDArray[np.float64]], measure: Measure
) -> tuple[FactorCost, ...]:
    """Costliest first. No answer can be more than all the healthy model's, so agreement only falls and
    a test of it would accuse whatever changes an answer: it is not tested."""
    if not mixes.factors:
        return ()
    ends = attribution.intervals(found.costs, found.sampling)
    ps: Sequence[float | None] = [None] * len(mixes.factors)
    if measure == "accuracy":
        ps = holm([attribution.chance(row) for row in found.costs])
    everything = 2 ** len(mixes.factors) - 1
    costs = []
    for i, (factor, p) in enumerate(zip(mixes.factors, ps, strict=True)):
        mean = float(found.costs[i].mean())
        repaired = outcomes.get(everything & ~(1 << i))
        gain = None if repaired is None else 100 * float((repaired - outcomes[everything]).mean())
        costs.append(
            FactorCost(
                name=factor.name,
                step=factor.step or None,
                points=100 * mean,
                low=100 * float(ends[i, 0]),
                high=100 * float(ends[i, 1]),
                p=p,
                proven=p is not None and p <= ALPHA and mean > 0,
                repaired_points=gain,
                trained=factor.trained,
                deployed=factor.deployed,
            )
        )
    return tuple(sorted(costs, key=lambda cost: -cost.points))


def _first(costs: Sequence[FactorCost]) -> FactorCost | None:
    """Of those proven to cost, the one whose repair alone gives back most: what a user sees after one
    repair is that, not the fair share."""
    proven = [cost for cost in costs if cost.proven]
    return max(proven, key=lambda cost: (_gain(cost), cost.points), default=None)


def _gain(cost: FactorCost) -> float:
    return -math.inf if cost.repaired_points is None else cost.repaired_points


def _alike(was: Answer, now: Answer, tolerance: float | None) -> float:
    if was.refused or now.refused:
        return float(was.refused and now.refused)
    if was.prediction is None or now.prediction is None:
        return float(was.top == now.top)
    return 1 - flips(was.prediction, now.prediction, tolerance) / max(
        units(was.prediction, now.prediction), 1
    )
