"""The page's plots, as SVG written by hand: three pictures need no plotting library."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import log10

WIDTH, HEIGHT = 640, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 20, 30, 50
COLOURS = ("#2563a8", "#c2571a", "#3b8a3e", "#8a3b7f", "#6b6b6b", "#b3a11e")


@dataclass(frozen=True, kw_only=True, slots=True)
class Dots:
    """Points (x, y) of one colour and name."""

    name: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Axis:
    """``ticks`` in the axis's own unit, the first and the last at its ends."""

    title: str
    ticks: tuple[float, ...]
    logarithmic: bool = False

    def share(self, value: float) -> float:
        """Where ``value`` lies, 0 … 1."""
        low, high = self.ticks[0], self.ticks[-1]
        if self.logarithmic:
            value, low, high = (log10(max(x, 1e-12)) for x in (value, low, high))
        return min(max((value - low) / (high - low), 0.0), 1.0)


def scatter(title: str, x: Axis, y: Axis, dots: Sequence[Dots], *, diagonal: bool = False) -> str:
    parts = [_text(WIDTH / 2, 18, title, anchor="middle", bold=True)]
    parts += [_grid(x, tick, across=True) for tick in x.ticks] + [
        _grid(y, tick, across=False) for tick in y.ticks
    ]
    parts.append(_text(WIDTH / 2, HEIGHT - 8, x.title, anchor="middle"))
    middle = HEIGHT / 2
    turned = f'transform="rotate(-90 14 {middle})" text-anchor="middle"'
    parts.append(f'<text x="14" y="{middle}" {turned}>{escape(y.title)}</text>')
    if diagonal:
        parts.append(_line(_x(0.0), _y(0.0), _x(1.0), _y(1.0), "#999"))
    for number, group in enumerate(dots):
        colour = COLOURS[number % len(COLOURS)]
        for at, to in group.points:
            place = f'cx="{_x(x.share(at)):.1f}" cy="{_y(y.share(to)):.1f}"'
            parts.append(f'<circle {place} r="4" fill="{colour}" fill-opacity="0.7"/>')
        parts.append(f'<circle cx="{_LEFT + 14}" cy="{_TOP + 14 + 18 * number}" r="4" fill="{colour}"/>')
        parts.append(_text(_LEFT + 24, _TOP + 18 + 18 * number, group.name))
    return _svg(WIDTH, HEIGHT, parts)


def matrix(title: str, counted: Mapping[str, Counter[str]]) -> str:
    """Rows: what was wrong; columns: what was named; shade: share of the row."""
    rows = sorted(counted)
    columns = sorted({name for counts in counted.values() for name in counts})
    cell, left, top = 22, 170, 170
    width, height = left + cell * len(columns) + 20, top + cell * len(rows) + 20
    parts = [_text(10, 18, title, bold=True)]
    for at, name in enumerate(columns):
        x = left + cell * at + 15
        parts.append(
            f'<text x="{x}" y="{top - 8}" transform="rotate(-60 {x} {top - 8})">{escape(name)}</text>'
        )
    for at, wanted in enumerate(rows):
        y = top + cell * at
        parts.append(_text(left - 8, y + 15, wanted, anchor="end"))
        total = max(sum(counted[wanted].values()), 1)
        for number, name in enumerate(columns):
            share = counted[wanted][name] / total
            if share:
                place = f'x="{left + cell * number}" y="{y}" width="{cell - 1}" height="{cell - 1}"'
                parts.append(f'<rect {place} fill="{COLOURS[0]}" fill-opacity="{0.15 + 0.85 * share:.2f}"/>')
                if share >= 0.05:
                    parts.append(
                        _text(left + cell * number + 11, y + 15, f"{100 * share:.0f}", anchor="middle")
                    )
    return _svg(width, height, parts)


def _x(share: float) -> float:
    return _LEFT + share * (WIDTH - _LEFT - _RIGHT)


def _y(share: float) -> float:
    return HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM)


def _grid(axis: Axis, tick: float, *, across: bool) -> str:
    share = axis.share(tick)
    if across:
        line = _line(_x(share), _y(0), _x(share), _y(1), "#ddd")
        return line + _text(_x(share), HEIGHT - _BOTTOM + 16, f"{tick:g}", anchor="middle")
    line = _line(_x(0), _y(share), _x(1), _y(share), "#ddd")
    return line + _text(_LEFT - 6, _y(share) + 4, f"{tick:g}", anchor="end")


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'


def _text(x: float, y: float, text: str, *, anchor: str = "start", bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{weight}>{escape(text)}</text>'


def _svg(width: int, height: int, parts: Sequence[str]) -> str:
    name, font = 'xmlns="http://www.w3.org/2000/svg"', 'font-family="sans-serif" font-size="12"'
    head = f'<svg {name} viewBox="0 0 {width} {height}" {font}>'
    paper = f'<rect width="{width}" height="{height}" fill="white"/>'
    return "\n".join([head, paper, *parts, "</svg>"]) + "\n"
