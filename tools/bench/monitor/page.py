"""The measured part of docs/science.md, and its pictures."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from tools.bench.diagnosis.page import BEGIN as BEGIN
from tools.bench.diagnosis.page import END as END
from tools.bench.diagnosis.page import table, write_measured
from tools.bench.figures import Figure
from tools.bench.monitor import causes
from tools.bench.monitor.found import Found
from tools.bench.monitor.plots import Axis, Dots, matrix, scatter

_SIGN = {"at most": "≤", "at least": "≥"}
_MET = {True: "met", False: "**missed**", None: ""}


def write_page(page: Path, figures: Sequence[Figure], found: Found) -> None:
    """Between the marks of ``page``; pictures beside it, in ``images``. Raises InputError."""
    images = page.parent / "images"
    images.mkdir(exist_ok=True)
    sections = {"Figures": _figures(figures)}
    for name, title, alt, drawn in _pictures(found):
        (images / name).write_text(drawn)
        sections[title] = f"![{alt}](images/{name})\n"
    sections |= _tables(found)
    write_measured(page, "\n".join(f"### {title}\n\n{text}" for title, text in sections.items()))


def _figures(figures: Sequence[Figure]) -> str:
    rows = [
        (
            figure.name,
            f"{figure.value:.3g} {figure.unit}".strip(),
            "" if figure.target is None else f"{_SIGN[figure.bound]} {figure.target:g}",
            _MET[figure.met],
            figure.detail,
        )
        for figure in figures
    ]
    return table(("figure", "value", "target", "", "over"), rows)


def _pictures(found: Found) -> Iterable[tuple[str, str, str, str]]:
    if found.power is not None:
        yield (
            "science-power.svg",
            "Faults found against false alarms",
            "Power of one window of 250 over its measured false-alarm rate, ours and the peers'",
            _power_picture(found),
        )
    if found.delays:
        yield (
            "science-delay.svg",
            "Delay against what the fault costs",
            "Minutes to the first alarm over the points of accuracy that a fault costs",
            _delay_picture(found),
        )
    if found.unseen:
        yield (
            "science-accuracy.svg",
            "Reliability of the estimate",
            "Estimated over true accuracy, faults never replayed, beside CBPE",
            _accuracy_picture(found),
        )
    if found.named:
        yield (
            "science-causes.svg",
            "Which cause is named",
            "Confusion matrix of fault families, other implementations",
            matrix("Share of windows in %: wrong (rows), named (columns)", causes.confusion(found.named)),
        )


def _power_picture(found: Found) -> str:
    told = found.power
    assert told is not None
    ours = [
        Dots(name="all detectors", points=((max(told.false_alarms, 1e-4), told.mean),)),
        Dots(name="panel alone", points=((max(told.false_alarms_panel, 1e-4), told.mean_panel),)),
    ]
    peers = tuple((max(peer.false_alarms, 1e-4), peer.found) for peer in told.peers if not peer.failed)
    return scatter(
        "Faults found in one window of 250",
        Axis(
            title="share of unchanged windows alarmed", ticks=(1e-4, 1e-3, 1e-2, 1e-1, 1.0), logarithmic=True
        ),
        Axis(title="share of faulty windows found", ticks=(0.0, 0.2, 0.4, 0.6, 0.8, 1.0)),
        [*ours, Dots(name="peers", points=peers)],
    )


def _delay_picture(found: Found) -> str:
    groups = []
    for detector in ("cusum", "ecusum", "panel", ""):
        points = tuple(
            (one.cost, min(one.minutes, 4320.0)) for one in found.delays if one.detector == detector
        )
        if points:
            groups.append(Dots(name=detector or "none in three days", points=points))
    return scatter(
        "Delay of the first alarm, dwell 10, one frame a second",
        Axis(title="points of accuracy the fault costs", ticks=(10.0, 15.0, 20.0, 25.0, 30.0, 40.0)),
        Axis(title="minutes", ticks=(1.0, 10.0, 60.0, 600.0, 4320.0), logarithmic=True),
        groups,
    )


def _accuracy_picture(found: Found) -> str:
    spoke = [one for one in found.unseen if one.value is not None]
    groups = [
        Dots(
            name="estimate, fault never replayed",
            points=tuple((one.truth, one.value or 0.0) for one in spoke),
        ),
        Dots(name="CBPE", points=tuple((one.truth, one.cbpe) for one in spoke)),
    ]
    ticks = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
    if any(max(one.truth, one.cbpe) > ticks[-1] for one in spoke):
        ticks = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    return scatter(
        "Accuracy of windows of 1,000 frames",
        Axis(title="true accuracy", ticks=ticks),
        Axis(title="estimated accuracy", ticks=ticks),
        groups,
        diagonal=True,
    )


def _tables(found: Found) -> dict[str, str]:
    tables = {}
    if found.power is not None:
        told = found.power
        errors: dict[str, list[float]] = {}
        for one in found.unseen:
            errors.setdefault(one.fault, []).append(one.error)
        named: dict[str, list[bool]] = {}
        for cause in found.named:
            named.setdefault(cause.fault, []).append(cause.right)
        costs: dict[str, list[float]] = {}
        for one in found.unseen:
            costs.setdefault(one.fault, []).append(one.drop)
        rows = [
            (
                fault,
                _mean(costs.get(fault, [])),
                f"{share:.2f}",
                f"{told.panel[fault]:.2f}",
                _mean(errors.get(fault, [])),
                f"{np.mean(named[fault]):.2f}" if fault in named else "",
            )
            for fault, share in told.found.items()
        ]
        head = ("fault", "true cost, points", "power", "panel alone", "error of the estimate", "cause right")
        tables["Fault by fault"] = table(head, rows)
    if found.quiet:
        tables["Healthy devices"] = table(
            ("scenes", "dwell", "days", "commissioned in days", "one in so many samples", "lag-1", "alarms"),
            [
                (
                    one.scenes,
                    str(one.dwell),
                    str(one.days),
                    str(one.commissioning_days),
                    str(one.interval),
                    "" if one.lag_1 is None else f"{one.lag_1:.2f}",
                    str(one.alarms),
                )
                for one in found.quiet
            ],
        )
    return tables


def _mean(values: Sequence[float]) -> str:
    known = [value for value in values if value == value]
    return f"{np.mean(known):.1f}" if known else "abstains"
