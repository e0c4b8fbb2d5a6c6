"""The comparison as a picture: how fast against how good, the front drawn. Pure: values in, SVG out."""

import math
from collections.abc import Sequence

from calibration.page.markup import Markup, element
from calibration.schemes.latency import latency
from calibration.schemes.scheme import Comparison, Measured

_WIDTH, _HEIGHT = 860.0, 460.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 80.0, 230.0, 56.0, 60.0
_LINE = 17.0
"""Between two labels, from one base line to the next."""
_LOGARITHMIC_FROM = 8.0
"""Times apart: more would press the fast schemes into one corner."""
_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#222}.axis{stroke:#888}.front{fill:none;stroke:#0b6e4f;"
    "stroke-width:2}.on{fill:#0b6e4f}.off{fill:none;stroke:#888;stroke-width:2}.bar,.leader{stroke:#888}"
    ".leader{stroke-width:.7;fill:none}.best{font-weight:700}.title{font-weight:700;font-size:15px}"
    "@media (prefers-color-scheme:dark){svg{background:#16181d}text{fill:#e8e8e8}}"
)


def svg(comparison: Comparison) -> str:
    """Latency to the right; up the accuracy, the mean squared error (lower is better) or, without labels,
    the share of answers equal to float32's; 90 % intervals; filled marks lie on the Pareto front over size,
    latency and quality."""
    measured = [row for row in comparison.rows if row.quality is not None]
    rows = measured or list(comparison.rows)
    times = [latency(row, comparison.on_device) for row in rows]
    x = _time_axis(times)
    percent = not measured or comparison.measure == "accuracy"
    y = _Axis.around([v for row in rows for v in _values(row) if v is not None], _HEIGHT - _BOTTOM, _TOP)
    if percent:
        y.high = min(y.high, 1.0)
    marks = [_Mark.of(row, x(time), y) for row, time in zip(rows, times, strict=True)]
    front = sorted((mark for mark in marks if mark.row.on_front), key=lambda mark: mark.x)
    path = " ".join(f"{'L' if i else 'M'}{mark.x:.1f} {mark.y:.1f}" for i, mark in enumerate(front))
    unit = "accuracy" if percent else "mean squared error (lower is better)"
    below = f"milliseconds an input {'on the device' if comparison.on_device else 'here'}"
    below += ", logarithmic" if x.logarithmic else ""
    return element(
        "svg",
        element("style", Markup(_STYLE)),
        element("text", f"{comparison.model}: quantization schemes", x=_LEFT, y=20, class_="title"),
        element("text", unit if measured else "answers equal to float32's", x=8, y=_TOP - 12),
        element("text", below, x=_WIDTH - _RIGHT, y=_HEIGHT - 14, text_anchor="end"),
        element(
            "path", d=f"M{_LEFT} {_TOP}V{_HEIGHT - _BOTTOM}H{_WIDTH - _RIGHT}", class_="axis", fill="none"
        ),
        *_ticks(x, y, percent),
        element("path", d=path, class_="front") if len(front) > 1 else None,
        *(mark.drawn(percent) for mark in marks),
        *_labels(marks, comparison.recommended),
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {_WIDTH:.0f} {_HEIGHT:.0f}",
        role="img",
        aria_label=f"{comparison.model}: {comparison.why}",
    )


class _Axis:
    def __init__(
        self, low: float, high: float, start: float, end: float, *, logarithmic: bool = False
    ) -> None:
        self.logarithmic = logarithmic
        self.low, self.high, self._start, self._end = low, high, start, end

    @classmethod
    def around(cls, values: Sequence[float], start: float, end: float) -> "_Axis":
        low, high = min(values), max(values)
        air = 0.06 * (high - low) or max(abs(high), 1.0) * 0.1
        return cls(max(0.0, low - air), high + air, start, end)

    def __call__(self, value: float) -> float:
        scale = math.log if self.logarithmic else float
        share = (scale(value) - scale(self.low)) / (scale(self.high) - scale(self.low))
        return self._start + share * (self._end - self._start)

    def at(self, share: float) -> float:
        if self.logarithmic:
            return float(self.low * (self.high / self.low) ** share)
        return self.low + (self.high - self.low) * share


def _time_axis(times: Sequence[float]) -> _Axis:
    low, high = min(times), max(times)
    if low > 0 and high / low >= _LOGARITHMIC_FROM:
        air = (high / low) ** 0.06
        return _Axis(low / air, high * air, _LEFT, _WIDTH - _RIGHT, logarithmic=True)
    return _Axis.around([0.0, *times], _LEFT, _WIDTH - _RIGHT)


def _values(row: Measured) -> tuple[float | None, float | None, float | None]:
    """What is drawn: the estimate and the ends of its interval."""
    if row.quality is not None:
        return row.quality, row.low, row.high
    return max(0.0, 1 - row.flips / row.inputs), None, None


class _Mark:
    """A scheme's point with its interval, all in units of the picture."""

    def __init__(self, row: Measured, x: float, y: float, low: float, high: float) -> None:
        self.row, self.x, self.y, self._low, self._high = row, x, y, low, high

    @classmethod
    def of(cls, row: Measured, x: float, axis: _Axis) -> "_Mark":
        value, low, high = _values(row)
        y = axis(value or 0.0)
        return cls(row, x, y, y if low is None else axis(low), y if high is None else axis(high))

    @property
    def name(self) -> str:
        return f"{self.row.scheme.name} ({self.row.bytes / 1024:,.1f} kB)"

    def drawn(self, percent: bool) -> Markup:
        value = _number(_values(self.row)[0] or 0.0, percent)
        return element(
            "g",
            element("line", x1=self.x, x2=self.x, y1=self._low, y2=self._high, class_="bar"),
            element("circle", cx=self.x, cy=self.y, r=6, class_="on" if self.row.on_front else "off"),
            element("title", f"{self.name}: {value}, {self.row.latency_ms:.3g} ms here"),
        )


def _labels(marks: Sequence[_Mark], best: str) -> list[Markup]:
    """In a column beside the plot, in the order of the marks from above, each with a line to its mark."""
    column = _WIDTH - _RIGHT + 24
    ordered = sorted(marks, key=lambda mark: (mark.y, -mark.x))
    drawn = []
    for mark, y in zip(ordered, spread([mark.y for mark in ordered], _LINE, _TOP, _HEIGHT), strict=True):
        drawn.append(
            element("path", d=f"M{mark.x + 7:.1f} {mark.y:.1f}L{column - 4} {y:.1f}", class_="leader")
        )
        weight = "best" if mark.row.scheme.name == best else None
        drawn.append(element("text", mark.name, x=column, y=y + 4, class_=weight))
    return drawn


def spread(wanted: Sequence[float], apart: float, low: float, high: float) -> list[float]:
    """Places near ``wanted`` (ascending) that are at least ``apart``, from ``low`` on and, where there is
    room, within ``high``."""
    placed: list[float] = []
    for value in wanted:
        placed.append(max(value, placed[-1] + apart if placed else low))
    for i in reversed(range(len(placed))):
        roof = high - apart if i == len(placed) - 1 else placed[i + 1] - apart
        placed[i] = max(min(placed[i], roof), low + apart * i)
    return placed


def _ticks(x: _Axis, y: _Axis, percent: bool) -> list[Markup]:
    drawn = []
    for i in range(5):
        value = y.at(i / 4)
        drawn.append(element("text", _number(value, percent), x=_LEFT - 8, y=y(value) + 4, text_anchor="end"))
        value = x.at(i / 4)
        drawn.append(
            element("text", f"{value:.3g}", x=x(value), y=_HEIGHT - _BOTTOM + 20, text_anchor="middle")
        )
    return drawn


def _number(value: float, percent: bool) -> str:
    return f"{value:.1%}" if percent else f"{value:.4g}"
