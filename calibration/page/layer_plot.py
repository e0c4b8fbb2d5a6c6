"""Signal-to-noise ratio of every layer over depth, the jump marked.

Pure: a LayerView in, SVG text out; x in per cent and y in pixels as in ``waterfall``.
"""

import math
from collections.abc import Sequence

from calibration.check_result import LayerError, LayerView
from calibration.page.markup import Markup, element, join
from calibration.page.waterfall import at
from calibration.page.words import decibels, number

_TOP, _HEIGHT, _BOTTOM = 30.0, 190.0, 24.0
_LEFT, _RIGHT = 9.0, 98.0
_EQUAL_AIR = 10.0
_DOTS_UP_TO = 120


def standing_out(view: LayerView, count: int) -> tuple[LayerError, ...]:
    """Up to ``count`` layers in order of execution: those with a culprit, the jump, the lowest SNR."""

    def rank(layer: LayerError) -> tuple[bool, float]:
        named = bool(layer.culprit) or layer.name == view.jump
        return not named, math.inf if layer.snr_db is None else layer.snr_db

    return tuple(sorted(sorted(view.layers, key=rank)[:count], key=lambda layer: layer.depth))


def layer_plot(view: LayerView) -> Markup:
    """An ``<svg>``; the y axis is the SNR in dB (higher is closer to the float twin), layers that
    equal their twin stand at its top. Empty without layers."""
    if not view.layers:
        return Markup("")
    low, high = _domain(view.layers)
    xs = [_x(number, len(view.layers)) for number in range(len(view.layers))]
    ys = [_y(layer.snr_db, low, high) for layer in view.layers]
    worst = min(view.layers, key=lambda layer: math.inf if layer.snr_db is None else layer.snr_db)
    jump = f" The error jumps at {view.jump}." if view.jump else ""
    return element(
        "svg",
        element("title", "Signal-to-noise ratio over depth"),
        element("desc", f"{len(view.layers)} layers; lowest {decibels(worst.snr_db)} at {worst.name}.{jump}"),
        _grid(low, high, len(view.layers)),
        _line(xs, ys),
        join(_dots(view, xs, ys)),
        _jump(view, xs, ys),
        class_="chart",
        role="img",
        width="100%",
        height=_TOP + _HEIGHT + _BOTTOM + 14,
    )


def _domain(layers: Sequence[LayerError]) -> tuple[float, float]:
    known = [layer.snr_db for layer in layers if layer.snr_db is not None] or [0.0]
    low = min(0.0, 10 * math.floor(min(known) / 10))
    return max(low, -40.0), 10 * math.ceil((max(known) + _EQUAL_AIR) / 10)


def _x(number: int, count: int) -> float:
    return _LEFT + (_RIGHT - _LEFT) * (number / (count - 1) if count > 1 else 0.5)


def _y(snr_db: float | None, low: float, high: float) -> float:
    value = high if snr_db is None else min(max(snr_db, low), high)
    return _TOP + _HEIGHT * (high - value) / (high - low)


def _grid(low: float, high: float, count: int) -> Markup:
    step = 10 if high - low <= 60 else 20
    drawn = []
    for value in range(int(low), int(high) + 1, step):
        y = _y(value, low, high)
        zero = "grid zero" if value == 0 else "grid"
        drawn.append(element("line", x1=at(_LEFT), x2=at(_RIGHT), y1=y, y2=y, class_=zero))
        drawn.append(
            element("text", number(value), x=at(_LEFT - 1), y=y + 4, text_anchor="end", class_="tick")
        )
    drawn.append(element("text", "dB", x=at(0), y=_TOP - 12, class_="tick"))
    bottom = _TOP + _HEIGHT + 18
    drawn.append(element("text", "first layer", x=at(_LEFT), y=bottom, class_="tick"))
    drawn.append(
        element("text", f"last of {count}", x=at(_RIGHT), y=bottom, text_anchor="end", class_="tick")
    )
    return join(drawn)


def _line(xs: Sequence[float], ys: Sequence[float]) -> Markup:
    """A polyline cannot have percentages: it lies in a picture of its own that is stretched."""
    points = " ".join(f"{x:.2f},{y:.2f}" for x, y in zip(xs, ys, strict=True))
    height = _TOP + _HEIGHT
    return element(
        "svg",
        element("polyline", points=points, class_="curve", vector_effect="non-scaling-stroke"),
        width="100%",
        height=height,
        viewBox=f"0 0 100 {height:g}",
        preserveAspectRatio="none",
    )


def _dots(view: LayerView, xs: Sequence[float], ys: Sequence[float]) -> list[Markup]:
    drawn = []
    for layer, x, y in zip(view.layers, xs, ys, strict=True):
        marked = bool(layer.culprit) or layer.name == view.jump
        if not marked and len(view.layers) > _DOTS_UP_TO:
            continue
        tip = element(
            "title", f"{layer.name} ({layer.op}): {decibels(layer.snr_db)}. {layer.culprit}".strip()
        )
        kind = "dot bad" if marked else "dot small"
        drawn.append(element("circle", tip, cx=at(x), cy=y, r=5 if marked else 2.5, class_=kind))
    return drawn


def _jump(view: LayerView, xs: Sequence[float], ys: Sequence[float]) -> Markup:
    found = next((i for i, layer in enumerate(view.layers) if layer.name == view.jump), None)
    if found is None:
        return Markup("")
    x, layer = xs[found], view.layers[found]
    anchor = "start" if x < 30 else "end" if x > 70 else "middle"
    line = element("line", x1=at(x), x2=at(x), y1=_TOP - 8, y2=ys[found], class_="jump")
    text = f"jump: layer {found + 1}, {layer.op}"
    return join([line, element("text", text, x=at(x), y=_TOP - 13, text_anchor=anchor, class_="jump-text")])
