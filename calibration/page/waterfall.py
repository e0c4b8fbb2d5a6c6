"""The ladder as a picture: accuracy falling from rung to rung, or answers changed where no truth is known.

Pure: rungs in, SVG text out. Every x is a percentage and every y a number of pixels, so the picture
takes any width without its texts shrinking. Loss and gain differ in pattern and place as well as in
colour; what is neither harmful nor a proven gain is drawn as an outline.
"""

import math
from collections.abc import Sequence

from calibration.check_result import CheckResult, Rung
from calibration.page.markup import Markup, element, join
from calibration.page.words import (
    flips_text,
    flips_title,
    number,
    percent,
    points_text,
    rung_short,
    rung_title,
)

_ROW, _BAND, _BAR, _AXIS = 62.0, 38.0, 18.0, 34.0
_LEFT, _WIDTH = 1.0, 98.0
_LEAST_SPAN, _ROUND_TO, _AIR = 40, 10, 2.0
_PROVEN = 0.01


def waterfall(result: CheckResult) -> Markup:
    """An ``<svg>`` with one row per rung; the share of right answers where any rung has it, else the
    answers that changed. Empty when there is neither."""
    if any(rung.accuracy is not None for rung in result.rungs):
        return _accuracies(result.rungs)
    return _changes(result) if any(rung.compared is not None for rung in result.rungs) else Markup("")


def hatch() -> Markup:
    """The pattern of loss, to stand once in a page before the first picture."""
    stripe = element("path", d="M-1 1l2-2M0 6L6 0M5 7l2-2", class_="hatch-line", stroke_width=1.6)
    ground = element("rect", width=6, height=6, class_="hatch-ground")
    tile = element("pattern", ground, stripe, id="loss", width=6, height=6, patternUnits="userSpaceOnUse")
    return element("svg", element("defs", tile), width=0, height=0, aria_hidden="true", class_="defs")


def scale(low: float, high: float, value: float) -> float:
    """Where ``value`` lies on an axis from ``low`` to ``high``, in per cent of the picture's width."""
    return _LEFT + _WIDTH * (min(max(value, low), high) - low) / (high - low)


def at(x: float) -> str:
    return f"{x:.2f}%"


def axis(low: float, high: float, step: float, top: float, bottom: float, unit: str) -> Markup:
    """Grid lines and their numbers, from ``low`` on in ``step``."""
    drawn = []
    for tick in range(round((high - low) / step) + 1):
        value = low + tick * step
        x = scale(low, high, value)
        anchor = "start" if x < 4 else "end" if x > 96 else "middle"
        drawn.append(element("line", x1=at(x), x2=at(x), y1=top, y2=bottom, class_="grid"))
        drawn.append(
            element("text", number(value) + unit, x=at(x), y=bottom + 16, class_="tick", text_anchor=anchor)
        )
    return join(drawn)


def _accuracies(rungs: Sequence[Rung]) -> Markup:
    low, high = _domain(rungs)
    height = _ROW * len(rungs)
    rows = [axis(low, high, _step(high - low), 4, height, " %")]
    for row, rung in enumerate(rungs):
        above = _accuracy_above(rung, rungs[:row])
        rows.append(_row(rung, row * _ROW, low, high, above))
    return element(
        "svg",
        element("title", "Accuracy rung by rung"),
        element("desc", "; ".join(_said(rung) for rung in rungs)),
        *rows,
        class_="chart",
        role="img",
        width="100%",
        height=height + _AXIS,
    )


def _said(rung: Rung) -> str:
    if rung.accuracy is None:
        return f"{rung_title(rung.name)}: no labels"
    change = "" if rung.points is None else f", {points_text(rung.points)}"
    return f"{rung_title(rung.name)}: {percent(rung.accuracy)}{change}"


def _domain(rungs: Sequence[Rung]) -> tuple[float, float]:
    """A stretch of the scale from 0 to 100 that holds every interval and starting point."""
    values = [
        value * 100
        for rung in rungs
        for value in (rung.accuracy, rung.low, rung.high, _start(rung))
        if value is not None
    ]
    low = max(0, _ROUND_TO * math.floor((min(values) - _AIR) / _ROUND_TO))
    high = min(100, _ROUND_TO * math.ceil((max(values) + _AIR) / _ROUND_TO))
    low = max(0, min(low, high - _LEAST_SPAN))
    return float(low), float(min(100, max(high, low + _LEAST_SPAN)))


def _step(span: float) -> float:
    return 10 if span <= 50 else 20 if span in (60, 80, 100) else span / 5 if span % 50 == 0 else 10


def _start(rung: Rung) -> float | None:
    """The accuracy from which this rung fell or rose, as its own paired inputs have it."""
    if rung.accuracy is None or rung.points is None:
        return None
    return rung.accuracy - rung.points / 100


def _accuracy_above(rung: Rung, above: Sequence[Rung]) -> tuple[float, int] | None:
    """Accuracy of the rung this one is compared with, and how many rows higher it stands."""
    for rows, other in enumerate(reversed(above), start=1):
        if other.name == rung.compared and other.accuracy is not None:
            return other.accuracy * 100, rows
    return None


def _row(rung: Rung, top: float, low: float, high: float, above: tuple[float, int] | None) -> Markup:
    parts: list[Markup] = [
        element("text", rung_short(rung.name), x=at(_LEFT), y=top + 18, class_="row-title")
    ]
    if rung.accuracy is None:
        parts.append(_right(element("tspan", "no labels", class_="soft"), top=top))
        return element("g", *parts)
    here, middle = scale(low, high, rung.accuracy * 100), top + _BAND
    start = _start(rung)
    if above is not None and start is not None:
        x, bottom = scale(low, high, above[0]), top - above[1] * _ROW + _BAND
        parts.append(element("line", x1=at(x), x2=at(x), y1=bottom, y2=middle + _BAR / 2, class_="connect"))
    if start is not None and rung.points:
        parts.append(_bar(rung, scale(low, high, start * 100), here, middle))
    if rung.low is not None and rung.high is not None:
        parts.append(_whisker(scale(low, high, rung.low * 100), scale(low, high, rung.high * 100), middle))
    parts.append(element("circle", cx=at(here), cy=middle, r=5, class_="dot"))
    value = element("tspan", percent(rung.accuracy), class_="strong")
    change = (
        None if rung.points is None else element("tspan", f" {points_text(rung.points)}", class_=_tone(rung))
    )
    parts.append(_right(value, change, top=top))
    return element("g", *parts)


def _tone(rung: Rung) -> str:
    if rung.verdict == "harmful":
        return "harmful"
    return "soft"


def _right(*children: Markup | None, top: float) -> Markup:
    return element("text", *children, x=at(_LEFT + _WIDTH), y=top + 18, text_anchor="end", class_="row-value")


def _bar(rung: Rung, start: float, end: float, middle: float) -> Markup:
    loss = (rung.points or 0) < 0
    filled = rung.verdict == "harmful" or (not loss and rung.p is not None and rung.p <= _PROVEN)
    kind = ("loss" if loss else "gain") + ("" if filled else " unproven")
    left, right = min(start, end), max(start, end)
    return element(
        "rect",
        x=at(left),
        width=at(right - left),
        y=middle - _BAR / 2,
        height=_BAR,
        rx=2,
        class_=f"bar {kind}",
        fill="url(#loss)" if loss and filled else None,
    )


def _whisker(low: float, high: float, middle: float) -> Markup:
    ends = (
        element("line", x1=at(x), x2=at(x), y1=middle - 5, y2=middle + 5, class_="whisker")
        for x in (low, high)
    )
    return join([element("line", x1=at(low), x2=at(high), y1=middle, y2=middle, class_="whisker"), *ends])


def _changes(result: CheckResult) -> Markup:
    """Bars of answers changed against the rung above, on a scale from none to the largest share."""
    rungs = [rung for rung in result.rungs if rung.compared is not None]
    totals = [rung.units or rung.inputs for rung in rungs]
    shares = [100 * rung.flips / total if total else 0.0 for rung, total in zip(rungs, totals, strict=True)]
    high = float(
        next(top for top in (10, 20, 50, 100, 10 * math.ceil(max(shares) / 10)) if top >= max(shares))
    )
    height = _ROW * len(rungs)
    unit = " %" if result.task != "detection" or all(rung.units is not None for rung in rungs) else ""
    rows = [axis(0, high, high / 5, 4, height, unit)]
    for row, (rung, share) in enumerate(zip(rungs, shares, strict=True)):
        rows.append(_change_row(rung, share, high, row * _ROW, result.task))
    said = "; ".join(f"{rung_title(rung.name)}: {flips_text(rung, result.task)}" for rung in rungs)
    return element(
        "svg",
        element("title", f"{flips_title(result.task)}, rung by rung"),
        element("desc", said),
        *rows,
        class_="chart",
        role="img",
        width="100%",
        height=height + _AXIS,
    )


def _change_row(rung: Rung, share: float, high: float, top: float, task: str) -> Markup:
    start, end, middle = scale(0, high, 0), scale(0, high, share), top + _BAND
    harmful = rung.verdict == "harmful"
    bar = element(
        "rect",
        x=at(start),
        width=at(max(end - start, 0.3)),
        y=middle - _BAR / 2,
        height=_BAR,
        rx=2,
        class_="bar loss" if harmful else "bar changes",
        fill="url(#loss)" if harmful else None,
    )
    value = element("tspan", flips_text(rung, task), class_=_tone(rung))
    title = element("text", rung_short(rung.name), x=at(_LEFT), y=top + 18, class_="row-title")
    return element("g", title, bar, _right(value, top=top))
