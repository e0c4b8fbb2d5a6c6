"""A diagnosis in sentences: what it costs, what to repair first, and what cannot be said."""

from collections.abc import Iterator, Sequence
from typing import Final

from calibration.attribution import Design
from calibration.diagnosis_result import FactorCost, Measure

FEW: Final = 30
"""Below this many inputs the intervals are said to be wide."""


def headline(
    costs: Sequence[FactorCost],
    first: FactorCost | None,
    measure: Measure,
    inputs: int,
    ends: tuple[float, float],
    task: str,
) -> str:
    """The whole in one or two sentences. ``ends``: the measure as trained and as deployed, 0 to 1."""
    if not costs:
        return "The two specs prepare inputs the same, and nothing else differs: nothing to share out."
    trained, deployed = ends
    lost = 100 * (trained - deployed)
    if measure == "agreement":
        return _changed(costs, lost, inputs, task)
    what = (
        f"{lost:.1f} points of accuracy are lost" if lost >= 0 else f"{-lost:.1f} points of accuracy are won"
    )
    said = f"{what} ({trained:.1%} as trained, {deployed:.1%} as deployed, {inputs} labelled inputs)."
    return f"{said} {_advice(costs, first)}"


def _changed(costs: Sequence[FactorCost], changed: float, inputs: int, task: str) -> str:
    """Without labels: a changed answer may as well be a better one."""
    if changed <= 0:
        return f"No answer changes ({inputs} inputs without labels)."
    names = ", ".join(f"{cost.name} {cost.points:.1f} %" for cost in costs)
    shared = f" ({names})" if len(costs) > 1 else f" ({costs[0].name})"
    todo = (
        "Whether they are better or worse cannot be said: true boxes are not read."
        if task == "detection"
        else "Label some inputs to know whether they are better or worse, and by how much."
    )
    where = f"on {inputs} inputs without labels{shared}"
    return f"What differs changes {changed:.1f} % of the answers {where}. {todo}"


def _advice(costs: Sequence[FactorCost], first: FactorCost | None) -> str:
    if first is None:
        listed = ", ".join(cost.name for cost in costs)
        return f"No factor is proven to cost anything with this many inputs ({listed})."
    what = _repair(first)
    gain = first.repaired_points
    if gain is None:
        return f"{what}: its share is {first.points:.1f} points."
    if gain > 0:
        return f"{what}: that alone gives back {gain:.1f} points."
    others = " and ".join(cost.name for cost in costs if cost.proven and cost is not first)
    together = f", together with {others}" if others else ""
    return f"{what}{together}: one repair alone gives nothing back, the factors hide one another."


def _repair(cost: FactorCost) -> str:
    if cost.name == "quantization":
        return "Quantize better first"
    if cost.name == "kernels":
        return f"Change the kernels first ({cost.deployed} instead of {cost.trained})"
    differs = f" ({cost.deployed} instead of {cost.trained})" if cost.trained != cost.deployed else ""
    return f"Repair {cost.name} first{differs}"


def remarks(measure: Measure, inputs: int, refused: int, plan: Design) -> Iterator[str]:
    """What limits the result, one sentence each."""
    if measure == "agreement":
        yield (
            "There are no labels: points are the share of answers that change, an upper bound of what "
            "accuracy can have fallen. No factor can be proven harmful by them."
        )
    if inputs < FEW:
        yield f"Only {inputs} inputs: the intervals are wide; pack a larger golden set or give --images."
    if refused:
        yield f"The deployed preprocessing cannot take {refused} of the inputs: they count as wrong."
    if not plan.exact:
        yield (
            f"{plan.k} factors: their shares are estimated from {len(plan.mixes)} of {2**plan.k} mixes; "
            "they still add up to the loss exactly."
        )
