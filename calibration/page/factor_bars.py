"""What each differing factor costs, as bars with intervals and as a table."""

from calibration.diagnosis_result import DiagnosisResult, FactorCost
from calibration.page.frame import section
from calibration.page.markup import Markup, element, join
from calibration.page.waterfall import at, axis, scale
from calibration.page.words import points_with_interval, probability, signed

_ROW, _BAND, _BAR, _AXIS = 58.0, 36.0, 18.0, 34.0
_STEPS = (0.5, 1, 2, 5, 10, 20, 50)


def factor_bars(result: DiagnosisResult) -> Markup:
    """The section of a diagnosis that shows its factors, costliest first."""
    if not result.factors:
        return section(
            "What each factor costs", element("p", "Nothing differs.", class_="card"), name="factors"
        )
    how = (
        "every mix of factors was run" if result.exact else f"estimated from {result.mixes} mixes of factors"
    )
    caption = join(
        [
            f"Points lost, with {result.interval}. Hatched: proven to cost; outlined: may be chance. ",
            f"Costs are Shapley values ({how}): they add up to the total loss exactly.",
        ]
    )
    figure = element("figure", _drawn(result), element("figcaption", caption), class_="card")
    lead = "Each factor’s fair share of the loss. A factor that cannot be told from zero is no reason to act."
    return section("What each factor costs", figure, _table(result), lead=lead, name="factors")


def _drawn(result: DiagnosisResult) -> Markup:
    low, high, step = _domain(result.factors)
    height = _ROW * len(result.factors)
    zero = at(scale(low, high, 0))
    rows = [_row(factor, i * _ROW, low, high) for i, factor in enumerate(result.factors)]
    said = "; ".join(f"{each.name}: {signed(-each.points)} points" for each in result.factors)
    return element(
        "svg",
        element("title", "Points lost by each factor"),
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


def _row(factor: FactorCost, top: float, low: float, high: float) -> Markup:
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
    value = element(
        "text", f"{signed(-factor.points)} points", x="99%", y=top + 18, text_anchor="end", class_=tone
    )
    return element("g", title, value, bar, *whisker)


def _table(result: DiagnosisResult) -> Markup:
    head = ("Factor", "Trained", "Deployed", "Cost", "Repaired alone", "Evidence")
    rows = (
        element(
            "tr",
            element("th", each.name, scope="row"),
            element("td", each.trained),
            element("td", each.deployed),
            element("td", points_with_interval(-each.points, -each.high, -each.low)),
            element(
                "td", "not run" if each.repaired_points is None else f"{signed(each.repaired_points)} points"
            ),
            element("td", f"{'proven' if each.proven else 'not proven'}, {probability(each.p)}"),
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
