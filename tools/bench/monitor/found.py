"""What the stream bench found, and the figures that follow from it."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from math import isfinite

import numpy as np

from tools.bench.figures import Figure
from tools.bench.monitor import alarms, causes, power
from tools.bench.monitor.accuracy import Guess
from tools.bench.monitor.alarms import Delay, Quiet
from tools.bench.monitor.causes import Named
from tools.bench.monitor.labelled import Widths
from tools.bench.monitor.power import Power

HARMFUL_POINTS = 10.0
_MONTH_DAYS = 30


@dataclass(kw_only=True, slots=True)
class Found:
    """Everything that was measured; a part that was not stays empty."""

    quiet: list[Quiet]
    delays: list[Delay]
    power: Power | None
    replayed: list[Guess]
    related: list[Guess]
    unseen: list[Guess]
    widths: list[Widths]
    named: list[Named]
    library: list[Named]
    cost: list[Figure]


def figures(found: Found) -> list[Figure]:
    """The bench's figures, of the parts that were measured."""
    made: list[Figure] = []
    for figure_of in (_alarm_figures, _power_figures, _delay_figures, _accuracy_figures):
        made += figure_of(found)
    return [*made, *_label_figures(found), *_cause_figures(found), *found.cost]


def _alarm_figures(found: Found) -> Iterator[Figure]:
    for scenes, dwell in sorted({(one.scenes, one.dwell) for one in found.quiet}):
        some = [one for one in found.quiet if (one.scenes, one.dwell) == (scenes, dwell)]
        days, raised = sum(one.days for one in some), sum(one.alarms for one in some)
        bound = _MONTH_DAYS * alarms.upper_bound(raised, days)
        by = {name: sum(one.drifted.get(name, 0) for one in some) for name in ("panel", "cusum", "ecusum")}
        yield Figure(
            name=f"false alarms in 30 device-days, dwell {dwell}, {scenes} scenes",
            value=_MONTH_DAYS * raised / days,
            unit="alarms",
            target=1.0,
            detail=f"{raised} in {days} days; 95 % bound {bound:.2f}; drifted scores "
            + ", ".join(f"{name} {count}" for name, count in by.items()),
        )
        name = f"device-days simulated, dwell {dwell}, {scenes} scenes"
        yield Figure(name=name, value=days, unit="days", target=300, bound="at least")


def _power_figures(found: Found) -> Iterator[Figure]:
    told = found.power
    if told is None:
        return
    wrong = f"false alarms in {told.false_alarms:.2%} of {told.unchanged} unchanged windows"
    over = f"all detectors, {len(told.found)} faults × severities"
    yield Figure(
        name="mean power at n = 250",
        value=told.mean,
        unit="",
        target=0.8,
        bound="at least",
        detail=f"{over}; {wrong}; panel alone {told.mean_panel:.2f}",
    )
    ran = [peer for peer in told.peers if not peer.failed]
    if ran:
        best = max(ran, key=lambda peer: peer.found)
        yield Figure(
            name="power over that of the best peer at the same false-alarm rate",
            value=told.mean / max(best.found, 1e-9),
            unit="×",
            target=1.1,
            bound="at least",
            detail=f"{best.name} finds {best.found:.2f}",
        )
    for peer in told.peers:
        yield Figure(
            name=f"power of {peer.name}",
            value=peer.found,
            unit="",
            detail=f"did not run: {peer.failed}"
            if peer.failed
            else f"{peer.windows} unchanged windows, false alarms {peer.false_alarms:.2%}, "
            f"{1e3 * peer.seconds_a_window:.0f} ms a window",
        )


def _delay_figures(found: Found) -> Iterator[Figure]:
    if not found.delays:
        return
    minutes = np.array([one.minutes for one in found.delays])
    by = {
        name: sum(one.detector == name for one in found.delays) for name in ("panel", "cusum", "ecusum", "")
    }
    yield Figure(
        name=f"delay of faults that cost {HARMFUL_POINTS:g} points or more, dwell {power.DWELL}, median",
        value=float(np.median(minutes)),
        unit="min",
        target=60.0,
        detail=f"{len(minutes)} onsets of {len({one.fault for one in found.delays})} faults; first "
        + ", ".join(f"{name or 'none in 3 days'} {count}" for name, count in by.items() if count),
    )


def _accuracy_figures(found: Found) -> Iterator[Figure]:
    if not found.unseen:
        return
    spoke = [one for one in found.unseen if one.value is not None]
    silent = 1 - len(spoke) / len(found.unseen)
    small = [one for one in spoke if one.drop < HARMFUL_POINTS]
    yield _error_figure("label-free error, never replayed, true drop < 10", small, 2.5, silent)
    yield _ratio_figure("label-free error over CBPE's, never replayed", spoke, 0.75)
    yield Figure(
        name="90 % intervals that hold the truth, never replayed",
        value=float(np.mean([one.covered for one in spoke])) if spoke else 0.0,
        unit="",
        target=0.87,
        bound="at least",
        detail=f"{len(spoke)} windows",
    )
    known = [one for one in found.replayed if one.value is not None]
    yield _ratio_figure("label-free error over CBPE's, replayed faults", known, 0.5)
    related = [one for one in found.related if one.value is not None and one.fault != "none"]
    yield _ratio_figure("label-free error over CBPE's, replayed families in other forms", related, None)


def _error_figure(name: str, some: Sequence[Guess], target: float, silent: float) -> Figure:
    theirs = np.mean([one.cbpe_error for one in some]) if some else float("nan")
    return Figure(
        name=name,
        value=float(np.mean([one.error for one in some])) if some else 100.0,
        unit="points",
        target=target,
        detail=f"{len(some)} windows; CBPE {theirs:.1f}; abstained in {silent:.0%} of all",
    )


def _ratio_figure(name: str, some: Sequence[Guess], target: float | None) -> Figure:
    ours = np.mean([one.error for one in some]) if some else float("nan")
    theirs = np.mean([one.cbpe_error for one in some]) if some else float("nan")
    return Figure(
        name=name,
        value=float(ours / theirs) if some else 100.0,
        unit="×",
        target=target,
        detail=f"{ours:.1f} against {theirs:.1f} points over {len(some)} windows",
    )


def _label_figures(found: Found) -> Iterator[Figure]:
    if not found.widths:
        return
    usual = [one for one in found.widths if one.fault == "none"]
    worst = max(found.widths, key=lambda one: one.ratio)
    least = min(usual, key=lambda one: one.covered)
    trials = sum(one.trials for one in found.widths)
    covered = sum(one.covered * one.trials for one in found.widths) / trials
    yield Figure(
        name="PPI++ width over labels alone, unshifted",
        value=float(np.mean([one.ratio for one in usual])),
        unit="×",
        target=0.9,
        detail=", ".join(f"{one.labels} labels {one.ratio:.2f}" for one in usual),
    )
    yield Figure(
        name="PPI++ width over labels alone, worst fault",
        value=worst.ratio,
        unit="×",
        target=1.05,
        detail=f"{worst.fault}, {worst.labels} labels",
    )
    yield Figure(
        name="PPI++ intervals that hold the truth",
        value=covered,
        unit="",
        target=0.92,
        bound="at least",
        detail=f"nominal .95; {trials} trials; unshifted, least of the numbers of labels {least.covered:.3f}",
    )


def _cause_figures(found: Found) -> Iterator[Figure]:
    healthy = [one for one in found.named if one.family == causes.NOTHING]
    others = [one for one in found.named if one.family != causes.NOTHING]
    for name, some, target in (
        ("cause right, library", found.library, 0.95),
        ("cause right, other implementations", others, 0.9),
        ("nothing wrong kept", healthy, 0.97),
    ):
        if some:
            yield Figure(
                name=name,
                value=causes.share_right(some),
                unit="",
                target=target,
                bound="at least",
                detail=f"{len(some)} windows of {causes.WINDOW}",
            )


def record(found: Found) -> dict[str, object]:
    """Everything measured, for the JSON file."""
    return {
        "quiet": [asdict(one) for one in found.quiet],
        # JSON has no infinity: None stands for a fault that was not noticed.
        "delays": [
            asdict(one) | {"minutes": one.minutes if isfinite(one.minutes) else None} for one in found.delays
        ],
        "power": asdict(found.power) if found.power else None,
        "replayed": [asdict(one) for one in found.replayed],
        "related": [asdict(one) for one in found.related],
        "unseen": [asdict(one) for one in found.unseen],
        "widths": [asdict(one) for one in found.widths],
        "named": [asdict(one) for one in found.named],
        "library": [asdict(one) for one in found.library],
    }
