"""The comparison as a picture: how fast against how good, the front drawn. Pure: values in, SVG out."""

from collections.abc import Sequence

from calibration.page.markup import Markup, element
from calibration.schemes.scheme import Comparison, Measure, Measured

_WIDTH, _HEIGHT = 760.0, 420.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 80.0, 150.0, 40.0, 60.0
_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#222}.axis{stroke:#888}.front{fill:none;stroke:#0b6e4f;"
    "stroke-width:2}.on{fill:#0b6e4f}.off{fill:none;stroke:#888;stroke-width:2}.bar{stroke:#888}"
    ".best{font-weight:700}.title{font-weight:700;font-size:15px}"
    "@media (prefers-color-scheme:dark){svg{background:#16181d}text{fill:#e8e8e8}}"
)


def svg(comparison: Comparison) -> str:
    """Latency to the right, accuracy (or mean squared error, lower is better) up, with 90 % intervals;
    filled marks lie on the Pareto front over size, latency and quality. Empty without labels."""
    rows = [row for row in comparison.rows if row.quality is not None]
    if not rows:
        return ""
    x = _scale([0.0, *(_latency(row) for row in rows)], _LEFT, _WIDTH - _RIGHT)
    y = _scale(
        [value for row in rows for value in (row.low, row.quality, row.high) if value is not None],
        _HEIGHT - _BOTTOM,
        _TOP,
    )
    front = sorted((row for row in rows if row.on_front), key=_latency)
    path = " ".join(
        f"{'L' if i else 'M'}{x(_latency(r)):.1f} {y(r.quality or 0.0):.1f}" for i, r in enumerate(front)
    )
    marks = [
        _mark(row, x(_latency(row)), y, row.scheme.name == comparison.recommended, comparison.measure)
        for row in rows
    ]
    unit = "accuracy" if comparison.measure == "accuracy" else "mean squared error (lower is better)"
    return element(
        "svg",
        element("style", Markup(_STYLE)),
        element("text", f"{comparison.model}: quantization schemes", x=_LEFT, y=20, class_="title"),
        element("text", unit, x=8, y=_TOP - 4),
        element("text", "milliseconds an input", x=_WIDTH - _RIGHT, y=_HEIGHT - 14, text_anchor="end"),
        element(
            "path", d=f"M{_LEFT} {_TOP}V{_HEIGHT - _BOTTOM}H{_WIDTH - _RIGHT}", class_="axis", fill="none"
        ),
        *_ticks(rows, x, y, comparison.measure),
        element("path", d=path, class_="front") if len(front) > 1 else None,
        *marks,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {_WIDTH:.0f} {_HEIGHT:.0f}",
        role="img",
        aria_label=f"{comparison.model}: {comparison.why}",
    )


class _Axis:
    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self.low, self.high, self._start, self._end = low, high, start, end

    def __call__(self, value: float) -> float:
        return self._start + (value - self.low) / (self.high - self.low) * (self._end - self._start)


def _scale(values: Sequence[float], start: float, end: float) -> _Axis:
    low, high = min(values), max(values)
    air = 0.06 * (high - low) or max(abs(high), 1.0) * 0.1
    return _Axis(max(0.0, low - air), high + air, start, end)


def _mark(row: Measured, x: float, y: _Axis, best: bool, measure: Measure) -> Markup:
    quality = row.quality or 0.0
    low, high = row.low if row.low is not None else quality, row.high if row.high is not None else quality
    name = f"{row.scheme.name} ({row.bytes / 1024:,.0f} kB)"
    return element(
        "g",
        element("line", x1=x, x2=x, y1=y(low), y2=y(high), class_="bar"),
        element("circle", cx=x, cy=y(quality), r=6, class_="on" if row.on_front else "off"),
        element("text", name, x=x + 10, y=y(quality) + 4, class_="best" if best else None),
        element("title", f"{name}: {_number(quality, measure)}, {_latency(row):.3g} ms"),
    )


def _ticks(rows: Sequence[Measured], x: _Axis, y: _Axis, measure: Measure) -> list[Markup]:
    drawn = []
    for i in range(5):
        value = y.low + (y.high - y.low) * i / 4
        drawn.append(element("text", _number(value, measure), x=_LEFT - 8, y=y(value) + 4, text_anchor="end"))
        value = x.low + (x.high - x.low) * i / 4
        drawn.append(
            element("text", f"{value:.3g}", x=x(value), y=_HEIGHT - _BOTTOM + 20, text_anchor="middle")
        )
    return drawn


def _number(value: float, measure: Measure) -> str:
    return f"{value:.1%}" if measure == "accuracy" else f"{value:.4g}"


def _latency(row: Measured) -> float:
    return row.device_latency_ms if row.device_latency_ms is not None else row.latency_ms
