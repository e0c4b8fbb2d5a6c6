"""What each differing factor costs, as bars with intervals and as a table."""

from typing import Final

from calibration.diagnosis_result import DiagnosisResult, FactorCost, Measure
from calibration.page.frame import section
from calibration.page.markup import Markup, element, join
from calibration.page.waterfall import at, axis, scale
from calibration.page.words import points_with_interval, probability, signed

_ROW, _BAND, _BAR, _AXIS = 58.0, 36.0, 18.0, 34.0
_STEPS = (0.5, 1, 2, 5, 10, 20, 50)
FACTOR_HEADS: Final[dict[Measure, tuple[str, ...]]] = {
    "accuracy": ("Cost", "Repaired alone", "Evidence"),
    "agreement": ("Answers changed", "Fewer, repaired alone", "Evidence"),
}
"""Of the columns that ``factor_cells`` fills."""
_TITLES: Final[dict[Measure, str]] = {
    "accuracy": "What each factor costs",
    "agreement": "What each factor changes",
}


def factor_cells(factor: FactorCost, measure: Measure) -> tuple[str, ...]:
    """A factor's numbers in words. Without labels they are answers that change, good or bad."""
    repaired = factor.repaired_points
    if measure == "agreement":
        changed = f"{factor.points:.1f} % ({factor.low:.1f} to {factor.high:.1f})"
        return changed, "not run" if repaired is None else f"{repaired:.1f} %", "no labels"
    cost = points_with_interval(-factor.points, -factor.high, -factor.low)
    proven = "proven" if factor.proven else "not proven"
    evidence = proven if factor.p is None else f"{proven}, {probability(factor.p)}"
    return cost, "not run" if repaired is None else f"{signed(repaired)} points", evidence


def factor_bars(result: DiagnosisResult) -> Markup:
    """The section of a diagnosis that shows its factors, costliest first."""
    title, agreement = _TITLES[result.measure], result.measure == "agreement"
    if not result.factors:
        return section(title, element("p", "Nothing differs.", class_="card"), name="factors")
    how = (
        "every mix of factors was run" if result.exact else f"estimated from {result.mixes} mixes of factors"
    )
    bars = "Points lost, with {}. Hatched: proven to cost; outlined: may be chance. "
    if agreement:
        bars = "Per cent of the answers that change, with {}. "
    sums = f"These are Shapley values ({how}): they add up to the total exactly."
    caption = join([bars.format(result.interval), sums])
    figure = element("figure", _drawn(result), element("figcaption", caption), class_="card")
    lead = "Each factor’s fair share of the loss. A factor that cannot be told from zero is no reason to act."
    if agreement:
        lead = "Each factor’s fair share of the answers that change. Without labels: for better or worse."
    return section(title, figure, _table(result), lead=lead, name="factors")


def _drawn(result: DiagnosisResult) -> Markup:
    low, high, step = _domain(result.factors)
    height = _ROW * len(result.factors)
    zero = at(scale(low, high, 0))
    labels = [_amount(factor, result.measure) for factor in result.factors]
    rows = [
        _row(factor, label, i * _ROW, low, high)
        for i, (factor, label) in enumerate(zip(result.factors, labels, strict=True))
    ]
    said = "; ".join(f"{each.name}: {label}" for each, label in zip(result.factors, labels, strict=True))
    return element(
        "svg",
        element("title", _TITLES[result.measure]),
        element("desc", said),
        axis(low, high, step, 4, height, ""),
        element("line", x1=zero, x2=zero, y1=4, y2=height, class_="axis-zero"),
        *rows,
        class_="chart",
        role="img",
        width="100%",
        height=height + _AXIS,
    )


def _domain(factors: tuple[FactorCost, ...]) -> tuple[float, float, float]:
    values = [0.0, *(value for each in factors for value in (each.points, each.low, each.high))]
    span = max(max(values) - min(values), 1.0)
    step = next((step for step in _STEPS if span / step <= 6), 100.0)
    low, high = step * (min(values) // step), -step * (-max(values) // step)
    return low, max(high, low + step), step


def _amount(factor: FactorCost, measure: Measure) -> str:
    return f"{factor.points:.1f} %" if measure == "agreement" else f"{signed(-factor.points)} points"


def _row(factor: FactorCost, label: str, top: float, low: float, high: float) -> Markup:
    zero, end, middle = scale(low, high, 0), scale(low, high, factor.points), top + _BAND
    kind = ("loss" if factor.points > 0 else "gain") + ("" if factor.proven else " unproven")
    bar = element(
        "rect",
        x=at(min(zero, end)),
        width=at(abs(end - zero)),
        y=middle - _BAR / 2,
        height=_BAR,
        rx=2,
        class_=f"bar {kind}",
        fill="url(#loss)" if factor.proven and factor.points > 0 else None,
    )
    ends = [scale(low, high, factor.low), scale(low, high, factor.high)]
    whisker = [element("line", x1=at(ends[0]), x2=at(ends[1]), y1=middle, y2=middle, class_="whisker")]
    whisker += [
        element("line", x1=at(x), x2=at(x), y1=middle - 5, y2=middle + 5, class_="whisker") for x in ends
    ]
    title = element("text", factor.name, x="1%", y=top + 18, class_="row-title")
    tone = "harmful" if factor.proven else "soft"
    value = element("text", label, x="99%", y=top + 18, text_anchor="end", class_=tone)
    return element("g", title, value, bar, *whisker)


def _table(result: DiagnosisResult) -> Markup:
    head = ("Factor", "Trained", "Deployed", *FACTOR_HEADS[result.measure])
    rows = (
        element(
            "tr",
            element("th", each.name, scope="row"),
            *(
                element("td", cell)
                for cell in (each.trained, each.deployed, *factor_cells(each, result.measure))
            ),
        )
        for each in result.factors
    )
    table = element(
        "table",
        element("thead", element("tr", *(element("th", name, scope="col") for name in head))),
        element("tbody", *rows),
    )
    scrolled = element("div", table, class_="scroll", tabindex=0, role="region", aria_label="Factors")
    return element("div", scrolled, class_="card")
